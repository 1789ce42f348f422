"""The sweep: every account of a shard is looked at again when something ages or changes without an event of its own.

Theory of operation. A sweep begins when the shard's tick reaches a new policy day, and when another policy comes into force. It goes through
the accounts bucket by bucket, in each bucket by ascending id, in slices between the batches of events; how far it is stands in the shard's
hash, so it goes on after a crash. A new cause while a sweep is under way takes its place: the bucket at hand is begun again and then all 256
buckets are gone through from there, so even if causes come faster than a sweep can follow no account is left out for ever.

Moving an account's clock can be done in one step or in many with the same result, so an account that a sweep finds nothing to say about is not
written: its next record moves the clock just as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from engine.core.layout import DAY_MS, HOUR_MS, MISSING
from engine.policy.document import Policy
from engine.state.keys import BUCKETS

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The newest sweep: the day it stands for, what caused it, and how far it is.

    ``cause`` is ``day:<date>``, or the control_id of the activation at ``offset`` of limit-control. Next come the accounts of ``bucket`` whose
    ids are above ``after``; ``left`` buckets are to be gone through, that one included.
    """

    day: int
    cause: str = ""
    offset: int | None = None
    bucket: int = 0
    after: bytes = b""
    left: int = 0

    def encode(self) -> bytes:
        """As a field of the shard hash."""
        return json.dumps([self.day, self.cause, self.offset, self.bucket, self.after.hex(), self.left], separators=(",", ":")).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Inverse of ``encode``."""
        day, cause, offset, bucket, after, left = json.loads(raw)
        return cls(day, cause, offset, bucket, bytes.fromhex(after), left)

    def begun(self, day: int, cause: str, offset: int | None = None) -> Sweep:
        """The sweep that takes this one's place."""
        return Sweep(day, cause, offset, self.bucket, b"", BUCKETS)

    def moved(self, buckets: int, after: bytes) -> Sweep:
        """This sweep after ``buckets`` more buckets, and of the next one the ids up to ``after``."""
        return replace(self, bucket=(self.bucket + buckets) % BUCKETS, after=after, left=self.left - buckets)


def sweep_day(policy: Policy, tick_ms: int) -> int:
    """The number of the day whose sweep is due at a tick: days begin at the policy's ``sweep_hour``."""
    return (tick_ms + policy.utc_offset_minutes * 60_000 - policy.sweep_hour * HOUR_MS) // DAY_MS


def day_begins(policy: Policy, day: int) -> int:
    """The first moment of such a day, in ms."""
    return day * DAY_MS + policy.sweep_hour * HOUR_MS - policy.utc_offset_minutes * 60_000


def sweep_at(sweep: Sweep | None, policy: Policy, tick_ms: int) -> Sweep | None:
    """The sweep as it stands at a tick: the one before, or that of the day which the tick has reached. The first tick of a shard begins none."""
    if tick_ms == MISSING:
        return sweep
    day = sweep_day(policy, tick_ms)
    if sweep is None:
        return Sweep(day)
    return sweep if day <= sweep.day else sweep.begun(day, f"day:{(EPOCH + timedelta(days=day)).date().isoformat()}")
