"""Features: what the scorecard looks at, computed from an account's row as it stands (docs/policy.md §6)."""

from __future__ import annotations

from engine.core.bit_counts import bits_set
from engine.core.exposure import exposure_of
from engine.core.instalments import days_past_due
from engine.core.jit import compiled
from engine.core.layout import AMOUNT_MAX, MISSING, Col, Top
from engine.core.standing import limit_in_force
from engine.core.tables import FEATURE, Fe, FeatureKind, Ints, Me, Ru, Se
from engine.core.tops import largest_of
from engine.core.windows import day_of, window_start


@compiled
def begins_before_history(t: Ints, row: Ints, measure: int, tiles: int) -> bool:
    """Whether a window of ``measure`` is partial: it begins before the account's first record, or before the measure was added."""
    known_since = max(row[Col.FIRST_AT], t[measure + Me.ADDED_AT])
    latest_start = row[Col.CLOCK] - (tiles - 1) * t[measure + Me.WIDTH]
    if latest_start < known_since:
        return True
    # It begins less than a tile before that; mostly this decides without a division.
    return latest_start - t[measure + Me.WIDTH] < known_since and window_start(t, measure, row[Col.CLOCK], tiles) < known_since


@compiled
def is_partial_and_missing(t: Ints, row: Ints, feature: int) -> bool:
    """Whether the feature is to be missing because one of its windows is partial."""
    first, second, tiles = t[feature + Fe.PARTIAL_MEASURE], t[feature + Fe.PARTIAL_SECOND], t[feature + Fe.PARTIAL_TILES]
    if first >= 0 and begins_before_history(t, row, first, tiles):
        return True
    return second >= 0 and begins_before_history(t, row, second, tiles)


@compiled
def clamped(value: int) -> int:
    """A window's total as features see it: 0 .. 2^53 - 1."""
    return max(0, min(AMOUNT_MAX, value))


@compiled
def scaled(scale: int, part: int, whole: int) -> int:
    """``scale`` x part ÷ whole rounded down, MISSING when the whole is not positive or either is unknown."""
    if part == MISSING or whole == MISSING or whole <= 0:
        return MISSING
    return scale * part // whole


@compiled
def monthly_feature(row: Ints, kind: int, first: int, months: int, scale: int) -> int:
    """``active_months`` and ``regularity`` of the consecutive windows of 30 days that begin at cell ``first``."""
    active, smallest, largest = 0, AMOUNT_MAX, 0
    for cell in range(first, first + months):
        block = clamped(row[cell])
        active += block > 0
        smallest, largest = min(smallest, block), max(largest, block)
    return active if kind == FeatureKind.ACTIVE_MONTHS else scaled(scale, smallest, largest)


@compiled
def windowed_feature(t: Ints, row: Ints, feature: int) -> int:
    """Value of a feature that reads what measures accumulated."""
    kind, a, b, scale = t[feature + Fe.KIND], t[feature + Fe.A], t[feature + Fe.B], t[feature + Fe.SCALE]
    if kind == FeatureKind.TOTAL or kind == FeatureKind.BALANCE:
        if b >= 0 and row[b] <= 0:
            return MISSING
        value = clamped(row[a]) if kind == FeatureKind.TOTAL else row[a]
        per = t[feature + Fe.PER]
        return value if per < 0 else scaled(scale, value, row[per])
    if kind == FeatureKind.DAYS_SINCE:
        return MISSING if row[a] == MISSING else day_of(t, row[Col.CLOCK]) - day_of(t, row[a])
    if kind == FeatureKind.DISTINCT:
        bits = bits_set(row[a])
        return t[t[Ru.SKETCH] + 64 - bits] if b == 1 else bits
    if kind == FeatureKind.NEWLY_SEEN:
        before, with_it = bits_set(row[b]), bits_set(row[a] | row[b])
        return t[t[Ru.SKETCH] + 64 - with_it] - t[t[Ru.SKETCH] + 64 - before] if scale == 1 else with_it - before
    if kind == FeatureKind.REACHING:
        reached = 0
        for listed in range(a, b):
            reached += clamped(row[t[listed]]) >= scale
        return reached
    if kind == FeatureKind.CONCENTRATION:
        share = scaled(scale, largest_of(row, a), row[a + Top.TOTAL])
        return share if share == MISSING else min(scale, share)
    if kind == FeatureKind.ACTIVE_MONTHS or kind == FeatureKind.REGULARITY:
        return monthly_feature(row, kind, a, b, scale)
    value = scaled(scale, clamped(row[a]), clamped(row[b]))
    if kind == FeatureKind.SHARE and value != MISSING:
        return min(scale, value)
    return value


@compiled
def standing_feature(t: Ints, row: Ints, feature: int) -> int:
    """Value of a feature that reads the profile, the instalments or the standing."""
    kind, a, b, scale = t[feature + Fe.KIND], t[feature + Fe.A], t[feature + Fe.B], t[feature + Fe.SCALE]
    if kind == FeatureKind.UTILISATION:
        return scaled(scale, exposure_of(row), limit_in_force(row))
    if kind == FeatureKind.DAYS_PAST_DUE:
        return days_past_due(t, row, row[Col.CLOCK])
    if kind == FeatureKind.SINCE_DATE:
        return MISSING if row[a] == MISSING else day_of(t, row[Col.CLOCK]) - row[a]
    if kind == FeatureKind.COMPLETENESS:
        known = 0
        for entry in range(a, b):
            known += row[t[entry]] != MISSING
        return 100 * known // (b - a)
    return row[a] if b < 0 else scaled(scale, row[a], row[b])


@compiled
def compute_features(t: Ints, segment: int, row: Ints, values: Ints) -> bool:
    """Fill ``values`` (F,) with what the segment reads, MISSING elsewhere; True if a partial window made a feature of the scorecard missing
    (the account is warming up)."""
    for f in range(values.shape[0]):
        values[f] = MISSING
    warming_up = False
    for listed in range(t[segment + Se.FEATURES], t[segment + Se.FEATURES_END]):
        f = t[listed]
        feature = t[Ru.FEATURES] + f * FEATURE
        if is_partial_and_missing(t, row, feature):
            warming_up = warming_up or listed < t[segment + Se.SCORED_END]
        elif t[feature + Fe.KIND] < FeatureKind.UTILISATION:
            values[f] = windowed_feature(t, row, feature)
        else:
            values[f] = standing_feature(t, row, feature)
    return warming_up
