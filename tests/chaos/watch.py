"""Watches the journal from outside, past the proxies: when each shard has committed, and so for how long it stood still."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from schemas.topics import JOURNAL
from tests.chaos.faults import Done
from tests.chaos.plan import Fault

ON_ITS_WAY_S: Final = 0.3  # what is seen so soon after a fault was committed before it
BEFORE_S: Final = 3.0
FROM_END: Final = ("Redis killed", "Redis older", "Kafka killed", "cut off from Redis")  # nothing can go on before they are over


class Watch:
    """Commits by shard, as a reader of committed records sees them: moments (monotonic)."""

    def __init__(self, bootstrap: str, partitions: int) -> None:
        self.commits: list[list[float]] = [[] for _ in range(partitions)]
        self._bootstrap = bootstrap
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def count(self) -> int:
        """Commits so far."""
        return sum(len(moments) for moments in self.commits)

    def _read(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "watch",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.message.max.bytes": 16_000_000,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 200,
                "fetch.error.backoff.ms": 100,
                "log_level": 0,
            }
        )
        consumer.assign([TopicPartition(JOURNAL.name, p, 0) for p in range(len(self.commits))])
        while not self._over.is_set():
            for message in consumer.consume(1_000, timeout=0.1):
                if message.error() is None:
                    self.commits[message.partition() or 0].append(time.monotonic())
        consumer.close()

    def again_after(self, moment: float) -> float | None:
        """How long after a moment every shard had committed again; None if one never has."""
        firsts = []
        for moments in self.commits:
            place = bisect_right(moments, moment + ON_ITS_WAY_S)
            if place == len(moments):
                return None
            firsts.append(moments[place])
        return max(firsts) - moment

    def longest_gap(self, until: float) -> tuple[float, float]:
        """Between which moments, before another one, some shard did not commit for longest."""
        gaps = (gap for moments in self.commits for gap in pairwise([m for m in moments if m < until]))
        return max(gaps, key=lambda gap: gap[1] - gap[0], default=(until, until))


@dataclass(frozen=True, slots=True)
class Stop:
    """A fault, and after how many seconds from its beginning (or its end, where nothing can go on before) every shard had committed again (None:
    not before the end); ``is_alone`` if no other fault was there meanwhile."""

    fault: Fault
    at_s: float
    lasted_s: float
    seconds: float | None
    is_alone: bool

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        again = None if self.seconds is None else round(self.seconds, 2)
        return {
            "at_s": round(self.at_s, 1),
            "fault": str(self.fault),
            "lasted_s": round(self.lasted_s, 1),
            "again_s": again,
            "alone": self.is_alone,
        }


@dataclass(frozen=True, slots=True)
class Recovery:
    """The stops after faults of a kind that met no other."""

    kind: str
    since: str
    seen: int
    median_s: float
    longest_s: float

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"from": self.since, "seen": self.seen, "median_s": round(self.median_s, 2), "longest_s": round(self.longest_s, 2)}


def stops(watch: Watch, done: list[Done], began: float) -> list[Stop]:
    """Of each fault, in order; ``began`` is the run's beginning."""
    found = []
    for one in sorted(done, key=lambda one: one.began):
        since = one.ended if one.fault.kind in FROM_END else one.began
        seconds = watch.again_after(since)
        alone = seconds is not None and is_alone(one, done, since + seconds)
        found.append(Stop(one.fault, one.began - began, one.ended - one.began, seconds, alone))
    return found


def met(gap: tuple[float, float], done: list[Done]) -> list[str]:
    """The faults that were there between two moments."""
    return [str(one.fault) for one in sorted(done, key=lambda one: one.began) if one.began < gap[1] and one.ended > gap[0] - BEFORE_S]


def recoveries(stops: list[Stop]) -> list[Recovery]:
    """By kind of fault."""
    found = []
    for kind in sorted({stop.fault.kind for stop in stops}):
        times = [stop.seconds for stop in stops if stop.fault.kind == kind and stop.is_alone and stop.seconds is not None]
        if times:
            found.append(Recovery(kind, "end" if kind in FROM_END else "beginning", len(times), median(times), max(times)))
    return found


def is_alone(one: Done, done: list[Done], until: float) -> bool:
    """Whether no other fault was there from shortly before this one's beginning until everything went on."""
    others = (other for other in done if other is not one)
    return not any(other.began < max(until, one.ended) and other.ended > one.began - BEFORE_S for other in others)
