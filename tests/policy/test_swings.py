"""Which policies let a limit swing: ``verify_swings`` against trying it out, limit by limit, with the oracle's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Final

import pytest

from engine.policy.document import Policy, Segment
from engine.policy.verify_swings import swing_problems, swings
from tests.generate.swinging import Plain, policy_of, random_segment, row
from tests.oracle.scoring import ladder_place, score_of, target_of

BANDS: Final = [{"name": "low", "limit_minor": 1000}, {"name": "high", "lower": 10, "limit_minor": 3000}]


@pytest.mark.parametrize(
    ("segment", "points"),
    [
        ({}, 20),  # 600 of 1000 are used: 20 points; of 3000: none
        ({"scorecard": [row("used", 20, 0)]}, None),  # the limit settles: less used, more points, more limit
        ({"scorecard": [row("grade", 0, 20)]}, None),
        ({"bands": [BANDS[0], BANDS[1] | {"up_margin": 10, "down_margin": 9}]}, 20),
        ({"bands": [BANDS[0], BANDS[1] | {"up_margin": 10, "down_margin": 10}]}, None),
        ({"scorecard": [row("used", 0, 20, at=(101,))]}, None),  # no decrease goes below the exposure
        ({"scorecard": [row("used", 0, 20, at=(100,))]}, 20),
        ({"scorecard": [row("used", 0, 6, 12, at=(10, 29))], "bands": [BANDS[0], BANDS[1] | {"down_margin": 6}]}, 12),
        ({"scorecard": [row("used", 0, 6, 12, at=(10, 30))], "bands": [BANDS[0], BANDS[1] | {"down_margin": 6}]}, None),  # 3 times as much
        ({"scorecard": [row("used", 0, 20)], "base_points": -15}, None),  # the band is never entered
        ({"scorecard": [row("used", 0, 20)], "base_points": 10}, None),  # the band is never left
        ({"scorecard": [row("used", 0, 20)], "limits": {"product_cap_minor": 1000, "legal_cap_minor": 9000, "round_to_minor": 100}}, None),
        ({"scorecard": [row("used", 0, 0, missing=20)]}, None),  # no limit of 0
        ({"scorecard": [row("used", 0, 0, missing=20)], "bands": [BANDS[0] | {"limit_minor": 0}, BANDS[1]]}, 20),
        ({"scorecard": [row("used", 0, 20), row("used_per_mille", 20, 0, at=(500,))]}, None),  # together they say nothing
        ({"scorecard": [row("peak_7d", 0, 20)]}, 20),
        ({"scorecard": [row("peak_7d", 20, 0)]}, None),
        ({"scorecard": [row("rarely_7d", 0, 20)]}, None),
        ({"scorecard": [row("rarely_7d", 20, 0)]}, 20),
        ({"scorecard": [row("events_7d", 0, 20)]}, None),
        ({"scorecard": [row("peak_trend", 20, 0)]}, 20),
        ({"scorecard": [row("often_of_all", 20, 0)]}, 20),
        ({"scorecard": [row("since_full", 20, 0)]}, 20),
        ({"scorecard": [row("bought_full", 20, 0)]}, 20),
        ({"scorecard": [row("used", 0, 6), row("peak_7d", 20, 0)]}, 26),  # what was comes at the wrong time once anything swings
    ],
)
def test_what_lets_a_limit_swing(segment: Plain, points: int | None) -> None:
    policy = policy_of(**segment)
    found = swings(policy, policy.segments[0])
    assert [swing.points for swing in found] == ([] if points is None else [points])
    assert len(list(swing_problems(policy))) == len(found)


@pytest.mark.parametrize("slowed", [{"cool_down": {"up_days": 1, "down_days": 0}}, {"cool_down": {"up_days": 0, "down_days": 1}}])
def test_a_cool_down_makes_it_slow_enough(slowed: Plain) -> None:
    policy = policy_of(**slowed)
    assert swings(policy, policy.segments[0])
    assert not list(swing_problems(policy))


def test_so_does_a_notice() -> None:
    assert not list(swing_problems(policy_of(notices={"decrease_days": 1})))


# Trying it out


def turns(policy: Policy, segment: Segment, grade: int, exposure: int, ceiling: int, limit: int, band: int) -> int:
    """How often an increase follows a decrease while everything stays as it is, in 300 evaluations."""
    ups: list[bool] = []
    for _ in range(300):
        used = None if limit == 0 else 100 * exposure // limit
        score = score_of(segment, {"used": used, "grade": grade}).score
        target_band = ladder_place(segment.bands, score, band)
        target = target_of(
            policy,
            segment,
            segment.bands[target_band],
            None,
            standing=limit,
            exposure=exposure,
            bucket=0,
            ceiling=ceiling,
            override=None,
        ).limit
        if target == limit:
            return 0
        ups.append(target > limit)
        limit, band = target, target_band
    return sum(after and not before for before, after in pairwise(ups[100:]))


def tried(policy: Policy, segment: Segment, random: Random) -> Iterator[int]:
    """How often the limit turns, for many accounts."""
    tops = [band.limit_minor for band in segment.bands]
    for grade in range(3):
        for ceiling in (10_000, *(random.randint(0, tops[-1]) for _ in range(4))):
            for exposure in (0, 1, *tops, *(limit * percent // 100 for limit in tops for percent in (10, 25, 40, 50, 60, 80, 95))):
                for band, limit in enumerate(tops):
                    yield turns(policy, segment, grade, exposure, ceiling, limit, band)


@pytest.mark.parametrize("seed", range(150))
def test_what_is_accepted_does_not_swing(seed: int) -> None:
    random = Random(seed)
    policy = policy_of(**random_segment(random))
    segment = policy.segments[0]
    if not swings(policy, segment):
        assert not any(tried(policy, segment, random)), seed


def test_most_of_what_is_refused_does_swing() -> None:
    """Refused is what can swing, not whatever looks at utilisation; the few accounts that are tried need not be those that do."""
    refused: list[bool] = []
    for seed in range(150):
        random = Random(seed)
        policy = policy_of(**random_segment(random))
        if swings(policy, policy.segments[0]):
            refused.append(any(tried(policy, policy.segments[0], random)))
    assert 20 < len(refused) < 75
    assert sum(refused) > 0.7 * len(refused)
