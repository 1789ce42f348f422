"""Customers with a past who go on living: what happened up to now is published at once, every later record when its time comes.

The demo of docker-compose.yml. A worker that starts when the past lies in the topics decides it day by day, like what piled up in an outage, and
goes by the wall clock from then on; nothing is to be set for it. For a worker that was there before, the past would only be late: then it is not
told. Started again, the program goes on where the topics end. From now on the engine is also answered (``scripts/counterpart.py``), and the risk
committee meets (``scripts/committee.py``); in the past nobody could hear it, and no policy was in force.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

from kafka import TopicPartition
from kafka.admin import OffsetSpec

from engine.settings import load_settings
from engine.stream import topics
from schemas.topics import CONTROL, INPUTS, JOURNAL, PROFILES, TopicSpec
from scripts.committee import Committee
from scripts.counterpart import Counterpart, Listener
from scripts.personas import midnight_before, population
from scripts.spoil import Arrival, Shares, spoil
from scripts.traffic import Publisher

FUTURE_DAYS: Final = 90
FIRST_WITHIN_MS: Final = 60_000  # a life begins with a profile, at midnight
LOOK_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What lies in the topics: record times (None: nothing) of the first profile and the newest input, and whether a worker has been here."""

    first_ms: int | None
    newest_ms: int | None
    was_read: bool

    def start_ms(self, otherwise: int) -> int | None:
        """When the lives began, or ``otherwise`` if nothing is there; None: the topics are in use, and not by these customers."""
        if self.first_ms is None:
            return None if self.was_read or self.newest_ms is not None else otherwise
        midnight_ms = midnight_before(datetime.fromtimestamp(self.first_ms / 1000, UTC), 0)
        return midnight_ms if self.first_ms - midnight_ms < FIRST_WITHIN_MS else None


def standing(bootstrap: str) -> Standing:
    """Look at the topics. Raises KafkaError."""
    admin = topics.connect(load_settings(kafka={"bootstrap": bootstrap}).kafka)
    try:
        first = _places(admin, [PROFILES], 0)
        newest = _places(admin, [spec for spec in INPUTS if spec is not CONTROL], OffsetSpec.MAX_TIMESTAMP)
        journal = _places(admin, [JOURNAL], OffsetSpec.LATEST)
    finally:
        admin.close()
    return Standing(
        min((place.timestamp for place in first), default=None),
        max((place.timestamp for place in newest), default=None),
        any(place.offset > 0 for place in journal),
    )


def _places(admin: Any, specs: list[TopicSpec], which: Any) -> list[Any]:
    """Of every partition the place that ``which`` names (a number: of the first record of that time or later), where there is one."""
    shapes = admin.describe_topics([spec.name for spec in specs])
    wanted = {TopicPartition(topic["name"], part["partition_index"]): which for topic in shapes for part in topic["partitions"]}
    return [place for place in admin.list_partition_offsets(wanted).values() if place is not None and place.offset >= 0]


def untold(there: Standing, start_ms: int, accounts: int, days: int, seed: int) -> Iterator[Arrival]:
    """All that arrives in ``days`` of the past and ``FUTURE_DAYS`` more, in order of record time, without what lies in the topics."""
    lives = population(accounts, seed, start_ms, days + FUTURE_DAYS)
    newest_ms = there.newest_ms or 0
    return (arrival for arrival in spoil(lives, seed, Shares(), Counter()) if arrival.at_ms > newest_ms)


def publish_past(publisher: Publisher, arrivals: Iterator[Arrival], now_ms: float) -> tuple[int, Iterator[Arrival]]:
    """Publish all up to now; their number, and the arrivals that are still to come."""
    count = 0
    try:
        for arrival in arrivals:
            if arrival.at_ms > now_ms:
                arrivals = chain([arrival], arrivals)
                break
            publisher.publish(arrival)
            publisher.poll()
            count += 1
    finally:
        publisher.settle()  # also when it is ended half-way: it will go on behind the newest record
    return count, arrivals


def publish_in_time(publisher: Publisher, arrivals: Iterator[Arrival], counterpart: Counterpart, listen: Callable[[float], object]) -> None:
    """Publish each when its record time has come, and what ``counterpart`` answers when that is due. The time till then passes in ``listen``,
    which lets it hear what comes within so many seconds."""
    for arrival in arrivals:
        while (now_ms := int(time.time() * 1000)) < arrival.at_ms:
            for answer in counterpart.due(now_ms):
                publisher.publish(answer)
            publisher.settle()
            listen(min((arrival.at_ms - now_ms) / 1000, LOOK_EVERY_S))  # the wall clock itself is waited for, and it may be set meanwhile
        publisher.publish(counterpart.core.snapshot(arrival))
        publisher.settle()


def listening(listener: Listener, counterpart: Counterpart) -> Callable[[float], None]:
    """Listen; when nothing has come, everything up to now was heard."""

    def listen(seconds: float) -> None:
        if not listener.listen(seconds):
            counterpart.core.heard_ms = int(time.time() * 1000)

    return listen


def main() -> None:
    """Publish until the lives are over or SIGTERM. Exit code 1: the past cannot be told here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--days", type=int, default=360, help="days that they have lived already when they are first heard of")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ready", type=Path, metavar="FILE", help="make this file when the past is published")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    now = datetime.now(UTC)
    there = standing(options.kafka)
    start_ms = there.start_ms(midnight_before(now, options.days))
    if start_ms is None:
        sys.exit("the topics are in use: a past can be told to new ones only (docker compose down --volumes deletes them)")
    arrivals = untold(there, start_ms, options.accounts, options.days, options.seed)
    publisher = Publisher(options.kafka)
    count, to_come = publish_past(publisher, arrivals, now.timestamp() * 1000)
    print(f"{count} records of the past are published; from now on each when its time comes", flush=True)
    if options.ready:
        options.ready.touch()
    now_ms = int(now.timestamp() * 1000)
    counterpart = Counterpart(options.seed, now_ms, Committee(start_ms, now_ms))
    publish_in_time(publisher, to_come, counterpart, listening(Listener(options.kafka, counterpart), counterpart))


if __name__ == "__main__":
    main()
