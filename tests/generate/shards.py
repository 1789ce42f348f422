"""What a shard goes through besides the records of a log: days without records, another appetite of the lender's, a breaker's release. And each
account has a twin there, to whom most of what happens to it happens right behind it, so that two come to the brakes on the same day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from engine.policy.document import Policy
from tests.oracle.records import Record
from tests.oracle.shard import Happening, Release, Sweep, Switch
from tests.oracle.time_rules import DAY_MS, day_of

DAYS_BEHIND: Final = 12
MODES: Final = ("contraction", "contraction", "expansion", "neutral")


def random_shard(policy: Policy, random: Random, log: Sequence[Record]) -> Iterator[Happening]:
    """A log with such things between its records, and some days behind the last one. A sweep follows each control record."""
    for record in log:
        yield record
        if random.random() < 0.85:
            yield replace(record, account_id=f"{record.account_id}-twin")
        yield from _between(policy, random, record.clock)
    for day in range(DAYS_BEHIND):
        clock = log[-1].clock + day * DAY_MS
        yield Sweep(clock)
        yield from _between(policy, random, clock)


def _between(policy: Policy, random: Random, clock: int) -> Iterator[Happening]:
    segment = random.choice(policy.segments).name
    match random.choices(("nothing", "time", "appetite", "release"), (80, 10, 5, 5))[0]:
        case "time":
            yield Sweep(clock)
        case "appetite":
            yield Switch(segment, random.choice(MODES), day_of(policy, clock), random.choice((0, 1, 1, 2, 5)))
            yield Sweep(clock)
        case "release":
            yield Release(random.choice((None, segment)))
            yield Sweep(clock)
