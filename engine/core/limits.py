"""The target limit: band limit, caps, rounding, steps, floor, minimum change (docs/policy.md §9.7)."""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import CAPS, FIGURES_AT, MISSING, Appetite, Bound, Col, Fig, Standing
from engine.core.standing import in_force
from engine.core.tables import Ba, Ints, Ru, Se
from engine.core.windows import day_of

NO_CAP = 2**62


@compiled
def appetite_limit(t: Ints, segment: int, row: Ints, band: int) -> int:
    """The band's limit as the lender's risk appetite has it today (docs/policy.md §9b)."""
    limit, mode = t[band + Ba.LIMIT], t[segment + Se.APPETITE]
    if mode == Appetite.NEUTRAL:
        return limit
    column = band + (Ba.CONTRACTION_PERCENT if mode == Appetite.CONTRACTION else Ba.EXPANSION_PERCENT)
    if day_of(t, row[Col.CLOCK]) - t[segment + Se.APPETITE_DAY] < t[column + 1]:
        return limit
    return limit * t[column] // 100


@compiled
def fill_caps(t: Ints, segment: int, row: Ints, band: int, caps: Ints) -> None:
    """``caps`` (CAPS,) receives what each ``Bound`` allows: the band's limit and every cap, NO_CAP where a cap does not apply."""
    for bound in range(CAPS):
        caps[bound] = NO_CAP
    by_appetite = appetite_limit(t, segment, row, band)
    caps[Bound.BAND] = max(t[band + Ba.LIMIT], by_appetite)
    if by_appetite < t[band + Ba.LIMIT]:
        caps[Bound.APPETITE] = by_appetite
    caps[Bound.PRODUCT_CAP] = t[segment + Se.PRODUCT_CAP]
    caps[Bound.LEGAL_CAP] = t[segment + Se.LEGAL_CAP]
    if t[segment + Se.INCOME_PERCENT] > 0:
        income = row[FIGURES_AT + Fig.INCOME_MONTHLY]
        if income == MISSING:
            caps[Bound.INCOME_CAP] = t[segment + Se.INCOME_UNKNOWN]
        else:
            elsewhere = max(0, row[FIGURES_AT + Fig.EXTERNAL_LIMITS])
            # Split, because income x percent may not fit 64 bits.
            percent = t[segment + Se.INCOME_PERCENT]
            allowed = income // 100 * percent + income % 100 * percent // 100
            caps[Bound.INCOME_CAP] = max(0, allowed - elsewhere)
    if t[segment + Se.RELATED_CAP] != MISSING:
        caps[Bound.RELATED_CAP] = max(0, t[segment + Se.RELATED_CAP] - max(0, row[FIGURES_AT + Fig.RELATED_EXPOSURE]))
    if row[Col.STANDING] != Standing.OPEN and row[FIGURES_AT + Fig.REQUESTED_LIMIT] != MISSING:
        caps[Bound.REQUESTED] = row[FIGURES_AT + Fig.REQUESTED_LIMIT]
    if row[Col.CEILING] != MISSING:
        caps[Bound.CEILING] = row[Col.CEILING]


@compiled
def least_cap(caps: Ints) -> int:
    """The first ``Bound`` of the least cap."""
    least = 0
    for bound in range(1, CAPS):
        if caps[bound] < caps[least]:
            least = bound
    return least


@compiled
def is_forced(t: Ints, segment: int, row: Ints, bucket: int) -> bool:
    """Whether law or arrears command a decrease: neither step, minimum change nor guard may hold it back."""
    above_law = t[segment + Se.LEGAL_CAP] < row[Col.LIMIT]
    return above_law or bucket >= t[Ru.LIMIT_TO_EXPOSURE_BUCKET]


@compiled
def is_own(t: Ints, segment: int, row: Ints) -> bool:
    """Whether the customer's own ceiling asks for a decrease."""
    round_to = t[segment + Se.ROUND_TO]
    return row[Col.CEILING] != MISSING and row[Col.CEILING] // round_to * round_to < row[Col.LIMIT]


@compiled
def overridden_limit(t: Ints, segment: int, row: Ints) -> int:
    """The limit that an override asks for, within law and the customer's ceiling."""
    limit = min(row[Col.OVERRIDE_LIMIT], t[segment + Se.LEGAL_CAP])
    return limit if row[Col.CEILING] == MISSING else min(limit, row[Col.CEILING])


@compiled
def stepped_limit(t: Ints, segment: int, row: Ints, target: int, bound: int, may_fall: bool) -> tuple[int, int]:
    """A target within the largest steps from the standing limit; ``may_fall``: however far down."""
    standing = row[Col.LIMIT]
    if t[segment + Se.STEP_UP] != MISSING and target > standing + t[segment + Se.STEP_UP]:
        target, bound = standing + t[segment + Se.STEP_UP], Bound.STEP
    if t[segment + Se.STEP_DOWN] != MISSING and not may_fall and target < standing - t[segment + Se.STEP_DOWN]:
        target, bound = standing - t[segment + Se.STEP_DOWN], Bound.STEP
    return target, bound


@compiled
def target_limit(
    t: Ints, segment: int, row: Ints, band: int, bucket: int, exposure: int, caps: Ints, forced: bool, own: bool
) -> tuple[int, int]:
    """Target limit for the target band, and the ``Bound`` that made it so. Fills ``caps``; ``forced`` and ``own`` are of open lines."""
    fill_caps(t, segment, row, band, caps)
    bound = least_cap(caps)
    round_to = t[segment + Se.ROUND_TO]
    target = caps[bound] // round_to * round_to
    if row[Col.STANDING] != Standing.OPEN:
        return target, bound
    standing = row[Col.LIMIT]
    is_overridden = in_force(row, Col.OVERRIDE_UNTIL)
    if is_overridden:
        target, bound = overridden_limit(t, segment, row), Bound.OVERRIDE
    else:
        if own:
            target, bound = row[Col.CEILING] // round_to * round_to, Bound.CEILING
        target, bound = stepped_limit(t, segment, row, target, bound, forced or own)
    if exposure != MISSING:
        used = -(-exposure // round_to) * round_to
        if bucket >= t[Ru.LIMIT_TO_EXPOSURE_BUCKET] and target > used:
            target, bound = used, Bound.ARREARS
        if target < min(used, standing) and not is_overridden:
            target, bound = min(used, standing), Bound.EXPOSURE_FLOOR
    if not is_overridden and not forced and not own and abs(target - standing) < t[segment + Se.MINIMUM_CHANGE]:
        target = standing
    return target, bound
