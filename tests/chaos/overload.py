"""More than can be taken, and servers that are slow or full: ``scripts/overload``.

Each scenario has a deployment of its own under a steady load, which is measured first as it is (the baseline), then with what the scenario adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from engine.state.keys import ShardKeys
from tests.chaos.gauge import MB, Look, rates, slope
from tests.chaos.lab import STEADY_S, Found, Lab, Size, laboratory
from tests.chaos.screen import Show, Tell

GROWTH_MB_MAX: Final = 300
SLOPE_MB_MAX: Final = 1.0  # an hour
SHARE_MIN: Final = 0.8
BASELINE_S: Final = 45.0
WARM_UP_SHARE: Final = 1 / 3  # of a soak
HOT_ACCOUNTS: Final = 500
BACKLOG: Final = range(200_000, 400_000)  # a flood goes on below and rests above
OUTAGE_RECORDS: Final = 1_500_000  # more than the workers may keep
SLOW_REDIS_S: Final = 1.0
SLOW_KAFKA_S: Final = 0.3
FULL_BYTES: Final = 200_000  # what is left when a Redis is about to be full

Each = Callable[[Look], object]
Fault = Callable[[Lab], Iterator[Each]]


@dataclass(frozen=True)
class Scenario:
    """``happens`` begins it, gives what is to be done at each look, and takes it back; ``spares`` says whether it befalls one shard alone."""

    meaning: str
    happens: Fault
    spares: bool


def hot(lab: Lab) -> int:
    """The shard that is befallen."""
    return lab.ground.partitions - 1


def hot_account(lab: Lab) -> Iterator[Each]:
    lab.load("hot", 1, lab.size.rate, hot(lab))
    yield lambda _: None


def hot_shard(lab: Lab) -> Iterator[Each]:
    flood, shard = lab.load("hot", HOT_ACCOUNTS, 0.0, hot(lab)), hot(lab)

    def keep_backlog(look: Look) -> None:
        if look.taken is not None:
            backlog = look.there[shard] - look.taken[shard]
            if backlog > BACKLOG.stop:
                flood.pause()
            elif backlog < BACKLOG.start:
                flood.resume()

    yield keep_backlog


def slow_redis(lab: Lab) -> Iterator[Each]:
    """Of the shard's node: whatever is asked about its keys."""
    about = ShardKeys(lab.ground.application, hot(lab)).shard
    for slot in lab.ground.slots:
        slot.redis.delay(SLOW_REDIS_S, about)
    yield lambda _: None
    for slot in lab.ground.slots:
        slot.redis.delay(0.0)


def slow_broker(lab: Lab) -> Iterator[Each]:
    for slot in lab.ground.slots:
        slot.kafka.delay(SLOW_KAFKA_S)
    yield lambda _: None
    for slot in lab.ground.slots:
        slot.kafka.delay(0.0)


def full_redis(lab: Lab) -> Iterator[Each]:
    """And more comes meanwhile than workers may keep."""
    with redis.Redis.from_url(lab.ground.redis.url) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + FULL_BYTES)
        before, flood = sum(lab.gauge.looks[-1].there), lab.load("flood", HOT_ACCOUNTS, 0.0)

        def enough(look: Look) -> None:
            if sum(look.there) - before > OUTAGE_RECORDS:
                flood.pause()

        yield enough
        client.config_set("maxmemory", 0)


SCENARIOS: Final = {
    "hot-account": Scenario("one account has half of all events", hot_account, spares=True),
    "hot-shard": Scenario("for one shard comes more than it can take", hot_shard, spares=True),
    "slow-redis": Scenario(f"a shard's Redis answers {SLOW_REDIS_S:g} s later", slow_redis, spares=True),
    "slow-broker": Scenario(f"the broker answers {SLOW_KAFKA_S:g} s later", slow_broker, spares=False),
    "full-redis": Scenario("Redis is at its memory's limit, and what comes is more than workers keep", full_redis, spares=False),
}


def overload(name: str, seconds: float, directory: Path, size: Size, tell: Tell, show: Show) -> Found:
    """One scenario."""
    scenario, found = SCENARIOS[name], Found(name, seconds, directory)
    with laboratory(directory, size, tell, show) as lab:
        at_start = lab.pass_time("steady", STEADY_S)[0]
        baseline = lab.pass_time("baseline", min(BASELINE_S, seconds))
        with happening(scenario, lab) as each:
            looks = lab.pass_time(name, seconds, each)
        ended = time.monotonic()
        lab.calm(found)
        looks += lab.gauge.since(ended)
    start = at_start.resident
    found.measured["resident at start MB"] = round(max(start) / MB)
    growth = max(now - then for look in looks for now, then in zip(look.resident, start, strict=False))  # workers end before the looks do
    found.bar("resident growth at most MB", growth / MB, GROWTH_MB_MAX)
    found.measured["backlog at most"] = max(look.lag() for look in looks)
    during = [look for look in looks if look.at < ended]
    before, after = rates(baseline, size.partitions), rates(during, size.partitions)
    found.measured["records a second before"] = round(sum(before))
    found.measured["records a second then"] = round(sum(after))
    others = [now / then for shard, (now, then) in enumerate(zip(after, before, strict=True)) if shard != hot(lab)]
    found.measured["other shards' rate at least"] = round(min(others), 2)
    found.measured["its rate"] = f"{before[hot(lab)]:.0f} -> {after[hot(lab)]:.0f}"
    if scenario.spares and min(others) < SHARE_MIN:
        found.misses.append(f"another shard kept {min(others):.0%} of its rate, less than {SHARE_MIN:.0%}")
    return found


happening = contextmanager(lambda scenario, lab: scenario.happens(lab))


def soak(seconds: float, directory: Path, size: Size, tell: Tell, show: Show) -> Found:
    """Nothing but the steady load: how much the memory grows when it has warmed up."""
    found = Found("soak", seconds, directory)
    with laboratory(directory, size, tell, show) as lab:
        lab.pass_time("warming up", seconds * WARM_UP_SHARE)
        looks = lab.pass_time("soak", seconds * (1 - WARM_UP_SHARE))
        lab.calm(found)
    found.measured["resident MB"] = f"{sum(looks[0].resident) / MB:.1f} -> {sum(looks[-1].resident) / MB:.1f}"
    found.measured["records a second"] = round(sum(rates(looks, size.partitions)))
    found.bar("slope MB/h", slope(looks), SLOPE_MB_MAX)
    half = len(looks) // 2
    found.measured["slope of the second half MB/h"] = round(slope(looks[half:]), 2)
    return found
