"""A deployment under a steady load that is measured: what each scenario of ``scripts/overload`` begins with and ends with."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.local.process import ServerProcess
from tests.chaos.gauge import Gauge, Look
from tests.chaos.ground import Ground, grounded
from tests.chaos.run import POLICY, SESSION_S, at_work, complaints, quiet, standing, words
from tests.chaos.screen import Show, Tell
from tests.chaos.watch import Watch
from tests.e2e.books import audit_books

STEADY_S: Final = 10.0  # after the beginning of the load, until it counts
FOLDED_MAX: Final = 10_000  # records of a shard, until the oracle takes too long for them


@dataclass(frozen=True)
class Size:
    """Of the deployment and its steady load (records a second, of so many accounts)."""

    partitions: int = 8
    workers: int = 1
    rate: float = 1_500.0
    accounts: int = 4_000


@dataclass
class Found:
    """What came of a scenario: ``measured`` by name, and ``misses``: each bar that was missed, everything that is wrong with the books."""

    scenario: str
    seconds: float
    directory: Path
    measured: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    misses: list[str] = field(default_factory=list)

    def bar(self, name: str, value: float, most: float) -> None:
        """Note a figure that must not be above its bar."""
        self.measured[name] = round(value, 2)
        if value > most:
            self.misses.append(f"{name} is {value:.2f}, above {most:g}")

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"directory": str(self.directory), "counts": dict(self.counts)}

    def lines(self) -> Iterator[str]:
        """For a reader."""
        yield f"{self.scenario}, {self.seconds:.0f} s: {', '.join(f'{name} {value}' for name, value in self.measured.items())}"
        yield "  " + ", ".join(f"{count:,} {name}" for name, count in sorted(self.counts.items()))
        yield from (f"  MISSED: {miss}" for miss in self.misses)


class Lab:
    """See above."""

    def __init__(self, ground: Ground, size: Size, watch: Watch, gauge: Gauge, tell: Tell, show: Show) -> None:
        self.ground, self.size, self.watch, self.gauge = ground, size, watch, gauge
        self.tell, self._show = tell, show
        self._loads: list[ServerProcess] = []

    def load(self, prefix: str, accounts: int, rate: float, shard: int | None = None) -> ServerProcess:
        """One more load (rate 0: as fast as it goes), until ``calm``."""
        given = {
            "--kafka": self.ground.kafka.address,
            "--partitions": self.ground.partitions,
            "--prefix": prefix,
            "--accounts": accounts,
            "--rate": rate,
            "--shard": shard,
        }
        load = self.ground.run("-m", "tests.chaos.load", *words(given), log=f"load-{prefix}.log")
        self._loads.append(load)
        return load

    def pass_time(self, what: str, seconds: float, each: Callable[[Look], object] = lambda _: None) -> list[Look]:
        """Wait; the looks of that time. ``each`` is called with the newest one now and then."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            self._show(what, passed, seconds)
            self.ground.look_after()
            for load in self._loads:
                assert load.is_running(), "a load has ended before its time: see its log"
            if self.gauge.looks:
                each(self.gauge.looks[-1])
            time.sleep(min(0.2, seconds))
        self.tell(f"{what}: {seconds:.0f} s")
        return self.gauge.since(began)

    def calm(self, found: Found) -> None:
        """End the loads, wait until everything is taken, end the workers, and audit."""
        for load in self._loads:
            load.resume()
            load.stop(120)
        self.tell("the loads have ended; waiting until everything is taken")
        began = time.monotonic()
        if not quiet(self.ground, self.watch):
            found.misses.append(f"not everything was taken: {list(standing(self.ground))}")
        found.measured["rest taken in s"] = round(time.monotonic() - began, 1)
        last = self.gauge.looks[-1]
        found.measured["resident in the end MB"] = round(sum(last.resident) / 1e6)
        for slot in self.ground.slots:
            self.ground.leave(slot)
        found.misses += [f"a worker was started again: {told}" for told in self.ground.given_up]
        found.misses += complaints(self.ground)
        self.tell("auditing")
        ground = self.ground
        unfolded = {shard for shard, there in enumerate(last.there) if there > FOLDED_MAX}
        if unfolded:
            found.measured["shards compared without deciding again"] = sorted(unfolded)
        found.counts, wrong = audit_books(
            ground.kafka.address,
            ground.redis.url,
            ground.application,
            ground.partitions,
            lambda done: self._show("auditing", done, ground.partitions),
            unfolded,
        )
        found.misses += wrong


@contextmanager
def laboratory(directory: Path, size: Size, tell: Tell, show: Show, every_s: float = 1.0) -> Iterator[Lab]:
    """Workers at work, and the steady load."""
    with grounded(directory, size.partitions, size.workers) as ground, ExitStack() as stack:
        ground.settings = {"LIMITS_KAFKA__SESSION_TIMEOUT_S": f"{SESSION_S:g}", "LIMITS_CLOCK": "wall"}
        at_work(ground, POLICY, int(time.time() * 1000), size.workers)
        watch = Watch(ground.kafka.address, size.partitions)
        stack.callback(watch.stop)
        gauge = Gauge(ground, every_s)
        stack.callback(gauge.stop)
        lab = Lab(ground, size, watch, gauge, tell, show)
        tell("at work")
        lab.load("steady", size.accounts, size.rate)
        yield lab
