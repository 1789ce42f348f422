"""Runs the contenders one after the other on one machine and one log, and prints what each made of it.

Each is a process of its own; what counts, and between which moments, says ``scene.py``. Those that would take far too long are watched for some
seconds. Where the engine's time goes is what its own metrics say. Timings vary between runs and machines: compare the ratios of one run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.benchmark import environments
from scripts.benchmark.correct import Checked, check
from scripts.benchmark.load import Load
from scripts.benchmark.report import report
from scripts.benchmark.scene import POLICIES, RUN_ENGINE, Contender, Failed, Result, Scene
from scripts.benchmark.screen import messages, progress
from scripts.personas import midnight_before

DAYS: Final = 90


def contenders(partitions: int, plain_seconds: float) -> tuple[Contender, ...]:
    """All of them; the engine with a policy that asks for as much as other stream processors are measured with, and with the complete one."""
    return (
        Contender("engine", RUN_ENGINE),
        Contender("plain-agent", ("-m", "scripts.benchmark.plain_agent"), plain_seconds),
        Contender("faust-tables", ("-m", "scripts.benchmark.faust_tables", str(partitions)), plain_seconds, has_redis=False),
        Contender("quix-streams", ("-m", "scripts.benchmark.quix_streams"), plain_seconds, environment="quix", has_redis=False),
        Contender("bytewax", ("-m", "scripts.benchmark.bytewax_flow"), plain_seconds, environment="bytewax", has_redis=False),
        Contender("roofline", ("-m", "scripts.benchmark.roofline", str(partitions))),
        Contender("engine-complete", RUN_ENGINE, policy=POLICIES["engine-complete"]),
    )


@contextmanager
def scene(load: Load, partitions: int, policy: Path, *, has_profiles: bool, is_quiet: bool) -> Iterator[Scene]:
    """A scene with the load in it, as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="limit-engine-bench-", ignore_cleanup_errors=True) as name:
        made = Scene(Path(name), partitions, load, policy, has_profiles=has_profiles)
        try:
            what = f"publishing {load.events:,} events of {load.accounts:,} accounts to {partitions} partitions"
            with progress(what, is_quiet=is_quiet) as show:
                made.prepare(show)
            yield made
        finally:
            made.kafka.stop()


def pythons(chosen: list[Contender], *, makes_environments: bool) -> dict[str, Path]:
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


def options() -> argparse.Namespace:
    """What was asked for."""
    names = [contender.name for contender in contenders(1, 0.0)]
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, help="(default 1,000,000)")
    parser.add_argument("--accounts", type=int, help="(default 100,000)")
    parser.add_argument("--skew", type=float, default=1.0, help="of the accounts' shares (Zipf's exponent; 0: all the same)")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain-seconds", type=float, help="how long those that would take far longer are watched (default 15)")
    parser.add_argument("--check", type=int, default=300, metavar="ACCOUNTS", help="so many are compared with the oracle (default 300)")
    parser.add_argument("--quick", action="store_true", help="under a minute: fewer events, shorter watches, no environment is made")
    parser.add_argument("--only", choices=names, help="run only this one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    events, accounts, plain_seconds = (60_000, 10_000, 2.0) if asked.quick else (1_000_000, 100_000, 15.0)
    asked.events = asked.events or events
    asked.accounts = asked.accounts or accounts
    asked.plain_seconds = asked.plain_seconds or plain_seconds
    return asked


def main() -> int:
    """Run the contest; 1 if a contender failed, or if what the engine announced contradicts the oracle."""
    asked = options()
    start_ms = midnight_before(datetime.now(UTC), DAYS + 1)
    load = Load(asked.events, asked.accounts, start_ms, days=DAYS, skew=asked.skew, seed=asked.seed)
    chosen = [contender for contender in contenders(asked.partitions, asked.plain_seconds) if asked.only in (None, contender.name)]
    with_python = pythons(chosen, makes_environments=not asked.quick)
    results: list[Result] = []
    checks: dict[str, Checked] = {}
    has_failed = False
    for policy, has_profiles in dict.fromkeys((contender.policy, contender.has_profiles) for contender in chosen):
        with scene(load, asked.partitions, policy, has_profiles=has_profiles, is_quiet=asked.json) as there:
            for contender in (contender for contender in chosen if contender.policy == policy and contender.name in with_python):
                try:
                    with progress(f"running {contender.name}", is_quiet=asked.json) as show:
                        results.append(there.run(contender, show, with_python[contender.name]))
                except Failed as error:
                    has_failed = True
                    messages.print(str(error), markup=False, soft_wrap=True)
                    continue
                if contender.is_engine and asked.check:
                    with progress(f"comparing {asked.check:,} accounts of {contender.name} with the oracle", is_quiet=asked.json) as show:
                        checks[contender.name] = check(there, asked.check, show, is_done=results[-1].is_done)
    report(results, checks, load, asked.partitions, as_json=asked.json)
    return int(has_failed or any(checked.contradictions for checked in checks.values()))


if __name__ == "__main__":
    sys.exit(main())
