"""Evaluations for the tests of the monitor, as strategies and by hand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from engine.monitor.announced import Evaluation, Row
from engine.monitor.stability import Sample

BOUNDS = {"first": [3, 10], "second": [2, 12]}  # of one feature in two versions of a policy


def evaluation(identity: int, score: int, value: int | None, version: str = "first", segment: str = "individual") -> Evaluation:
    """An evaluation of one feature, ``purchases``."""
    bounds = BOUNDS[version]
    place = 0 if value is None else bisect_right(bounds, value)
    return Evaluation(identity, segment, score, (Row("purchases", value, bounds[place - 1] if place else None),), version)


def sample(evaluations: Iterable[Evaluation]) -> Sample:
    """What is kept of them."""
    kept = Sample()
    for one in evaluations:
        kept.add(one)
    return kept


def of_values(values: Sequence[int | None], version: str = "first", score: int = 500) -> Sample:
    """A sample of these values, all of one score."""
    return sample(evaluation(number, score, value, version) for number, value in enumerate(values))


counts = st.lists(st.integers(0, 10_000), min_size=1, max_size=12).filter(any)
pairs_of_counts = st.integers(1, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 10_000), min_size=n, max_size=n).filter(any) for _ in range(2)])
)
evaluations = st.lists(
    st.builds(
        evaluation, st.integers(0, 2**64 - 1), st.integers(-50, 900), st.none() | st.integers(0, 20), st.sampled_from(sorted(BOUNDS)),
        st.sampled_from(["individual", "enterprise"]),
    ),
    max_size=60,
    unique_by=lambda one: one.identity,
)  # fmt: skip
