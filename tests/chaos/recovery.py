"""How long it takes until everything goes on after a loss."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from tests.chaos.gauge import Look
from tests.chaos.lab import STEADY_S, Found, Lab, Size, laboratory
from tests.chaos.run import SESSION_S
from tests.chaos.screen import Show, Tell

STORE_BACK_S_MAX: Final = 3.0
WORKER_BACK_S_MAX: Final = SESSION_S + 3.0
CAUGHT_UP_S_MAX: Final = 60.0
CAUGHT_UP_RATE: Final = 5_000.0
PUT_BACK_S: Final = 60.0
AWAY_S: Final = 2.0
TIMES: Final = 3
BETWEEN_S: Final = 10.0
COMMITS_WITHIN_S: Final = 30.0
EVERY_S: Final = 0.25


def recovery(directory: Path, size: Size, tell: Tell, show: Show) -> Found:
    """Redis killed, Redis put back a little, a worker killed, each some times; then Redis put back by a minute under a load of its own."""
    found = Found("recovery", 0.0, directory)
    began = time.monotonic()
    with laboratory(directory, Size(size.partitions, max(2, size.workers), size.rate, size.accounts), tell, show, EVERY_S) as lab:
        lab.pass_time("steady", STEADY_S)
        killed = [store_killed(lab) for _ in range(TIMES)]
        put_back = [store_put_back(lab, BETWEEN_S)[0] for _ in range(TIMES)]
        workers = [worker_killed(lab, turn) for turn in range(TIMES)]
        found.measured["Redis killed s"], found.measured["Redis put back s"] = rounded(killed), rounded(put_back)
        found.measured["worker killed s"] = rounded(workers)
        found.bar("Redis killed, at most s", max(killed), STORE_BACK_S_MAX)
        found.bar("Redis put back, at most s", max(put_back), STORE_BACK_S_MAX)
        found.bar("worker killed, at most s", max(workers), WORKER_BACK_S_MAX)
        lab.load("more", size.accounts, CAUGHT_UP_RATE - size.rate)
        again, caught_up = store_put_back(lab, PUT_BACK_S)
        found.measured["Redis put back by a minute: commits again after s"] = round(again, 2)
        found.bar("Redis put back by a minute: caught up after s", caught_up, CAUGHT_UP_S_MAX)
        lab.calm(found)
    found.seconds = time.monotonic() - began
    return found


def rounded(times: list[float]) -> list[float]:
    """For a reader."""
    return [round(seconds, 2) for seconds in times]


def store_killed(lab: Lab) -> float:
    """Seconds from the moment at which Redis serves again (it has loaded its file, and says that it is ready to accept connections) until every
    shard has committed."""
    lab.pass_time("before Redis is killed", BETWEEN_S)
    lab.ground.redis.kill()
    time.sleep(AWAY_S)
    lab.ground.redis.start()
    return again_after(lab, time.monotonic())


def store_put_back(lab: Lab, seconds: float) -> tuple[float, float]:
    """Likewise for a Redis that comes back as it was so many seconds ago; and until nothing more is behind than before."""
    lab.ground.copy_store()
    before = lab.pass_time(f"before Redis is put back by {seconds:.0f} s", seconds)
    usual = max(look.lag() for look in before[len(before) // 2 :])
    lab.ground.redis.come_back_with(lab.ground.copies[-1])
    since = time.monotonic()
    again = again_after(lab, since)
    return again, caught_up_after(lab, since, usual)


def worker_killed(lab: Lab, turn: int) -> float:
    """Seconds from the kill until every shard has committed."""
    slot = lab.ground.slots[turn % lab.size.workers]
    lab.pass_time(f"before worker {slot.number} is killed", BETWEEN_S)
    slot.is_wanted = False
    assert slot.process is not None
    killed_at = time.monotonic()
    slot.process.kill()
    seconds = again_after(lab, killed_at)
    lab.ground.begin(slot)

    def is_shared() -> bool:
        shards = [shard for each in lab.ground.slots for shard in lab.ground.shards_of(each.number)]
        return (
            sorted(shards) == list(range(lab.ground.partitions))
            and '"assigned"' in lab.ground.log_of(slot.number).rpartition('"starting"')[2]
        )

    lab.ground.wait(is_shared, "the worker is back, and each has its shards", 120)
    return seconds


def again_after(lab: Lab, moment: float) -> float:
    """Seconds from a moment until every shard has committed."""
    deadline = moment + COMMITS_WITHIN_S
    while (seconds := lab.watch.again_after(moment)) is None:
        if time.monotonic() > deadline:
            return COMMITS_WITHIN_S
        time.sleep(0.05)
    lab.tell(f"every shard commits again: {seconds:.2f} s")
    return seconds


def caught_up_after(lab: Lab, moment: float, usual: int) -> float:
    """Seconds from a moment until no more records are behind than usual: with them the store has all of the journal."""

    def is_caught_up(look: Look) -> bool:
        return look.at > moment and look.taken is not None and look.lag() <= usual

    while True:
        for look in lab.gauge.since(moment):
            if is_caught_up(look):
                return look.at - moment
        if time.monotonic() > moment + 2 * CAUGHT_UP_S_MAX:
            return 2 * CAUGHT_UP_S_MAX
        time.sleep(0.05)
