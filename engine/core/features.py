"""Features: what the scorecard looks at, computed from an account's row as it stands (docs/policy.md §6)."""

from __future__ import annotations

from engine.core.exposure import exposure_of
from engine.core.instalments import days_past_due
from engine.core.jit import compiled
from engine.core.layout import AMOUNT_MAX, FIGURES_AT, MISSING, MONTH_DAYS, Col, Fig
from engine.core.tables import FEATURE, Fe, FeatureKind, Ints, Me, MeasureKind, Ru
from engine.core.windows import day_of, window_bits, window_max, window_start, window_sum


@compiled
def begins_before_history(t: Ints, row: Ints, measure: int, tiles: int) -> bool:
    """Whether a window of ``measure`` is partial: it begins before the account's first record, or before the measure was added."""
    if t[measure + Me.WIDTH] == 0:
        return False
    start = window_start(t, measure, row[Col.CLOCK], tiles)
    return start < row[Col.FIRST_AT] or start < t[measure + Me.ADDED_AT]


@compiled
def is_partial(t: Ints, row: Ints, feature: int) -> bool:
    """Whether one of the feature's windows is partial."""
    kind, tiles = t[feature + Fe.KIND], t[feature + Fe.WINDOW]
    if tiles == 0:
        return False
    if kind == FeatureKind.TREND:
        tiles *= 2
    elif kind == FeatureKind.ACTIVE_MONTHS or kind == FeatureKind.REGULARITY:
        tiles *= MONTH_DAYS
    if begins_before_history(t, row, t[feature + Fe.A], tiles):
        return True
    second = t[feature + Fe.B]
    two_measures = kind == FeatureKind.AVERAGE or kind == FeatureKind.RATIO or kind == FeatureKind.SHARE
    return two_measures and begins_before_history(t, row, second, tiles)


@compiled
def scaled(scale: int, part: int, whole: int) -> int:
    """``scale`` x part ÷ whole rounded down, MISSING when the whole is not positive or either is unknown."""
    if part == MISSING or whole == MISSING or whole <= 0:
        return MISSING
    return scale * part // whole


@compiled
def total(t: Ints, measure: int, row: Ints, tiles: int) -> int:
    """A window's total; of a maximum the largest, of a balance what it stands at."""
    if t[measure + Me.KIND] == MeasureKind.BALANCE:
        return row[t[measure + Me.BASE]]  # type: ignore[no-any-return]
    if t[measure + Me.KIND] == MeasureKind.MAX:
        return window_max(t, measure, row, row[Col.CLOCK], tiles)
    return window_sum(t, measure, row, row[Col.CLOCK], 0, tiles)


@compiled
def regularity(t: Ints, measure: int, row: Ints, months: int, scale: int) -> int:
    """``scale`` x smallest ÷ largest of the newest blocks of 30 days."""
    smallest, largest = AMOUNT_MAX, 0
    for month in range(months):
        block = window_sum(t, measure, row, row[Col.CLOCK], month * MONTH_DAYS, MONTH_DAYS)
        smallest, largest = min(smallest, block), max(largest, block)
    return scaled(scale, smallest, largest)


@compiled
def active_months(t: Ints, measure: int, row: Ints, months: int) -> int:
    """How many of the newest blocks of 30 days have a positive total."""
    active = 0
    for month in range(months):
        if window_sum(t, measure, row, row[Col.CLOCK], month * MONTH_DAYS, MONTH_DAYS) > 0:
            active += 1
    return active


@compiled
def windowed_feature(t: Ints, row: Ints, feature: int) -> int:
    """Value of a feature that reads tiles."""
    kind, tiles, scale = t[feature + Fe.KIND], t[feature + Fe.WINDOW], t[feature + Fe.SCALE]
    first = t[feature + Fe.A]
    if kind == FeatureKind.TOTAL:
        return total(t, first, row, tiles)
    if kind == FeatureKind.TREND:
        return scaled(scale, window_sum(t, first, row, row[Col.CLOCK], 0, tiles), window_sum(t, first, row, row[Col.CLOCK], tiles, tiles))
    if kind == FeatureKind.ACTIVE_MONTHS:
        return active_months(t, first, row, tiles)
    if kind == FeatureKind.REGULARITY:
        return regularity(t, first, row, tiles, scale)
    if kind == FeatureKind.DISTINCT:
        bits = window_bits(t, first, row, row[Col.CLOCK], tiles)
        return t[t[Ru.SKETCH] + 64 - bits] if t[feature + Fe.B] == 1 else bits
    if kind == FeatureKind.DAYS_SINCE:
        seen = row[t[first + Me.BASE]]
        return MISSING if seen == MISSING else day_of(t, row[Col.CLOCK]) - day_of(t, seen)
    value = scaled(scale, total(t, first, row, tiles), total(t, t[feature + Fe.B], row, tiles))
    if kind == FeatureKind.SHARE and value != MISSING:
        return min(scale, value)
    return value


@compiled
def standing_feature(t: Ints, row: Ints, feature: int) -> int:
    """Value of a feature that reads the profile, the instalments or the standing."""
    kind, scale = t[feature + Fe.KIND], t[feature + Fe.SCALE]
    if kind == FeatureKind.UTILISATION:
        return scaled(scale, exposure_of(row), row[Col.LIMIT])
    if kind == FeatureKind.DAYS_PAST_DUE:
        return days_past_due(t, row, row[Col.CLOCK])
    if kind == FeatureKind.TENURE:
        opened_on = row[FIGURES_AT + Fig.OPENED_ON]
        return MISSING if opened_on == MISSING else day_of(t, row[Col.CLOCK]) - opened_on
    if kind == FeatureKind.COMPLETENESS:
        known = 0
        for entry in range(t[feature + Fe.A], t[feature + Fe.B]):
            if row[t[entry]] != MISSING:
                known += 1
        return 100 * known // (t[feature + Fe.B] - t[feature + Fe.A])
    if t[feature + Fe.B] < 0:
        return row[t[feature + Fe.A]]  # type: ignore[no-any-return]
    return scaled(scale, row[t[feature + Fe.A]], row[t[feature + Fe.B]])


@compiled
def compute_features(t: Ints, row: Ints, values: Ints) -> bool:
    """Fill ``values`` (F,) for the account as it stands; True if a partial window made a feature missing (the account is warming up)."""
    warming_up = False
    for f in range(values.shape[0]):
        feature = t[Ru.FEATURES] + f * FEATURE
        if t[feature + Fe.PARTIAL_MISSING] == 1 and is_partial(t, row, feature):
            values[f] = MISSING
            warming_up = True
        elif t[feature + Fe.KIND] < FeatureKind.UTILISATION:
            values[f] = windowed_feature(t, row, feature)
        else:
            values[f] = standing_feature(t, row, feature)
    return warming_up
