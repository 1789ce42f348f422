"""The price of credit: the rate tier that a score earns, and how the standing one follows (docs/policy.md §9.8)."""

from __future__ import annotations

from engine.core.instalments import in_cure
from engine.core.jit import compiled
from engine.core.layout import MISSING, Announced, Col, Kind
from engine.core.scoring import step_of
from engine.core.standing import begin, finish_change, give_up, in_force, midnight_after, set_pending
from engine.core.tables import BAND, Ba, Ints, Se


@compiled
def tier_place(t: Ints, segment: int, code: int) -> int:
    """Place of the tier of a name's code, -1 if the segment has none of that name."""
    for tier in range(t[segment + Se.TIERS], t[segment + Se.TIERS_END], BAND):
        if t[tier + Ba.CODE] == code:
            return tier
    return -1


@compiled
def target_tier(t: Ints, segment: int, row: Ints, score: int) -> int:
    """Place of the tier that a score earns, -1 where the segment has no rates."""
    first, end = t[segment + Se.TIERS], t[segment + Se.TIERS_END]
    return step_of(t, first, end, score, tier_place(t, segment, row[Col.RATE_TIER])) if first < end else -1


@compiled
def set_tier(t: Ints, d: Ints, n: int, row: Ints, tier: int) -> int:
    """Emit a rate_change to the tier at a place. Returns the number of decisions."""
    begin(d, n, row, Kind.RATE_CHANGE, 0)
    row[Col.RATE_TIER] = t[tier + Ba.CODE]
    give_up(row, Col.PENDING_RATE, Col.PENDING_RATE_AT)
    return finish_change(d, n, row)


@compiled
def follow_rate(t: Ints, segment: int, d: Ints, n: int, row: Ints, target: int, bucket: int) -> int:
    """Bring an open line's tier to the target tier (its place, -1: no rates): down at once, up with notice. Returns the number of decisions."""
    if target < 0 or in_force(row, Col.HOLD_UNTIL):
        return n
    standing = tier_place(t, segment, row[Col.RATE_TIER])
    is_due = row[Col.PENDING_RATE] != MISSING and row[Col.PENDING_RATE_AT] <= row[Col.CLOCK]
    if standing < 0:
        return set_tier(t, d, n, row, target)
    if target < standing:
        if is_due:
            pending = tier_place(t, segment, row[Col.PENDING_RATE])
            return set_tier(t, d, n, row, max(target, pending))
        if row[Col.PENDING_RATE] != MISSING:
            return n
        days = t[segment + Se.RISE_NOTICE_DAYS]
        if days == 0:
            return set_tier(t, d, n, row, target)
        return set_pending(d, n, row, Kind.ANNOUNCE, Announced.RATE, t[target + Ba.CODE], midnight_after(t, row, days))
    if target > standing and bucket == 0 and not in_cure(t, row, row[Col.CLOCK]):
        return set_tier(t, d, n, row, target)
    return set_pending(d, n, row, Kind.ANNOUNCE_WITHDRAWN, Announced.RATE, MISSING, MISSING) if is_due else n
