"""What a document means beyond its letters: the measures that ``share_above`` derives, and how many tiles each measure keeps.

The part of a ``share_above`` is a measure like any other: the whole's, with one more condition. ``policy promote`` writes it into the
document, so that it has a column number; before that, ``expanded_measures`` adds it.
"""

from __future__ import annotations

from typing import Final

from engine.core.layout import DAY_MS, HOUR_MS, MONTH_DAYS, MONTH_WEEKS
from engine.policy import document as doc

TILE_MS: Final = {"hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS}
UNWINDOWED: Final = ("balance", "last_seen", "top", "round_trips")


def derived_name(feature: doc.ShareAbove) -> str:
    """Name of the measure derived for the part of a ``share_above``."""
    return f"{feature.measure}_from_{feature.amount_minor}"


def derived_part(feature: doc.ShareAbove, measure: doc.Measure) -> doc.Measure:
    """The part's measure: ``measure`` (the whole) restricted to events of at least the feature's amount; column and date not assigned."""
    large = doc.Condition.model_validate({"field": "amount_minor", "at_least": feature.amount_minor})
    changes = {"name": derived_name(feature), "where": (*measure.where, large), "column": None, "added_at": None}
    return measure.model_copy(update=changes)


def expanded_measures(policy: doc.Policy) -> tuple[doc.Measure, ...]:
    """The document's measures and, behind them, the derived ones that it does not hold yet, in the order of the features."""
    by_name = {measure.name: measure for measure in policy.measures}
    for feature in policy.features:
        if isinstance(feature, doc.ShareAbove) and feature.measure in by_name:
            by_name.setdefault(derived_name(feature), derived_part(feature, by_name[feature.measure]))
    return tuple(by_name.values())


def measures_read(feature: doc.Feature) -> tuple[str, ...]:
    """Names of the measures a feature reads; of two, the part, sum or numerator first."""
    match feature:
        case doc.Average():
            return (feature.sum, feature.count)
        case doc.Ratio():
            return (feature.numerator, feature.denominator)
        case doc.Share():
            return (feature.part, feature.whole)
        case doc.ShareAbove():
            return (derived_name(feature), feature.measure)
        case doc.Total():
            return (feature.measure,) if feature.given is None else (feature.measure, feature.given)
        case doc.DaysSince():
            return () if feature.measure is None else (feature.measure,)
        case doc.Trend() | doc.ActiveMonths() | doc.Regularity() | doc.Distinct() | doc.NewlySeen() | doc.Concentration():
            return (feature.measure,)
        case doc.Reaching():
            return feature.measures
        case _:
            return ()


def tiles_given(feature: doc.Feature, span: str) -> int:
    """How many tiles a feature's ``window`` or ``before`` has, whatever their unit; 0 without one."""
    return next((tiles for unit in ("days", "hours", "weeks") if (tiles := getattr(feature, f"{span}_{unit}", None)) is not None), 0)


def windows_read(feature: doc.Feature) -> tuple[tuple[str, int, int], ...]:
    """The windows a feature reads as (measure, tiles before the head, tiles): the part, sum, numerator or newest window first."""
    if isinstance(feature, doc.ActiveMonths | doc.Regularity):
        if feature.window_months is not None:
            return tuple((feature.measure, MONTH_DAYS * month, MONTH_DAYS) for month in range(feature.window_months))
        weeks = feature.window_weeks or 0  # whole ones: the head's week is still going on
        return tuple((feature.measure, 1 + week, MONTH_WEEKS) for week in range(0, weeks, MONTH_WEEKS))
    tiles = tiles_given(feature, "window")
    if tiles == 0:
        return ()
    if isinstance(feature, doc.NewlySeen):
        return ((feature.measure, 0, tiles), (feature.measure, tiles, tiles_given(feature, "before")))
    if isinstance(feature, doc.Trend):
        return ((feature.measure, 0, tiles), (feature.measure, tiles, tiles))
    return tuple((name, 0, tiles) for name in measures_read(feature))


def tiles_read(feature: doc.Feature) -> int:
    """How many tiles back a feature looks, the head included; 0 if it looks at none."""
    return max((newest + tiles for _, newest, tiles in windows_read(feature)), default=0)


def tiles_kept(policy: doc.Policy) -> dict[str, int]:
    """How many tiles each measure keeps, by name: what its longest feature looks at, at least 1."""
    tiles = {measure.name: 1 for measure in expanded_measures(policy)}
    for feature in policy.features:
        for name in measures_read(feature):
            tiles[name] = max(tiles[name], tiles_read(feature))
    return tiles
