"""Runs the contenders one after the other on one machine and one log, and prints what each made of it.

Each is a process of its own; what counts, and between which moments, says scripts/benchmark/scene.py. Those that would take far too long are
watched for some seconds. Where the engine's time goes is what its own metrics say, and what it announced is compared with the oracle for some
accounts: it ends with 1 if they differ, or if a contender failed. Timings vary between runs and machines: compare the ratios of one run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.benchmark import environments
from scripts.benchmark.correct import Checked, check
from scripts.benchmark.load import Load, two_days
from scripts.benchmark.plan import ALONE, ENGINE, Act, acts, names
from scripts.benchmark.report import report
from scripts.benchmark.scene import Contender, Failed, Result, Scene, TooShortError
from scripts.benchmark.screen import messages, progress
from scripts.benchmark.sweep import Swept, sweep
from scripts.personas import midnight_before
from scripts.spoil import Arrival

DAYS: Final = 90
PICTURES: Final = (".svg", ".png")


@contextmanager
def scene(load: Load, partitions: int, contender: Contender, *, is_quiet: bool, source: Iterable[Arrival] | None = None) -> Iterator[Scene]:
    """A scene for a contender (and others of the same policy) with the load in it, as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="limit-engine-bench-", ignore_cleanup_errors=True) as name:
        is_gated = contender.workers > 1
        made = Scene(Path(name), partitions, load, contender.policy, has_profiles=contender.has_profiles, is_gated=is_gated)
        try:
            with progress(
                f"publishing {load.events:,} events of {load.accounts:,} accounts to {partitions} partitions", is_quiet=is_quiet
            ) as show:
                made.prepare(show, source)
            yield made
        finally:
            made.kafka.stop()


def pythons(chosen: Iterable[Contender], *, makes_environments: bool) -> dict[str, Path]:
    """The Python of each contender that can run, by name; of the others it is said why they are left out."""
    found: dict[str, Path] = {}
    for contender in chosen:
        name, why = contender.environment, "and --quick makes none"
        python = Path(sys.executable) if name is None else environments.installed(name)
        if name is not None and python is None and makes_environments:
            messages.print(f"setting up .venv-{name} for {contender.name}: about a minute, once")
            try:
                python = environments.made(name)
            except environments.NoEnvironment as error:
                why = f"and could not be made: {error}"
        if python is None:
            messages.print(f"{contender.name} is left out: .venv-{name} is not there, {why}", markup=False, soft_wrap=True)
        else:
            found[contender.name] = python
    return found


class Contest:
    """Runs acts, and remembers what came of them."""

    def __init__(self, asked: argparse.Namespace, with_python: dict[str, Path]) -> None:
        self.asked = asked
        self.with_python = with_python
        self.results: list[Result] = []
        self.checks: dict[str, Checked] = {}
        self.swept: Swept | None = None
        self.has_failed = False

    @property
    def is_right(self) -> bool:
        """Whether no contender failed, and nothing contradicts the oracle."""
        return not self.has_failed and not any(checked.contradictions for checked in self.checks.values())

    def run(self, act: Act) -> None:
        """Run an act's contenders, as far as they can."""
        chosen = [contender for contender in act.contenders if contender.name in self.with_python]
        if not chosen:
            return
        with scene(act.load, self.asked.partitions, chosen[0], is_quiet=self.asked.json) as there:
            for contender in chosen:
                with self._failing():
                    with progress(f"running {contender.name}", is_quiet=self.asked.json) as show:
                        self.results.append(there.run(contender, show, self.with_python[contender.name]))
                    if contender.is_engine:
                        self._check(there, contender, is_done=self.results[-1].is_done)

    def run_sweep(self, load: Load) -> None:
        """Measure a day's sweep."""
        is_quiet = self.asked.json
        with scene(load, self.asked.partitions, ENGINE, is_quiet=is_quiet, source=two_days(load)) as there:
            with self._failing(), progress("running sweep", is_quiet=is_quiet) as show:
                self.swept = sweep(there, show)
            self._check(there, replace(ENGINE, name="sweep"), is_done=self.swept is not None)

    def _check(self, there: Scene, contender: Contender, *, is_done: bool) -> None:
        if self.asked.check:
            with progress(f"comparing {self.asked.check:,} accounts of {contender.name} with the oracle", is_quiet=self.asked.json) as show:
                self.checks[contender.name] = check(there, self.asked.check, show, is_done=is_done)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Whoever fails, or is too fast for the log, is out of the contest; the others go on."""
        try:
            yield
        except TooShortError as note:
            messages.print(str(note), markup=False, soft_wrap=True)
        except Failed as error:
            self.has_failed = True
            messages.print(str(error), markup=False, soft_wrap=True)


def options() -> argparse.Namespace:
    """What was asked for."""
    more = "; ".join(f"{name}: {meaning}" for name, meaning in ALONE.items())
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, help="(default 1,000,000)")
    parser.add_argument("--accounts", type=int, help="(default 100,000)")
    parser.add_argument("--skew", type=float, default=1.0, help="of the accounts' shares (Zipf's exponent; 0: all the same)")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain-seconds", type=float, help="how long those that would take far longer are watched (default 15)")
    parser.add_argument("--check", type=int, metavar="ACCOUNTS", help="so many are compared with the oracle (default 300)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], metavar="N", help="of `accounts` (default 10000 100000)")
    parser.add_argument(
        "--quick", action="store_true", help="under a minute: fewer events, shorter watches, nothing that is measured alone"
    )
    parser.add_argument("--only", choices=names(), metavar="NAME", help=f"run only this one of {', '.join(names())} ({more})")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the results: .svg or .png")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    if asked.picture and (asked.picture.suffix not in PICTURES or not asked.picture.parent.is_dir()):
        parser.error(f"--picture: {asked.picture} must be a .svg or .png file in a directory that is there")
    ordinary = {"events": 60_000, "accounts": 10_000, "plain_seconds": 2.0, "check": 40}
    if not asked.quick:
        ordinary = {"events": 1_000_000, "accounts": 100_000, "plain_seconds": 15.0, "check": 300}
    for name, value in ordinary.items():
        if getattr(asked, name) is None:
            setattr(asked, name, value)
    return asked


def main() -> int:
    """Run the contest; 1 if a contender failed, or if what the engine announced contradicts the oracle."""
    asked = options()
    start_ms = midnight_before(datetime.now(UTC), DAYS + 1)
    load = Load(asked.events, asked.accounts, start_ms, days=DAYS, skew=asked.skew, seed=asked.seed)
    planned = list(acts(asked, load))
    with_python = pythons((contender for act in planned for contender in act.contenders), makes_environments=not asked.quick)
    contest = Contest(asked, with_python)
    for act in planned:
        contest.run(act)
    if asked.only == "sweep" or (asked.only is None and not asked.quick):
        contest.run_sweep(load)
    report(contest.results, contest.checks, contest.swept, load, asked.partitions, as_json=asked.json)
    if asked.picture and contest.results:
        from scripts.benchmark.picture import draw  # late: matplotlib takes a second to import

        draw(contest.results, load, asked.partitions, asked.picture)
        messages.print(f"drawn: {asked.picture}", markup=False)
    return int(not contest.is_right)


if __name__ == "__main__":
    sys.exit(main())
