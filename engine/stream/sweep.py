"""The sweep: every account of a shard is looked at again when something ages or changes without an event of its own.

Theory of operation. A sweep begins when the shard's tick reaches a new policy day, and when another policy or appetite comes into force. It goes
through the accounts bucket by bucket, in each bucket by ascending id, in slices between the batches of events; how far it is stands in the
shard's hash, so it goes on after a crash. A new cause while a sweep is under way takes its place: the bucket at hand is begun again and then all
256 buckets are gone through from there, so even if causes come faster than a sweep can follow no account is left out for ever.

Moving an account's clock can be done in one step or in many with the same result, so an account that a sweep finds nothing to say about is not
written: its next record moves the clock just as well.

While an outage is caught up with, days pass in seconds, and each begins a sweep. What all these would find the newest one finds, too; so behind a
round of all buckets records that wait have their turn for a while (``Rest``).

Slices and batches take turns. A slice has as many accounts as take about twice as long as the batch before it, within bounds (``Portion``).
Measured with 1,000,000 accounts: where many records wait, these keep two thirds of their rate and more, since one shard's wait for its
store is another's time.

A sweep may have a pace. Then accounts fall due one after the other as time goes by, and a slice takes those that are due: one that comes late,
because events had their turn, has more of them, so the pace is kept whatever the slices are like.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from engine.core.layout import DAY_MS, HOUR_MS, MISSING
from engine.policy.document import Policy
from engine.state.keys import BUCKETS

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SLICE_ACCOUNTS_MAX: Final = 24_000
SLICE_ACCOUNTS_LEAST: Final = 8_000  # each slice is a commit, which costs as much as looking at some thousand accounts
SLICE_BUCKETS_MAX: Final = 64
PORTION_S: Final = 0.1  # that a slice may take where no record waits
BATCH_TIMES: Final = 2  # as long as the batch before it, where records wait
SLICE_S: Final = 0.25  # between the slices of a sweep that has a pace
REST_TIMES: Final = 9
LATE_S: Final = 5.0  # by which a slice may be late and make up for it: so no minute has a tenth more than the pace


@dataclass(frozen=True, slots=True)
class Sweep:
    """The newest sweep: the day it stands for, what caused it, and how far it is.

    ``cause`` is ``day:<date>``, or the control_id of the record at ``offset`` of limit-control. Next come the accounts of ``bucket`` whose
    ids are above ``after``; ``left`` buckets are to be gone through, that one included. ``unfollowed`` ones were not gone through since the last
    control record: a day's sweep that takes the place of such a record's goes on with its work.
    """

    day: int
    cause: str = ""
    offset: int | None = None
    bucket: int = 0
    after: bytes = b""
    left: int = 0
    unfollowed: int = 0

    def encode(self) -> bytes:
        """As a field of the shard hash."""
        plain = [self.day, self.cause, self.offset, self.bucket, self.after.hex(), self.left, self.unfollowed]
        return json.dumps(plain, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Inverse of ``encode``."""
        day, cause, offset, bucket, after, left, unfollowed = json.loads(raw)
        return cls(day, cause, offset, bucket, bytes.fromhex(after), left, unfollowed)

    def begun(self, day: int, cause: str, offset: int | None = None) -> Sweep:
        """The sweep that takes this one's place."""
        return Sweep(day, cause, offset, self.bucket, b"", BUCKETS, self.unfollowed if offset is None else BUCKETS)

    def moved(self, buckets: int, after: bytes) -> Sweep:
        """This sweep after ``buckets`` more buckets, and of the next one the ids up to ``after``."""
        bucket, unfollowed = (self.bucket + buckets) % BUCKETS, max(0, self.unfollowed - buckets)
        return replace(self, bucket=bucket, after=after, left=self.left - buckets, unfollowed=unfollowed)


class Pace:
    """When the next slice of a shard's sweep is due, and how many accounts it may have. Moments are in seconds, of a clock that never goes back.

    Accounts fall due at ``per_second`` (None: all are due at any time). Those that a slice does not take stay due, for at most LATE_S.
    """

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._taken = 0.0  # when the last account that was taken fell due
        self._slice_s = 0.0 if per_second is None else min(max(SLICE_S, 1 / per_second), SLICE_ACCOUNTS_MAX / per_second)

    def begin(self, now: float) -> None:
        """A sweep begins or goes on after a wait: of the time before one slice is due, no more."""
        self._taken = max(self._taken, now - self._slice_s)

    def due_in(self, now: float) -> float:
        """In how many seconds the next slice is due."""
        return 0.0 if self._per_second is None else max(0.0, self._taken + self._slice_s - now)

    def accounts(self, now: float) -> int:
        """How many accounts a slice that is due may have."""
        if self._per_second is None:
            return SLICE_ACCOUNTS_MAX
        return min(SLICE_ACCOUNTS_MAX, max(1, int((now - self._since(now)) * self._per_second)))

    def take(self, accounts: int, now: float) -> None:
        """A slice that was due at this moment had so many accounts."""
        if self._per_second is not None:
            self._taken = self._since(now) + accounts / self._per_second

    def _since(self, now: float) -> float:
        """From when on accounts that fell due are due still."""
        return max(self._taken, now - self._slice_s - LATE_S)


class Portion:
    """How large the next slice is: at most so many ``accounts``, of so many ``buckets``."""

    def __init__(self) -> None:
        self.buckets = 1  # as many as hold some accounts
        self.accounts = SLICE_ACCOUNTS_LEAST

    def learn(self, accounts: int, took_s: float, batch_s: float, *, is_full: bool) -> None:
        """A slice of so many accounts, which were all that it might have or else all that its buckets held, took as long, the batch before it
        ``batch_s``."""
        self.buckets = max(1, self.buckets // 2) if is_full else min(SLICE_BUCKETS_MAX, 2 * self.buckets)
        in_time = int(accounts * max(BATCH_TIMES * batch_s, PORTION_S) / max(took_s, 0.001))
        self.accounts = min(SLICE_ACCOUNTS_MAX, 2 * self.accounts, max(SLICE_ACCOUNTS_LEAST, in_time))

    def refuse(self, accounts: int) -> None:
        """What was to be said of so many was too much for a commit."""
        self.accounts = max(1, accounts // 4)


class Rest:
    """How long records that wait have their turn behind a round of all buckets: ``REST_TIMES`` as long as its slices took. Moments as for
    ``Pace``."""

    def __init__(self) -> None:
        self._taken_s, self._buckets = 0.0, 0  # of the round at hand
        self._until = -math.inf

    def is_over(self, now: float) -> bool:
        """Whether the sweep has its turns again."""
        return now >= self._until

    def take(self, buckets: int, began: float, ended: float) -> None:
        """A slice has gone through so many buckets."""
        self._taken_s += ended - began
        self._buckets += buckets
        if self._buckets >= BUCKETS:
            self._until = ended + REST_TIMES * self._taken_s
            self._taken_s, self._buckets = 0.0, 0


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
