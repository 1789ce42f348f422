"""Segments: eligibility, scorecard, bands, limits and the standing an account begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from engine.policy.document import Band, Limits, Policy, Segment, Test
from engine.policy.errors import Path, Problem, did_you_mean
from engine.policy.fields import figure_type
from engine.policy.verify_appetite import appetite_problems
from engine.policy.verify_features import figure_problem
from engine.policy.verify_ladder import ladder_problems
from engine.policy.verify_measures import repeated_names, unknown_words
from engine.policy.verify_rates import rates_problems

_TESTS: Final = ("at_least", "at_most", "in", "min_age_days", "max_age_days")
_TESTS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "word": ("in",),
    "date": ("min_age_days", "max_age_days"),
    "number": ("at_least", "at_most"),
}


def segment_problems(policy: Policy) -> Iterator[Problem]:
    """What is wrong with the segments, each by itself and all together."""
    yield from repeated_names([segment.name for segment in policy.segments], ("segments",))
    by_name = {segment.name: i for i, segment in enumerate(policy.segments)}
    default = by_name.get(policy.default_segment)
    if default is None:
        yield Problem(
            ("default_segment",), f"there is no segment {policy.default_segment!r}", f"say default_segment: {policy.segments[0].name}"
        )
    elif not policy.needs_profile and policy.segments[default].initial_standing is None:
        why = "is missing: without a profile nobody applies, so the default segment must say where an account begins"
        yield Problem(("segments", default, "initial_standing"), why)
    features = [feature.name for feature in policy.features]
    for i, segment in enumerate(policy.segments):
        path: Path = ("segments", i)
        yield from _test_list_problems(segment.eligibility, features, (*path, "eligibility"))
        yield from _protection_problems(segment, features, (*path, "protection"))
        quiet = segment.increases.quiet_hours
        if quiet is not None and quiet.from_hour == quiet.to_hour:
            message = f"from and to are both {quiet.from_hour}: every hour would be quiet, and no limit ever raised"
            yield Problem((*path, "increases", "quiet_hours"), message, "leave quiet_hours out, or say from: 21 and to: 8")
        yield from _scorecard_problems(segment, features, (*path, "scorecard"))
        yield from _band_problems(segment.bands, (*path, "bands"))
        yield from _limit_problems(segment, path)
        yield from appetite_problems(segment, (*path, "appetite"))
        if segment.rates is not None:
            yield from rates_problems(segment.rates, (*path, "rates"))
        yield from _initial_problems(segment, (*path, "initial_standing"))


def _protection_problems(segment: Segment, features: list[str], path: Path) -> Iterator[Problem]:
    """Warnings and takeover signals; and that their tests can tell something from nothing."""
    protection = segment.protection
    yield from _test_list_problems(protection.over_borrowing, features, (*path, "over_borrowing"))
    codes = {requirement.code for requirement in segment.eligibility}
    for j, warning in enumerate(protection.over_borrowing):
        if warning.code in codes:
            yield Problem((*path, "over_borrowing", j, "code"), f"{warning.code!r} is a requirement's code already: reasons must differ")
    if protection.takeover is None:
        return
    takeover, here = protection.takeover, (*path, "takeover")
    yield from _test_list_problems(takeover.signals, features, (*here, "signals"))
    most = sum(signal.points for signal in takeover.signals)
    if takeover.freeze_from > most:
        message = f"{takeover.freeze_from} is above the {most} points of all signals together: nothing would ever be frozen"
        yield Problem((*here, "freeze_from"), message, f"at most {most}")


def tests_with_paths(segment: Segment, path: Path) -> Iterator[tuple[Test, Path]]:
    """Every test of a segment and where it stands; ``path`` is the segment's."""
    takeover = segment.protection.takeover
    for keys, tests in (
        (("eligibility",), segment.eligibility),
        (("protection", "over_borrowing"), segment.protection.over_borrowing),
        (("protection", "takeover", "signals"), takeover.signals if takeover is not None else ()),
    ):
        for j, test in enumerate(tests):
            yield test, (*path, *keys, j)


def _test_list_problems(tests: Sequence[Test], features: list[str], path: Path) -> Iterator[Problem]:
    yield from repeated_names([test.code for test in tests], path, "code")
    for j, test in enumerate(tests):
        yield from _test_problems(test, features, (*path, j))


def _test_problems(requirement: Test, features: list[str], path: Path) -> Iterator[Problem]:
    figure, feature = requirement.figure, requirement.feature
    if (figure is None) == (feature is None):
        has = "neither" if figure is None else "both"
        yield Problem(path, f"a requirement is about a figure or a feature, and this one has {has}")
        return
    if figure is None:
        if feature not in features:
            yield Problem((*path, "feature"), f"there is no feature {feature!r}", did_you_mean(feature or "", features))
        kind, about = "number", "a feature"
    else:
        yield from figure_problem(figure, (*path, "figure"))
        known = figure_type(figure)
        if known is None:
            return
        kind, about = known, f"the {known} {figure}"
        yield from unknown_words(figure, requirement.is_in or (), (*path, "in"))
    given = {name: value for name, value in _tests(requirement).items() if value is not None}
    needs = " or ".join(_TESTS_OF[kind])
    for name in given:
        if name not in _TESTS_OF[kind]:
            yield Problem((*path, name), f"{about} is tested by {needs}, not by {name}")
    if not given:
        yield Problem(path, f"nothing is required: {about} is tested by {needs}")
    for low, high in (("at_least", "at_most"), ("min_age_days", "max_age_days")):
        least, most = given.get(low), given.get(high)
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield Problem((*path, low), f"{low} {least} is above {high} {most}: nobody passes")


def requirement_problems(requirement: Test, path: Path) -> Iterator[Problem]:
    """What is wrong with a test of a figure that stands in no policy yet."""
    return _test_problems(requirement, [], path)


def _tests(requirement: Test) -> dict[str, object]:
    return {name: getattr(requirement, "is_in" if name == "in" else name) for name in _TESTS}


def _scorecard_problems(segment: Segment, features: list[str], path: Path) -> Iterator[Problem]:
    yield from repeated_names([characteristic.feature for characteristic in segment.scorecard], path, "feature")
    for i, characteristic in enumerate(segment.scorecard):
        if characteristic.feature not in features:
            hint = did_you_mean(characteristic.feature, features)
            yield Problem((*path, i, "feature"), f"there is no feature {characteristic.feature!r}", hint)
        bins = characteristic.bins
        if bins[0].at_least is not None:
            yield Problem((*path, i, "bins", 0, "at_least"), "the first bin has no at_least: it takes all that is below the second")
        for j, (before, after) in enumerate(pairwise(bins), 1):
            if after.at_least is None:
                yield Problem((*path, i, "bins", j), "only the first bin has no at_least")
            elif before.at_least is not None and after.at_least <= before.at_least:
                message = f"{after.at_least} is not above {before.at_least}: bins must ascend"
                yield Problem((*path, i, "bins", j, "at_least"), message)


def _band_problems(bands: tuple[Band, ...], path: Path) -> Iterator[Problem]:
    yield from ladder_problems(bands, path, "band")
    for i, (below, band) in enumerate(pairwise(bands), 1):
        if band.limit_minor < below.limit_minor:
            message = f"{band.limit_minor} is below the limit of the band before, {below.limit_minor}: a better score never lowers a limit"
            yield Problem((*path, i, "limit_minor"), message)


def _limit_problems(segment: Segment, path: Path) -> Iterator[Problem]:
    limits = segment.limits
    for name, amount, where in _amounts(segment, path):
        if amount % limits.round_to_minor:
            down = amount // limits.round_to_minor * limits.round_to_minor
            hint = f"{down} or {down + limits.round_to_minor}"
            yield Problem(where, f"{name} must be a multiple of round_to_minor, {limits.round_to_minor}", hint)
    here = (*path, "limits")
    for key in ("step_up_minor", "step_down_minor"):
        step = getattr(limits, key)
        if step is not None and step < limits.minimum_change_minor:
            message = f"{step} is below minimum_change_minor, {limits.minimum_change_minor}: no step would ever be taken"
            yield Problem((*here, key), message)
    for i, (below, band) in enumerate(pairwise(segment.bands), 1):
        change = band.limit_minor - below.limit_minor
        if 0 < change < limits.minimum_change_minor:
            message = (
                f"{change} above {below.name!r} is less than minimum_change_minor, {limits.minimum_change_minor}: it would never happen"
            )
            yield Problem((*path, "bands", i, "limit_minor"), message)


def _amounts(segment: Segment, path: Path) -> Iterator[tuple[str, int, Path]]:
    """Every amount that may become a limit, or by which one moves: rounding must leave it as it is."""
    limits: Limits = segment.limits
    for i, band in enumerate(segment.bands):
        yield "a band's limit", band.limit_minor, (*path, "bands", i, "limit_minor")
    for key in ("product_cap_minor", "legal_cap_minor"):
        yield "a cap", getattr(limits, key), (*path, "limits", key)
    if limits.income_cap is not None:
        yield "a cap", limits.income_cap.unknown_income_minor, (*path, "limits", "income_cap", "unknown_income_minor")
    for key in ("step_up_minor", "step_down_minor"):
        if getattr(limits, key) is not None:
            yield "a step", getattr(limits, key), (*path, "limits", key)
    if limits.minimum_change_minor > 1:
        yield "the minimum change", limits.minimum_change_minor, (*path, "limits", "minimum_change_minor")
    if segment.initial_standing is not None:
        yield "the initial limit", segment.initial_standing.limit_minor, (*path, "initial_standing", "limit_minor")


def _initial_problems(segment: Segment, path: Path) -> Iterator[Problem]:
    initial = segment.initial_standing
    if initial is None:
        return
    names = [band.name for band in segment.bands]
    if initial.band not in names:
        yield Problem((*path, "band"), f"there is no band {initial.band!r}", did_you_mean(initial.band, names))
    cap = min(segment.limits.product_cap_minor, segment.limits.legal_cap_minor)
    if initial.limit_minor > cap:
        yield Problem((*path, "limit_minor"), f"the initial limit is above the cap of {cap}")
