"""How long the sweep of a day takes, with events waiting all the while.

The log has an event of each account on one day, and events of another day behind them (``load.two_days``): with the first of these a shard begins
to sweep. How far it is stands in its hash in Redis. A sweep is over when each shard's is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis

from engine.policy.source import load_policy
from engine.state import keys
from engine.stream.in_force import ShardStatus, status_of
from engine.stream.sweep import sweep_day
from scripts.benchmark.plan import ENGINE
from scripts.benchmark.scene import LOOK_EVERY_S, START_WITHIN_S, Failed, Look, Scene
from scripts.benchmark.screen import Show
from scripts.personas import DAY_MS

APPLICATION: Final = "limits"


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep, and what was done beside and behind it: events a second (None: none were left)."""

    accounts: int
    seconds: float
    beside_per_second: float | None
    behind_per_second: float | None

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "accounts": self.accounts,
            "seconds": round(self.seconds, 2),
            "accounts_per_second": round(self.accounts / self.seconds),
            "events_per_second_beside": self.beside_per_second and round(self.beside_per_second),
            "events_per_second_behind": self.behind_per_second and round(self.behind_per_second),
        }

    def sentence(self) -> str:
        """For who reads it."""
        told = ((self.beside_per_second, "beside it"), (self.behind_per_second, "behind it"))
        events = " and ".join(f"{rate:,.0f} events/s {where}" for rate, where in told if rate is not None) or "no events"
        return f"sweep: {self.accounts:,} accounts in {self.seconds:.1f} s, {self.accounts / self.seconds:,.0f} a second, with {events}"


def sweep(scene: Scene, show: Show) -> Swept:
    """Let the engine take the scene's log, and watch the sweep of its last day. Raises ``Failed``."""
    day = sweep_day(load_policy(scene.policy), scene.load.start_ms + 2 * DAY_MS)
    began: Look | None = None
    ended: Look | None = None
    with scene.running(ENGINE) as running, Redis.from_url(running.redis_url) as client:
        deadline = time.monotonic() + START_WITHIN_S + ENGINE.seconds_max
        while True:
            look = running.look(LOOK_EVERY_S)
            show(look.records, scene.records)
            found = [of.sweep for of in statuses(client, scene.partitions) if of.sweep is not None and of.sweep.day == day]
            if began is None and found:
                began = look
            if began is not None and ended is None and len(found) == scene.partitions and not any(of.left for of in found):
                ended = look
            if ended is not None and look.records >= scene.records:
                break
            if look.at > deadline:
                raise Failed(f"the sweep is not over; {running.last_words()}")
    if began is None or began is ended:
        raise Failed("the sweep was over before it could be watched: more accounts are needed")
    return Swept(scene.load.accounts, ended.at - began.at, rate(began, ended), rate(ended, look))


def statuses(client: Redis, partitions: int) -> list[ShardStatus]:
    """What the hash of each shard says."""
    found = []
    for shard in range(partitions):
        held: Any = client.hgetall(keys.ShardKeys(APPLICATION, shard).shard)
        found.append(status_of(shard, {name.decode(): value for name, value in held.items()}))
    return found


def rate(earlier: Look, later: Look) -> float | None:
    """Events a second between two looks; None if there were none."""
    return (later.records - earlier.records) / (later.at - earlier.at) if later.records > earlier.records else None
