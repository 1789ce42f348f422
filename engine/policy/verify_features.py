"""Features: are their measures there and of the kind they need, and do windows, tiles and figures go together?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from engine.policy import document as doc
from engine.policy.document import NAME_MAX
from engine.policy.errors import Path, Problem, did_you_mean, listed, spelled
from engine.policy.expand import derived_name, derived_part, expanded_measures
from engine.policy.fields import ATTRIBUTE_PREFIX, FIGURES, figure_type
from engine.policy.promote import meaning
from engine.policy.verify_measures import a_kind, repeated_names

CONDITIONS_MAX: Final = 8
MEASURES_MAX: Final = 128

_COUNTED: Final = ("count", "sum")

# For each kind of feature: the keys that name a measure, and the kinds of measure that may stand there.
_READS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "total": {"measure": ("count", "sum", "max", "balance"), "given": _COUNTED},
    "average": {"sum": ("sum",), "count": ("count",)},
    "ratio": {"numerator": ("count", "sum", "max"), "denominator": ("count", "sum", "max")},
    "share": {"part": ("count", "sum", "max"), "whole": _COUNTED},
    "share_above": {"measure": _COUNTED},
    "days_since": {"measure": ("last_seen",)},
    "trend": {"measure": (*_COUNTED, "max")},
    "active_months": {"measure": _COUNTED},
    "regularity": {"measure": _COUNTED},
    "distinct": {"measure": ("distinct",)},
    "newly_seen": {"measure": ("distinct",)},
    "concentration": {"measure": ("top",)},
}


Measures = Mapping[str, doc.Measure]


def feature_problems(policy: doc.Policy) -> Iterator[Problem]:
    """What is wrong with the features, each by itself and all together."""
    yield from repeated_names([feature.name for feature in policy.features], ("features",))
    measures = {measure.name: measure for measure in policy.measures}
    for i, feature in enumerate(policy.features):
        path: Path = ("features", i)
        keys = [key for key in _READS.get(feature.kind, {}) if getattr(feature, key) is not None]
        read = {key: measures.get(getattr(feature, key)) for key in keys}
        yield from _reference_problems(feature, measures, path)
        sound = {key: m for key, m in read.items() if m is not None and m.kind in _READS[feature.kind][key]}
        if isinstance(feature, doc.Reaching):
            yield from _reaching_problems(policy, feature, measures, path)
        if isinstance(feature, doc.DaysSince):
            yield from _days_since_problems(feature, path)
        if read and len(sound) == len(read):
            yield from _window_problems(feature, sound, path)
            yield from _pair_problems(policy, feature, sound, path)
        if isinstance(feature, doc.ShareAbove) and "measure" in sound:
            yield from _derived_problems(policy, feature, measures, path)
        if isinstance(feature, doc.ProfileValue):
            yield from _profile_problems(feature, path)
        if isinstance(feature, doc.Total):
            yield from _per_problems(feature, path)
        if isinstance(feature, doc.Completeness):
            yield from _completeness_problems(feature, path)
    count = len(expanded_measures(policy))
    if count > MEASURES_MAX >= len(policy.measures):
        yield Problem(("measures",), f"with those that share_above derives there are {count} measures, at most {MEASURES_MAX}")


def _reference_problems(feature: doc.Feature, measures: Measures, path: Path) -> Iterator[Problem]:
    for key, kinds in _READS.get(feature.kind, {}).items():
        name: str | None = getattr(feature, key)
        if name is None:
            continue
        measure = measures.get(name)
        if measure is None:
            yield Problem((*path, key), f"there is no measure {name!r}", did_you_mean(name, measures))
        elif measure.kind not in kinds:
            what = f"{key!r} of {_an(feature.kind)} needs {listed([a_kind(kind) for kind in kinds])}"
            yield Problem((*path, key), f"{what}, and {name!r} is {a_kind(measure.kind)}")


def _an(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeio" else f"a {kind}"


def _window_problems(feature: doc.Feature, read: Measures, path: Path) -> Iterator[Problem]:
    """A window exactly where the measure has tiles, in the tiles' unit."""
    if isinstance(feature, doc.ActiveMonths | doc.Regularity):
        yield from _month_problems(feature, read, path)
        return
    if any(measure.kind == "balance" for measure in read.values()):
        for key in _spans(feature, "window"):
            yield Problem((*path, key), "a balance stands as it is and has no window", "leave it out, or use a sum")
        if "given" in read:
            yield Problem(
                (*path, "given"), "a balance stands as it is and is not asked for what a window has", "leave it out, or use a sum"
            )
        return
    if isinstance(feature, doc.DaysSince | doc.Concentration):
        return
    for span in ("window", "before") if isinstance(feature, doc.NewlySeen) else ("window",):
        yield from _span_problems(feature, span, read, path)


def _month_problems(feature: doc.ActiveMonths | doc.Regularity, read: Measures, path: Path) -> Iterator[Problem]:
    """Months of days, or of whole weeks."""
    if feature.window_months is not None and feature.window_weeks is not None:
        yield Problem((*path, "window_weeks"), "a feature has 'window_months' or 'window_weeks', not both")
        return
    key = {"day": "window_months", "week": "window_weeks"}
    for role, measure in read.items():
        if measure.tile not in key:
            yield Problem((*path, role), f"months are made of days or weeks, and {measure.name!r} is kept by the hour", "give it tile: day")
        elif getattr(feature, key[measure.tile]) is None:
            what = f"months of {measure.name!r}, which is kept by the {measure.tile}, are counted in {key[measure.tile]!r}"
            yield Problem(path, what, f"write {key[measure.tile]}: {3 if measure.tile == 'day' else 12}")


def _spans(feature: doc.Feature, span: str) -> list[str]:
    """The keys by which a feature says how long its ``window`` or ``before`` is."""
    return [key for key in (f"{span}_days", f"{span}_hours", f"{span}_weeks") if getattr(feature, key, None) is not None]


def _span_problems(feature: doc.Feature, span: str, read: Measures, path: Path) -> Iterator[Problem]:
    """One length, in the unit of the measures' tiles."""
    given = _spans(feature, span)
    if len(given) > 1:
        both = "both" if len(given) == 2 else "all three"
        yield Problem((*path, given[1]), f"a feature has {listed(given)}, not {both}")
        return
    first = next(iter(read.values()))
    wanted = f"{span}_{first.tile}s"
    if not given:
        yield Problem((*path, wanted), f"is missing: {first.name!r} is kept by the {first.tile}")
        return
    unit = given[0].removeprefix(f"{span}_").removesuffix("s")
    for measure in read.values():
        if measure.tile != unit:
            hint = (
                f"give the measure tile: {unit}" if first.tile == unit else f"use {span}_{measure.tile}s, or give the measure tile: {unit}"
            )
            yield Problem((*path, given[0]), f"{measure.name!r} is kept by the {measure.tile}", hint)


def _pair_problems(policy: doc.Policy, feature: doc.Feature, read: Measures, path: Path) -> Iterator[Problem]:
    """Two measures of one feature must be cut into the same tiles, and a share must be of one unit."""
    if len(read) < 2:
        return
    (first_key, first), (key, second) = read.items()
    if first.tile != second.tile:
        return  # one of the two does not fit the window and is told there
    offsets = [_offset(policy, m) for m in (first, second)]
    if offsets[0] != offsets[1]:
        apart = f"{first.name!r} has utc_offset_minutes {offsets[0]}, {second.name!r} {offsets[1]}"
        yield Problem((*path, key), f"{first_key} and {key} must have the same days: {apart}")
    if isinstance(feature, doc.Share) and (first.kind == "count") != (second.kind == "count"):
        yield Problem(
            (*path, "part"),
            f"a part is of the same unit as its whole: {first.name!r} is {a_kind(first.kind)}, {second.name!r} {a_kind(second.kind)}",
            "use a ratio",
        )


def _derived_problems(policy: doc.Policy, feature: doc.ShareAbove, measures: Measures, path: Path) -> Iterator[Problem]:
    whole = measures[feature.measure]
    part = derived_part(feature, whole)
    if len(part.where) > CONDITIONS_MAX:
        yield Problem((*path, "measure"), f"{whole.name!r} has {len(whole.where)} conditions, and the amount is one more than there may be")
    if len(part.name) > NAME_MAX:
        yield Problem((*path, "measure"), f"the derived measure {part.name!r} has a name of more than {NAME_MAX} characters", "shorten it")
    other = measures.get(derived_name(feature))
    if other is not None and meaning(other, policy) != meaning(part, policy):
        taken = spelled(("measures", policy.measures.index(other)))
        yield Problem(
            (*path, "measure"), f"the name {part.name!r} of its derived measure is taken by {taken}, which measures something else"
        )


def _reaching_problems(policy: doc.Policy, feature: doc.Reaching, measures: Measures, path: Path) -> Iterator[Problem]:
    """Counts or sums, each once, all cut into the same tiles."""
    sound: dict[str, doc.Measure] = {}
    for i, name in enumerate(feature.measures):
        measure, here = measures.get(name), (*path, "measures", i)
        if measure is None:
            yield Problem(here, f"there is no measure {name!r}", did_you_mean(name, measures))
        elif measure.kind not in _COUNTED:
            yield Problem(here, f"a reaching needs counts or sums, and {name!r} is {a_kind(measure.kind)}")
        elif name in sound:
            yield Problem(here, f"{name!r} stands in the list before")
        else:
            sound[name] = measure
    if len(sound) == len(feature.measures):
        yield from _span_problems(feature, "window", sound, path)
        first = sound[feature.measures[0]]
        for i, other in enumerate(sound.values()):
            if other.tile == first.tile and _offset(policy, other) != _offset(policy, first):
                apart = f"{first.name!r} has utc_offset_minutes {_offset(policy, first)}, {other.name!r} {_offset(policy, other)}"
                yield Problem((*path, "measures", i), f"the listed measures must have the same days: {apart}")


def _offset(policy: doc.Policy, measure: doc.Measure) -> int:
    return policy.utc_offset_minutes if measure.utc_offset_minutes is None else measure.utc_offset_minutes


def _days_since_problems(feature: doc.DaysSince, path: Path) -> Iterator[Problem]:
    if feature.measure is None and feature.figure is None:
        yield Problem(path, "a days_since needs a measure or a figure")
    elif feature.measure is not None and feature.figure is not None:
        yield Problem((*path, "figure"), "a days_since has a measure or a figure, not both")
    if feature.figure is not None:
        yield from figure_problem(feature.figure, (*path, "figure"))
        if figure_type(feature.figure) in ("word", "number"):
            what = "a number" if figure_type(feature.figure) == "number" else "a word"
            yield Problem((*path, "figure"), f"{feature.figure} is {what}, and days are counted from a date")


def _per_problems(feature: doc.Total, path: Path) -> Iterator[Problem]:
    if feature.per is None:
        if feature.scale != 1:
            yield Problem((*path, "scale"), "a total as it is has no scale", "scale goes with 'per'")
        return
    yield from figure_problem(feature.per, (*path, "per"))
    if figure_type(feature.per) in ("word", "date"):
        yield Problem((*path, "per"), f"{feature.per} is a {figure_type(feature.per)}, and a ratio needs numbers")


def figure_problem(figure: str, path: Path) -> Iterator[Problem]:
    """A figure that the profile does not have."""
    if figure_type(figure) is None:
        hint = did_you_mean(figure, FIGURES) or f"a figure of your own is {ATTRIBUTE_PREFIX}{figure}"
        yield Problem(path, f"the profile has no figure {figure!r}", hint)


def _profile_problems(feature: doc.ProfileValue, path: Path) -> Iterator[Problem]:
    kinds = {"figure": figure_type(feature.figure)}
    yield from figure_problem(feature.figure, (*path, "figure"))
    if feature.per is not None:
        kinds["per"] = figure_type(feature.per)
        yield from figure_problem(feature.per, (*path, "per"))
    elif feature.scale != 1:
        yield Problem((*path, "scale"), "a figure as it is has no scale", "scale goes with 'per'")
    for key, kind in kinds.items():
        if kind == "word":
            yield Problem((*path, key), f"{getattr(feature, key)} is a word, and a score needs a number", "words are for eligibility")
        elif kind == "date" and feature.per is not None:
            yield Problem((*path, key), f"{getattr(feature, key)} is a date, and a ratio needs numbers")


def _completeness_problems(feature: doc.Completeness, path: Path) -> Iterator[Problem]:
    for i, figure in enumerate(feature.figures):
        yield from figure_problem(figure, (*path, "figures", i))
        if figure in feature.figures[:i]:
            yield Problem((*path, "figures", i), f"{figure!r} stands in the list before")
