"""The stability index: its definition by hand, and what must hold of it whatever the numbers."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.monitor.announced import Evaluation
from engine.monitor.stability import FLOOR, Sample, Stability, by_chance, compare, feature_bounds, psi, score_bounds
from tests.monitor.evaluations import counts, evaluation, evaluations, of_values, pairs_of_counts, sample


def test_by_hand() -> None:
    # Reference 50/30/20 %, actual 40/30/30 %: −0.1·ln(0.8) + 0·ln(1) + 0.1·ln(1.5) = 0.022314 + 0.040547
    assert psi([50, 30, 20], [400, 300, 300]) == pytest.approx(0.062861, abs=5e-7)


def test_an_empty_bin_counts_as_the_floor() -> None:
    # 100/0 % against 90/10 %: −0.1·ln(0.9) + (0.1 − 0.0001)·ln(0.1 / 0.0001) = 0.010536 + 0.690085
    assert psi([100, 0], [90, 10]) == pytest.approx(0.700621, abs=5e-7)
    assert psi([100, 0], [90, 0]) == 0
    assert psi([1_000_000, 1], [1_000_000, 50]) < 1e-8, "both are below the floor"


@given(pairs_of_counts)
def test_at_least_zero_and_symmetric(pair: tuple[list[int], list[int]]) -> None:
    reference, actual = pair
    assert psi(reference, actual) >= 0
    assert psi(reference, actual) == psi(actual, reference)


@given(counts, st.integers(1, 50))
def test_zero_for_equal_shares(reference: list[int], times: int) -> None:
    assert psi(reference, [count * times for count in reference]) == pytest.approx(0, abs=1e-12)
    assert psi(reference, reference) == 0


@given(pairs_of_counts, st.randoms(use_true_random=False))
def test_the_order_of_the_bins_does_not_matter(pair: tuple[list[int], list[int]], random: Random) -> None:
    order = random.sample(range(len(pair[0])), len(pair[0]))
    assert psi([pair[0][place] for place in order], [pair[1][place] for place in order]) == psi(*pair)


@given(st.integers(1, 999), st.integers(0, 1_000), st.integers(0, 1_000))
def test_a_greater_shift_is_a_greater_index(reference: int, near: int, far: int) -> None:
    near, far = sorted((near, far), key=lambda share: abs(share - reference))
    if (near - reference) * (far - reference) >= 0:  # on the same side
        indices = [psi([reference, 1_000 - reference], [share, 1_000 - share]) for share in (near, far)]
        assert indices[0] <= indices[1]
        assert (indices[0] < indices[1]) == (near != far)


@given(evaluations, evaluations, st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(before: list[Evaluation], now: list[Evaluation], random: Random) -> None:
    def compared() -> list[Stability]:
        periods = []
        for period in (before, now):
            samples: dict[str, Sample] = {}
            for one in random.sample(period, len(period)):
                samples.setdefault(one.segment, Sample()).add(one)
            periods.append(samples)
        reference, actual = periods
        return compare(reference, actual, least=1)

    assert compared() == compared()


@given(evaluations, evaluations)
def test_every_evaluation_is_in_one_bin(before: list[Evaluation], now: list[Evaluation]) -> None:
    for one in compare({"individual": sample(before)}, {"individual": sample(now)}, least=1):
        assert (one.reference, one.actual) == (len(before), len(now)) or one.feature is not None
        if one.psi is not None:
            assert sum(each.reference for each in one.bins) == one.reference
            assert sum(each.actual for each in one.bins) == one.actual
            assert math.isfinite(one.psi)


@given(st.lists(st.integers(-200, 1_000), min_size=1, max_size=400))
def test_the_bins_of_the_score_are_deciles(scores: list[int]) -> None:
    bounds = score_bounds(Counter(scores))
    ordered, n = sorted(scores), len(scores)
    assert bounds == sorted(set(bounds))
    for k in range(1, 10):
        decile = ordered[-(-k * n // 10) - 1]
        assert decile + 1 in bounds, "a bin ends with it"
    edges = [-math.inf, *bounds, math.inf]
    for low, high in pairwise(edges):
        inside = {score for score in scores if low <= score < high}
        # More than a tenth of all only where they share the score that the bin ends with.
        assert sum(low <= score < max(inside) for score in scores if inside) <= n // 10 + 1


def test_a_score_that_all_have_is_seen_to_move_up_and_down() -> None:
    before = {"individual": sample(evaluation(n, 500, 5) for n in range(600))}
    for moved in (499, 501):
        now = {"individual": sample(evaluation(n, moved, 5) for n in range(600))}
        score = compare(before, now)[0]
        assert score.feature is None
        assert score.status == "above_limit"
    assert compare(before, before)[0].psi == 0


def test_the_bins_of_a_feature_are_the_scorecards() -> None:
    before, now = of_values([None] * 100 + [0] * 200 + [4] * 400 + [11] * 300), of_values([None] * 200 + [1] * 200 + [9] * 300 + [10] * 300)
    feature = compare({"individual": before}, {"individual": now}, least=1)[1]
    assert [(b.at_least, b.missing, b.reference, b.actual) for b in feature.bins] == [
        (None, False, 200, 200), (3, False, 400, 300), (10, False, 300, 300), (None, True, 100, 200),
    ]  # fmt: skip
    # −0.1·ln(0.3/0.4) + 0.1·ln(0.2/0.1) = 0.028768 + 0.069315
    assert feature.psi == pytest.approx(0.098083, abs=5e-7)
    assert feature.status == "stable"
    assert feature.by_chance == pytest.approx(3 * 2 / 1_000)
    assert feature.left_out == ()


def test_bounds_that_a_version_moved_are_left_out() -> None:
    values = list(range(20)) * 50
    before, now = of_values(values, "first"), of_values(values, "second")
    feature = compare({"individual": before}, {"individual": now})[1]
    assert feature.left_out == (2, 3, 10, 12)
    assert feature.psi == 0, "the same values are no drift, whatever the bins"
    few = [0, 1, 12, 15] * 200  # on the same side of what either version has for a bound
    feature = compare({"individual": of_values(few, "first")}, {"individual": of_values(few, "second")})[1]
    assert (feature.left_out, feature.psi) == ((), 0)


@given(st.lists(st.none() | st.integers(0, 20), min_size=1, max_size=50))
def test_under_one_version_no_bound_is_left_out(values: list[int | None]) -> None:
    cells = of_values(values).features["purchases"].cells
    bounds, left_out = feature_bounds(cells.items())
    assert left_out == []
    assert set(bounds) == {at_least for _, at_least in cells if at_least is not None}


def test_an_evaluation_of_several_changes_counts_once() -> None:
    kept = sample([evaluation(1, 500, 5), evaluation(1, 500, 5), evaluation(2, 510, None)])
    assert kept.count == 2
    assert kept.scores.total() == kept.features["purchases"].count == 2
    assert kept.features["purchases"].missing == 1


def test_too_few_are_not_judged() -> None:
    before, now = of_values([5] * 500), of_values([15] * 499)
    score, feature = compare({"individual": before}, {"individual": now})
    assert (score.status, score.psi, score.why) == ("not_judged", None, "fewer than 500 evaluations in the actual period")
    assert feature.why == "fewer than 500 evaluations that ask for it in the actual period"
    assert {one.status for one in compare({"individual": before}, {"individual": now}, least=499)} == {"stable", "above_limit"}
    (gone, _) = compare({"individual": before}, {})
    assert (gone.reference, gone.actual, gone.status) == (500, 0, "not_judged")
    assert compare({}, {}) == []


def test_the_limits() -> None:
    before = of_values([0] * 500 + [5] * 500)
    for share, status in ((550, "stable"), (660, "moved"), (800, "above_limit")):
        feature = compare({"individual": before}, {"individual": of_values([0] * share + [5] * (1_000 - share))})[1]
        assert feature.status == status
        assert (
            compare({"individual": before}, {"individual": of_values([0] * share + [5] * (1_000 - share))}, limit=9)[1].status
            != "above_limit"
        )


def test_what_chance_makes_of_one_population() -> None:
    random = Random(7)
    indices = []
    for _ in range(300):
        rows = [Counter(random.choices(range(10), k=500)) for _ in range(2)]
        indices.append(psi(*([row[place] for place in range(10)] for row in rows)))
    assert sum(indices) / len(indices) == pytest.approx(by_chance(10, 500, 500), rel=0.1)


def test_the_floor_is_small_against_what_is_judged() -> None:
    assert FLOOR * 100 < 1 / 10
