"""Exposure: the profile's snapshot and what moved after it (docs/policy.md §5)."""

from __future__ import annotations

from tests.oracle.records import Posting, Profile, Purchase, Repayment, Transfer

MOVEMENTS_MAX = 32
EXPOSURE_MAX = 2**53 - 1


class Exposure:
    """Movements as (occurred_at, amount) in order of arrival, and *older*, the ones that were merged, likewise."""

    def __init__(self) -> None:
        self.profile: Profile | None = None
        self.movements: list[tuple[int, int]] = []
        self.older: tuple[int, int] | None = None

    def move(self, record: Posting) -> None:
        """Take a posting."""
        at, amount = record.occurred_at, _change(record)
        if record.reverses_at is not None:
            at, amount = record.reverses_at, -amount
        if amount == 0 or (self.profile is not None and at <= self.profile.as_of):
            return
        self.movements.append((at, amount))
        if len(self.movements) > MOVEMENTS_MAX:
            oldest = min(self.movements, key=lambda movement: movement[0])
            self.movements.remove(oldest)
            until, total = self.older or (oldest[0], 0)
            total = min(max(total + oldest[1], -EXPOSURE_MAX), EXPOSURE_MAX)
            self.older = (max(until, oldest[0]), total)

    def snapshot(self, profile: Profile) -> None:
        """Take a newer profile."""
        self.profile = profile
        self.movements = [movement for movement in self.movements if movement[0] > profile.as_of]
        if self.older is not None and self.older[0] <= profile.as_of:
            self.older = None

    def value(self) -> int | None:
        """The exposure now, None if unknown."""
        if self.profile is None or self.profile.exposure_minor is None:
            return None
        moved = self.movements + ([self.older] if self.older else [])
        return min(max(self.profile.exposure_minor + sum(amount for _, amount in moved), 0), EXPOSURE_MAX)


def _change(record: Posting) -> int:
    """What a posting that is no reversal adds to the exposure."""
    if isinstance(record, Repayment):
        return -record.amount_minor
    if isinstance(record, Purchase):
        return record.amount_minor if record.funded_by == "credit" else 0
    assert isinstance(record, Transfer)
    return record.amount_minor if record.purpose == "draw" else 0
