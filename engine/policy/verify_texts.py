"""What a customer may be told: is it said in every language, and does what is advised fit the scorecards?

A text may be left out, but not in one language only. A policy that names its ``languages`` says that it speaks them: then nothing that a
customer may be told may be left out either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, get_args

from engine.policy.document import Characteristic, Eligibility, Feature, FeatureAdvice, Language, Policy
from engine.policy.errors import Path, Problem, listed
from engine.policy.units import PLACEHOLDERS
from engine.policy.verify_segments import tests_with_paths

_LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
_NAMES: Final = {"zh": "Chinese", "en": "English"}
_BRACED: Final = re.compile(r"\{[^{}]*\}|[{}]")

Texts = Mapping[Language, str]


def text_problems(policy: Policy) -> Iterator[Problem]:
    """What is wrong with the texts for customers and with the advice."""
    named = policy.languages
    for i, language in enumerate(named or ()):
        if language in (named or ())[:i]:
            yield Problem(("languages", i), f"{language!r} stands in the list before")
    needed = dict(_needed_texts(policy)) if named else {}
    for path, texts in _texts(policy):
        yield from _language_problems(texts, named or _LANGUAGES, path, needed.get(path, ""))
    for i, feature in enumerate(policy.features):
        if feature.advice is not None:
            yield from _advice_problems(policy, feature, feature.advice, ("features", i, "advice"))


def _texts(policy: Policy) -> Iterator[tuple[Path, Texts]]:
    """Every text that a customer may be told, with its place."""
    for i, feature in enumerate(policy.features):
        yield ("features", i, "text"), feature.text
        yield ("features", i, "favourable_text"), feature.favourable_text
        yield ("features", i, "adverse_text"), feature.adverse_text
    for i, segment in enumerate(policy.segments):
        for test, path in tests_with_paths(segment, ("segments", i)):
            yield (*path, "text"), test.text


def _needed_texts(policy: Policy) -> Iterator[tuple[Path, str]]:
    """The places of the texts that a policy with named languages must have, and what each is needed for."""
    scored: dict[str, list[Characteristic]] = {}
    for i, segment in enumerate(policy.segments):
        for characteristic in segment.scorecard:
            scored.setdefault(characteristic.feature, []).append(characteristic)
        for test, path in tests_with_paths(segment, ("segments", i)):
            why = f"who fails {test.code!r} is told so" if isinstance(test, Eligibility) else f"{test.code!r} is told as a reason"
            yield (*path, "text"), why
    for i, feature in enumerate(policy.features):
        points = [[b.points for b in characteristic.bins] for characteristic in scored.get(feature.name, ())]
        if points:
            yield ("features", i, "text"), f"customers read of {feature.name!r} in the reasons of a change"
        if any(max(of_bins) > 0 for of_bins in points):
            yield ("features", i, "favourable_text"), f"{feature.name!r} can add points, and so be a reason for a higher limit"
        if any(max(of_bins) > min(of_bins) for of_bins in points):
            yield ("features", i, "adverse_text"), f"{feature.name!r} can lose points, and so be a reason for a lower limit"


def _language_problems(texts: Texts, languages: tuple[Language, ...], path: Path, needed_for: str) -> Iterator[Problem]:
    missing = [language for language in dict.fromkeys(languages) if language not in texts]
    if not texts:
        if needed_for:
            said = ", ".join(f"{language}: ..." for language in missing)
            yield Problem(path, f"is missing: {needed_for}", f"write {path[-1]}: {{{said}}}")
        return
    given = listed([_NAMES[language] for language in texts], "and")
    for language in missing:
        yield Problem((*path, language), f"is missing: the text is given in {given} only", f"say the same in {_NAMES[language]}")


def _advice_problems(policy: Policy, feature: Feature, advice: FeatureAdvice, path: Path) -> Iterator[Problem]:
    here: Path = (*path, "text")
    languages = policy.languages or _LANGUAGES
    yield from _language_problems(advice.text, languages, here, f"{feature.name!r} is something a customer can move")
    allowed = PLACEHOLDERS[advice.direction]
    for language, text in advice.text.items():
        for braced in _BRACED.findall(text):
            if braced != allowed:
                hint = f"{allowed} stands for the value to reach"
                yield Problem((*here, language), f"{braced!r} is no value that a text to {advice.direction} may hold", hint)
    scored = [c for segment in policy.segments for c in segment.scorecard if c.feature == feature.name]
    if scored and not any(_can_gain(c, advice.direction) for c in scored):
        other = "lower" if advice.direction == "raise" else "raise"
        hint = f"say direction: {other}" if any(_can_gain(c, other) for c in scored) else "leave the advice out"
        yield Problem((*path, "direction"), f"to {advice.direction} {feature.name!r} adds points in no scorecard", hint)


def _can_gain(characteristic: Characteristic, direction: str) -> bool:
    """Whether some bin has more points than one that lies before it in this direction."""
    points = [b.points for b in characteristic.bins]
    if direction == "lower":
        points.reverse()
    return any(after > min(points[:i]) for i, after in enumerate(points) if i)
