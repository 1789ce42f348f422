"""Features: what the scorecard looks at, computed from an account's row as it stands (docs/policy.md §6)."""

from __future__ import annotations

from engine.core.exposure import exposure_of
from engine.core.instalments import days_past_due
from engine.core.jit import compiled
from engine.core.layout import AMOUNT_MAX, FIGURES_AT, MISSING, MONTH_DAYS, Col, Fig
from engine.core.tables import Fe, FeatureKind, Ints, Me, MeasureKind, PolicyTables
from engine.core.windows import day_of, window_bits, window_max, window_start, window_sum


@compiled
def begins_before_history(t: PolicyTables, row: Ints, m: int, tiles: int) -> bool:
    """Whether a window of measure ``m`` is partial: it begins before the account's first record, or before the measure was added."""
    if t.measures[m, Me.WIDTH] == 0:
        return False
    start = window_start(t.measures[m], row[Col.CLOCK], tiles)
    return start < row[Col.FIRST_AT] or start < t.measures[m, Me.ADDED_AT]


@compiled
def is_partial(t: PolicyTables, row: Ints, f: int) -> bool:
    """Whether one of the feature's windows is partial."""
    kind, tiles = t.features[f, Fe.KIND], t.features[f, Fe.WINDOW]
    if tiles == 0:
        return False
    if kind == FeatureKind.TREND:
        tiles *= 2
    elif kind == FeatureKind.ACTIVE_MONTHS or kind == FeatureKind.REGULARITY:
        tiles *= MONTH_DAYS
    if begins_before_history(t, row, t.features[f, Fe.A], tiles):
        return True
    second = t.features[f, Fe.B]
    two_measures = kind == FeatureKind.AVERAGE or kind == FeatureKind.RATIO or kind == FeatureKind.SHARE
    return two_measures and begins_before_history(t, row, second, tiles)


@compiled
def scaled(scale: int, part: int, whole: int) -> int:
    """``scale`` x part ÷ whole rounded down, MISSING when the whole is not positive or either is unknown."""
    if part == MISSING or whole == MISSING or whole <= 0:
        return MISSING
    return scale * part // whole


@compiled
def total(measure: Ints, row: Ints, tiles: int) -> int:
    """A window's total; of a maximum the largest, of a balance what it stands at."""
    if measure[Me.KIND] == MeasureKind.BALANCE:
        return row[measure[Me.BASE]]  # type: ignore[no-any-return]
    if measure[Me.KIND] == MeasureKind.MAX:
        return window_max(measure, row, row[Col.CLOCK], tiles)
    return window_sum(measure, row, row[Col.CLOCK], 0, tiles)


@compiled
def regularity(measure: Ints, row: Ints, months: int, scale: int) -> int:
    """``scale`` x smallest ÷ largest of the newest blocks of 30 days."""
    smallest, largest = AMOUNT_MAX, 0
    for month in range(months):
        block = window_sum(measure, row, row[Col.CLOCK], month * MONTH_DAYS, MONTH_DAYS)
        smallest, largest = min(smallest, block), max(largest, block)
    return scaled(scale, smallest, largest)


@compiled
def active_months(measure: Ints, row: Ints, months: int) -> int:
    """How many of the newest blocks of 30 days have a positive total."""
    active = 0
    for month in range(months):
        if window_sum(measure, row, row[Col.CLOCK], month * MONTH_DAYS, MONTH_DAYS) > 0:
            active += 1
    return active


@compiled
def windowed_feature(t: PolicyTables, row: Ints, f: int) -> int:
    """Value of a feature that reads tiles."""
    feature = t.features[f]
    kind, tiles, scale = feature[Fe.KIND], feature[Fe.WINDOW], feature[Fe.SCALE]
    first = t.measures[feature[Fe.A]]
    if kind == FeatureKind.TOTAL:
        return total(first, row, tiles)
    if kind == FeatureKind.TREND:
        return scaled(scale, window_sum(first, row, row[Col.CLOCK], 0, tiles), window_sum(first, row, row[Col.CLOCK], tiles, tiles))
    if kind == FeatureKind.ACTIVE_MONTHS:
        return active_months(first, row, tiles)
    if kind == FeatureKind.REGULARITY:
        return regularity(first, row, tiles, scale)
    if kind == FeatureKind.DISTINCT:
        bits = window_bits(first, row, row[Col.CLOCK], tiles)
        return t.sketch[64 - bits] if feature[Fe.B] == 1 else bits
    if kind == FeatureKind.DAYS_SINCE:
        seen = row[first[Me.BASE]]
        return MISSING if seen == MISSING else day_of(t.rules, row[Col.CLOCK]) - day_of(t.rules, seen)
    value = scaled(scale, total(first, row, tiles), total(t.measures[feature[Fe.B]], row, tiles))
    if kind == FeatureKind.SHARE and value != MISSING:
        return min(scale, value)
    return value


@compiled
def standing_feature(t: PolicyTables, row: Ints, f: int) -> int:
    """Value of a feature that reads the profile, the instalments or the standing."""
    feature = t.features[f]
    kind, scale = feature[Fe.KIND], feature[Fe.SCALE]
    if kind == FeatureKind.UTILISATION:
        return scaled(scale, exposure_of(row), row[Col.LIMIT])
    if kind == FeatureKind.DAYS_PAST_DUE:
        return days_past_due(t.rules, row, row[Col.CLOCK])
    if kind == FeatureKind.TENURE:
        opened_on = row[FIGURES_AT + Fig.OPENED_ON]
        return MISSING if opened_on == MISSING else day_of(t.rules, row[Col.CLOCK]) - opened_on
    if kind == FeatureKind.COMPLETENESS:
        known = 0
        for entry in range(feature[Fe.A], feature[Fe.B]):
            if row[t.listed[entry]] != MISSING:
                known += 1
        return 100 * known // (feature[Fe.B] - feature[Fe.A])
    if feature[Fe.B] < 0:
        return row[feature[Fe.A]]  # type: ignore[no-any-return]
    return scaled(scale, row[feature[Fe.A]], row[feature[Fe.B]])


@compiled
def compute_features(t: PolicyTables, row: Ints, values: Ints) -> bool:
    """Fill ``values`` (F,) for the account as it stands; True if a partial window made a feature missing (the account is warming up)."""
    warming_up = False
    for f in range(t.features.shape[0]):
        if t.features[f, Fe.PARTIAL_MISSING] == 1 and is_partial(t, row, f):
            values[f] = MISSING
            warming_up = True
        elif t.features[f, Fe.KIND] < FeatureKind.UTILISATION:
            values[f] = windowed_feature(t, row, f)
        else:
            values[f] = standing_feature(t, row, f)
    return warming_up
