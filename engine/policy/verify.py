"""What one field of a policy says against another; what each field may say by itself is in ``document``.

Bounds that follow from the fields' own limits need no rule here. A scorecard gives at most 65 x 1,000,000 points, far inside 32 bits; a window
has at most 730 tiles of at most 2^53 - 1 each, which fits 64 bits, and so does 1000 (the largest scale) x 2^53.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from engine.policy.document import Condition, Policy
from engine.policy.errors import Path, Problem
from engine.policy.fields import WORDS_MAX, contract_words
from engine.policy.pack import use_problems
from engine.policy.verify_features import feature_problems
from engine.policy.verify_measures import measure_problems
from engine.policy.verify_segments import segment_problems, tests_with_paths
from engine.policy.verify_swings import swing_problems
from engine.policy.verify_texts import text_problems


def verify(policy: Policy) -> list[Problem]:
    """Every contradiction of the document, in its order; an empty list means that it compiles."""
    return [
        *_arrears_problems(policy),
        *measure_problems(policy),
        *feature_problems(policy),
        *segment_problems(policy),
        *swing_problems(policy),
        *text_problems(policy),
        *_vocabulary_problems(policy),
        *use_problems(policy),
    ]


def _arrears_problems(policy: Policy) -> Iterator[Problem]:
    path: Path = ("arrears", "bucket_lower_days")
    lowers = policy.arrears.bucket_lower_days
    if lowers[0] < 1:
        yield Problem((*path, 0), "the first bucket of arrears begins on day 1 or later", "who is 0 days late is current")
    for i, (before, lower) in enumerate(pairwise(lowers), 1):
        if lower <= before:
            yield Problem((*path, i), f"{lower} is not above {before}: buckets must ascend")


def _vocabulary_problems(policy: Policy) -> Iterator[Problem]:
    """At most so many different words of a field over the whole policy; told where the first one too many stands."""
    known: dict[str, set[str]] = {}
    full: set[str] = set()
    for field, words, path in _word_lists(policy):
        seen = known.setdefault(field, set())
        seen.update(words)
        if len(seen) > WORDS_MAX and field not in full and contract_words(field) is None:
            full.add(field)
            yield Problem(path, f"a policy can tell {WORDS_MAX} different words of {field} apart, and here it comes to {len(seen)}")


def _word_lists(policy: Policy) -> Iterator[tuple[str, Iterable[str], Path]]:
    for i, measure in enumerate(policy.measures):
        for where, conditions in (("where", measure.where), ("minus", measure.minus)):
            for j, condition in enumerate(conditions):
                yield from _words_of(condition, ("measures", i, where, j))
        if measure.of is not None and measure.closed_set is not None:
            yield measure.of, measure.closed_set, ("measures", i, "closed_set")
    for i, segment in enumerate(policy.segments):
        for test, path in tests_with_paths(segment, ("segments", i)):
            if test.figure is not None and test.is_in is not None:
                yield test.figure, test.is_in, (*path, "in")


def _words_of(condition: Condition, path: Path) -> Iterator[tuple[str, Iterable[str], Path]]:
    if condition.is_in is not None:
        yield condition.field, condition.is_in, (*path, "in")
    if condition.not_in is not None:
        yield condition.field, condition.not_in, (*path, "not_in")
