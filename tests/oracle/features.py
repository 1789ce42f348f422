"""Features: from what is remembered to one number or None, *missing* (docs/policy.md §6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from engine.policy import document as doc
from tests.oracle.measures import Meter
from tests.oracle.records import Profile
from tests.oracle.time_rules import day_of, tiles_back, window_tiles

Value = int | None
ROLES = ("measure", "sum", "count", "numerator", "denominator", "part", "whole", "given")


@dataclass(frozen=True)
class View:
    """What features look at: the account at one moment. ``parts`` are the meters of ``share_above`` by feature."""

    policy: doc.Policy
    now: int
    today: int
    first_at: int
    meters: Mapping[str, Meter]
    parts: Mapping[str, Meter]
    profile: Profile | None
    exposure: Value
    days_past_due: int
    limit: int


def feature_value(feature: doc.Feature, view: View) -> Value:
    """The feature's value; None if it is missing, also because its window is partial and the policy says so."""
    return None if is_missing_as_partial(feature, view) else _value(feature, view)


def is_missing_as_partial(feature: doc.Feature, view: View) -> bool:
    """Whether a partial window makes the feature missing."""
    tiles = tiles_back(feature)
    if tiles == 0 or getattr(feature, "when_partial", "as_is") == "as_is":
        return False
    return any(meter.partial(view.now, tiles, view.first_at) for meter in meters_of(feature, view))


def meters_of(feature: doc.Feature, view: View) -> list[Meter]:
    """The meters that a feature reads."""
    named = [getattr(feature, role, None) for role in ROLES]
    named += getattr(feature, "measures", ())
    parts = [view.parts[feature.name]] if feature.name in view.parts else []
    return [view.meters[name] for name in named if isinstance(name, str)] + parts


def _value(feature: doc.Feature, view: View) -> Value:
    tiles = window_tiles(feature)

    def total(name: str, back: int = 0) -> int:
        return view.meters[name].total(view.now, tiles, back)

    def blocks(name: str) -> list[int]:
        if tiles % 30 == 0 and view.meters[name].measure.tile == "day":
            return [view.meters[name].total(view.now, 30, back) for back in range(0, tiles, 30)]
        return [view.meters[name].total(view.now, 4, 1 + back) for back in range(0, tiles, 4)]

    match feature:
        case doc.Total():
            value = total(feature.measure) if tiles else view.meters[feature.measure].balance
            if feature.given is not None and total(feature.given) == 0:
                return None
            if feature.per is None:
                return value
            per = _number(view, feature.per)
            return None if per is None else _divide(feature.scale * value, per)
        case doc.Average():
            return _divide(total(feature.sum), total(feature.count))
        case doc.Ratio():
            return _divide(feature.scale * total(feature.numerator), total(feature.denominator))
        case doc.Share():
            return _at_most(feature.scale, _divide(feature.scale * total(feature.part), total(feature.whole)))
        case doc.ShareAbove():
            part = view.parts[feature.name].total(view.now, tiles)
            return _at_most(feature.scale, _divide(feature.scale * part, total(feature.measure)))
        case doc.DaysSince():
            if feature.figure is not None:
                date = _number(view, feature.figure)
                return None if date is None else view.today - date
            assert feature.measure is not None
            last_seen = view.meters[feature.measure].last_seen
            return None if last_seen is None else view.today - day_of(view.policy, last_seen)
        case doc.Trend():
            return _divide(feature.scale * total(feature.measure), total(feature.measure, back=tiles))
        case doc.ActiveMonths():
            return sum(block > 0 for block in blocks(feature.measure))
        case doc.Regularity():
            return _divide(feature.scale * min(blocks(feature.measure)), max(blocks(feature.measure)))
        case doc.Distinct():
            return _words(view.meters[feature.measure], view.meters[feature.measure].mask(view.now, tiles))
        case doc.NewlySeen():
            meter = view.meters[feature.measure]
            before = meter.mask(view.now, tiles_back(feature) - tiles, tiles)
            return _words(meter, before | meter.mask(view.now, tiles)) - _words(meter, before)
        case doc.Reaching():
            return sum(total(name) >= feature.at_least for name in feature.measures)
        case doc.Concentration():
            top = view.meters[feature.measure].top
            return _at_most(feature.scale, _divide(feature.scale * max(top.held.values(), default=0), top.total))
        case doc.Utilisation():
            return None if view.exposure is None else _divide(feature.scale * view.exposure, view.limit)
        case doc.DaysPastDue():
            return view.days_past_due
        case doc.ProfileValue():
            figure = _number(view, feature.figure)
            if feature.per is None or figure is None:
                return figure
            per = _number(view, feature.per)
            return None if per is None else _divide(feature.scale * figure, per)
        case doc.Completeness():
            known = sum(view.profile is not None and view.profile.figure(name) is not None for name in feature.figures)
            return 100 * known // len(feature.figures)
        case doc.Tenure():
            opened_on = _number(view, "opened_on")
            return None if opened_on is None else view.today - opened_on


def _words(meter: Meter, mask: int) -> int:
    """How many words set these bits."""
    seen = mask.bit_count()
    if meter.measure.closed_set is not None:
        return seen
    return round(64 * math.log(64 / ((64 - seen) or 0.5)))


def _number(view: View, figure: str) -> Value:
    value = None if view.profile is None else view.profile.figure(figure)
    assert not isinstance(value, str), f"{figure} is a word"
    return value


def _divide(dividend: int, divisor: int) -> Value:
    return None if divisor <= 0 else dividend // divisor


def _at_most(bound: int, value: Value) -> Value:
    return None if value is None else min(bound, value)
