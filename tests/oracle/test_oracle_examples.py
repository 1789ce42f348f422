"""Examples of records, scores and decisions, worked out by hand from docs/policy.md §1, §2 and §7-9."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.oracle.records import Command, Granted, Purchase
from tests.oracle.scoring import standing_place, target_place
from tests.oracle.story import BANDS, DAY_0, GRADES, Story, at, kinds, only, policy, trace
from tests.oracle.time_rules import DAY_MS, dead_letter, horizon_ms

# Time


def test_a_record_is_in_the_future_or_too_old_only_beyond_the_bound() -> None:
    p = policy(features=[{"name": "t", "kind": "trend", "measure": "n", "window_days": 20}], too_far_ahead_seconds=300)
    assert horizon_ms(p) == 40 * DAY_MS
    now = at(0)
    purchase = Purchase(account_id="a", event_id="e", occurred_at=now, record_time=now, clock=now, amount_minor=1)
    assert dead_letter(p, replace(purchase, occurred_at=now + 300_000)) is None
    assert dead_letter(p, replace(purchase, occurred_at=now + 300_001)) == "in_the_future"
    assert dead_letter(p, replace(purchase, occurred_at=now - 40 * DAY_MS)) is None
    assert dead_letter(p, replace(purchase, occurred_at=now - 40 * DAY_MS - 1)) == "too_old"
    command = Command(account_id="a", event_id="e", occurred_at=0, record_time=now, clock=now, kind="hold")
    assert dead_letter(p, command) is None


def test_a_repetition_is_forgotten_after_sixteen_others() -> None:
    story = Story(needs_profile=False)
    story.purchase(at(0), event_id="same")
    assert story.purchase(at(0), event_id="same").verdict == "duplicate"
    assert story.purchase(at(0), event_id="same", source="elsewhere").verdict == "accepted"
    for _ in range(14):
        story.purchase(at(0))
    assert story.purchase(at(0), event_id="same").verdict == "duplicate"  # 15 others
    story.purchase(at(0))
    assert story.purchase(at(0), event_id="same").verdict == "accepted"


def test_a_profile_no_newer_than_the_held_one_is_stale_and_leaves_no_fingerprint() -> None:
    story = Story()
    story.profile(5, grade=1)
    assert story.profile(6, grade=2, as_of=at(5), event_id="p").verdict == "stale"
    assert story.account.now == at(5)
    assert story.profile(6, grade=2, as_of=at(6), event_id="p").verdict == "accepted"


# Score and band


def test_a_score_enters_a_band_above_and_leaves_below() -> None:
    margins = [BANDS[0], BANDS[1] | {"up_margin": 3, "down_margin": 4}, BANDS[2] | {"up_margin": 5, "down_margin": 6}]
    (segment,) = policy(segment={"bands": margins}).segments
    assert [target_place(segment, score, None) for score in (9, 12, 13, 24, 25)] == [0, 0, 1, 1, 2]
    assert [target_place(segment, score, 1) for score in (24, 25, 6, 5)] == [1, 2, 1, 0]
    assert [target_place(segment, score, 2) for score in (14, 13, 10, 9)] == [2, 1, 1, 0]


def test_a_band_the_segment_does_not_know_is_mapped_by_its_limit() -> None:
    (segment,) = policy().segments
    assert [standing_place(segment, "old", limit) for limit in (0, 999, 1_000, 9_999)] == [0, 0, 1, 2]
    assert standing_place(segment, "prime", 0) == 2


def test_points_are_those_of_the_last_bin_reached_or_of_missing() -> None:
    grade = {**GRADES, "missing": -7}
    story = Story(segment={"scorecard": [grade], "base_points": 4})
    first = trace(story.profile(0, grade=3))
    assert (first.score, first.bins, first.points) == (34, [3], [30])
    second = trace(story.profile(1, attributes={}))
    assert (second.score, second.bins, second.points) == (-3, [-1], [-7])


# Blocks and closing


def test_freeze_and_unfreeze_and_their_answers() -> None:
    story = Story()
    assert only(story.command(0, "freeze")).cause == "no_profile"
    story.profile(1, grade=0)
    assert only(story.command(1, "freeze")).cause == "not_open"
    assert only(story.profile(2)).sequence == 1
    freeze, answer = story.command(3, "freeze").emissions
    assert (freeze.kind, freeze.sequence, freeze.new.blocks) == ("freeze", 2, frozenset({"takeover"}))
    assert (answer.kind, answer.sequence) == ("command_accepted", 2)
    assert only(story.command(3, "freeze")).cause == "already_in_force"
    assert only(story.command(3, "unfreeze", "legal")).cause == "not_in_force"
    assert trace(story.profile(4, grade=2)).guard == "blocked"
    assert kinds(story.command(5, "unfreeze")) == ["unfreeze", "command_accepted", "increase"]


def test_arrears_block_drawing_from_their_bucket_on() -> None:
    story = Story()
    story.profile(0)
    story.pay(at(9), 0)
    assert kinds(story.purchase(at(39))) == []
    assert (only(story.purchase(at(40))).kind, story.account.line.blocks) == ("freeze", frozenset({"past_due"}))
    assert kinds(story.pay(at(41), 100)) == ["unfreeze"]


def test_closing_ends_everything_until_an_application_after_that_day() -> None:
    story = Story()
    story.profile(0)
    closed = only(story.profile(5, figures={"status": "deceased"}))
    assert (closed.kind, closed.new.limit, closed.new.band, closed.new.standing) == ("close", 0, None, "closed")
    assert story.purchase(at(6)).emissions == []
    assert trace(story.profile(7, applied_at=at(5, 23))).guard == "consent_missing"
    granted = only(story.profile(8, applied_at=at(6)))
    assert (granted.kind, granted.sequence, granted.new.limit) == ("grant", 3, 1_000)


# Standings without a decision


def test_granted_elsewhere_is_the_first_standing() -> None:
    cool_down = {"cool_down": {"up_days": 10, "down_days": 0}}
    story = Story(segment=cool_down)
    step = story.profile(5, grade=2, granted=Granted(1_000, "basic", DAY_0))
    assert (kinds(step), trace(step).guard, story.account.line.limit) == (["increase_withheld"], "cool_down_up", 1_000)
    assert story.limit_after(story.profile(6, grade=2, granted=Granted(7, "none", DAY_0))) == 1_000
    assert kinds(story.purchase(at(10))) == ["increase"]


def test_an_initial_standing_comes_with_the_segment() -> None:
    initial = {"initial_standing": {"limit_minor": 300, "band": "basic"}}
    story = Story(segment=initial)
    assert story.purchase(at(0)).verdict == "no_profile"
    assert story.account.line.standing == "none"
    increase = only(story.profile(1))
    assert (increase.kind, increase.previous.limit, increase.new.limit) == ("increase", 300, 1_000)
    without = Story(segment=initial, needs_profile=False)
    decrease = only(without.purchase(at(0)))  # no grade: 0 points
    assert (decrease.kind, decrease.previous.limit, decrease.new.limit) == ("decrease", 300, 0)


def test_a_policy_without_profiles_still_looks_at_a_first_one() -> None:
    initial = {"initial_standing": {"limit_minor": 300, "band": "basic"}}
    story = Story(segment=initial, needs_profile=False)
    assert story.limit_after(story.profile(0, granted=Granted(1_000, "basic", DAY_0))) == 1_000
    closed = Story(segment=initial, needs_profile=False)
    assert closed.profile(0, figures={"status": "closed"}).emissions == []
    assert closed.account.line.standing == "none"


# Target


@pytest.mark.parametrize(
    ("limits", "figures", "limit", "bound_by"),
    [
        ({}, {}, 5_000, "band"),
        ({"product_cap_minor": 5_000}, {}, 5_000, "band"),
        ({"product_cap_minor": 4_000, "legal_cap_minor": 4_000}, {}, 4_000, "product_cap"),
        ({"product_cap_minor": 4_444}, {}, 4_400, "product_cap"),
        ({"income_cap": (150, 700)}, {"income_monthly_minor": 2_333}, 3_400, "income_cap"),
        (
            {"income_cap": (150, 700)},
            {"income_monthly_minor": 2_333, "external_limits_minor": 1_000},
            2_400,
            "income_cap",
        ),
        ({"income_cap": (150, 700)}, {"external_limits_minor": 100}, 700, "income_cap"),
        ({"related_cap_minor": 6_000}, {"related_exposure_minor": 1_950}, 4_000, "related_cap"),
        ({"legal_cap_minor": 3_000}, {}, 3_000, "legal_cap"),
    ],
)
def test_the_least_cap_binds(limits: dict[str, Any], figures: dict[str, int], limit: int, bound_by: str) -> None:
    if "income_cap" in limits:
        percent, unknown = limits["income_cap"]
        limits = {"income_cap": {"multiple_percent": percent, "unknown_income_minor": unknown}}
    step = Story(limits=limits).profile(0, grade=2, figures=figures)
    assert (only(step).new.limit, trace(step).bound_by) == (limit, bound_by)


def test_a_requested_limit_bounds_the_grant_only_and_nothing_grants_nothing() -> None:
    story = Story()
    assert trace(story.profile(0, grade=2, requested_limit_minor=50)).target == 0
    assert story.account.line.standing == "none"
    grant = story.profile(1, grade=2, requested_limit_minor=750)
    assert (only(grant).new.limit, trace(grant).bound_by) == (700, "requested")
    assert story.limit_after(story.profile(2, grade=2, requested_limit_minor=750)) == 5_000


def test_caps_are_never_below_zero() -> None:
    caps = {"related_cap_minor": 100, "income_cap": {"multiple_percent": 100, "unknown_income_minor": 0}}
    figures = {"related_exposure_minor": 900, "income_monthly_minor": 50, "external_limits_minor": 999}
    step = Story(limits=caps).profile(0, grade=2, figures=figures)
    assert (trace(step).target, trace(step).bound_by) == (0, "income_cap")


def test_steps_go_from_the_standing_limit_and_the_band_moves_at_once() -> None:
    story = Story(limits={"step_up_minor": 1_500, "step_down_minor": 2_000})
    story.profile(0)
    up = story.profile(1, grade=2)
    assert (only(up).new.limit, only(up).new.band, trace(up).bound_by) == (2_500, "prime", "step")
    assert [story.limit_after(story.purchase(at(day))) for day in (2, 3)] == [4_000, 5_000]
    assert [story.limit_after(story.profile(day, grade=0)) for day in (4, 5, 6)] == [3_000, 1_000, 0]


def test_the_floor_softens_a_decrease_and_never_raises() -> None:
    story = Story()
    story.profile(0, grade=2, exposure_minor=2_310)
    down = story.profile(1, grade=0, exposure_minor=2_310)
    assert (only(down).new.limit, trace(down).bound_by) == (2_400, "exposure_floor")
    over = story.profile(2, grade=0, exposure_minor=8_000)
    assert (over.emissions, trace(over).target) == ([], 2_400)
    assert story.limit_after(story.profile(3, grade=0, exposure_minor=0)) == 0


def test_a_change_below_the_minimum_is_none() -> None:
    story = Story(limits={"minimum_change_minor": 4_000})
    story.profile(0, grade=2)
    assert story.limit_after(story.profile(1, grade=1)) == 1_000
    assert story.limit_after(story.profile(2, grade=0)) == 1_000
    assert story.account.line.band == "basic"
    assert story.limit_after(story.profile(3, grade=2)) == 5_000


def test_deep_arrears_bring_the_limit_down_to_the_exposure_at_once() -> None:
    cool_down = {"cool_down": {"up_days": 0, "down_days": 30}}
    story = Story(limits={"step_down_minor": 100, "minimum_change_minor": 4_000}, segment=cool_down)
    story.profile(0, grade=2, exposure_minor=4_210)
    story.pay(at(0), 0, due_day=1)
    step = story.purchase(at(91))
    assert kinds(step) == ["freeze", "decrease"]
    assert (story.account.line.limit, trace(step).bound_by, trace(step).forced) == (4_300, "arrears", True)
    paid = story.pay(at(92), 50)
    assert (kinds(paid), story.account.line.limit) == (["decrease"], 4_200)


def test_above_a_legal_cap_drawing_is_blocked_until_the_exposure_lets_the_limit_down() -> None:
    story = Story(limits={"legal_cap_minor": 2_000})
    first = story.profile(0, grade=2, exposure_minor=3_000, granted=Granted(5_000, "prime", DAY_0))
    assert kinds(first) == ["decrease", "freeze"]
    assert (story.account.line.limit, story.account.line.blocks) == (3_000, frozenset({"over_cap"}))
    second = story.profile(1, grade=2, exposure_minor=1_000)
    assert kinds(second) == ["decrease", "unfreeze"]
    assert (story.account.line.limit, story.account.line.blocks) == (2_000, frozenset())


# Guards


def test_cool_downs_rest_after_any_change_and_after_decreases() -> None:
    story = Story(segment={"cool_down": {"up_days": 5, "down_days": 3}})
    assert kinds(story.profile(0)) == ["grant"]
    assert trace(story.profile(4, grade=2)).guard == "cool_down_up"
    assert kinds(story.purchase(at(5))) == ["increase"]
    assert kinds(story.profile(6)) == ["decrease"]  # the first decrease has none before it
    assert trace(story.profile(8, grade=0)).guard == "cool_down_down"
    assert kinds(story.profile(9, grade=0)) == ["decrease"]


def test_warming_up_stops_a_decrease_only_where_the_scorecard_has_the_feature() -> None:
    partial = {"name": "f", "kind": "total", "measure": "n", "window_days": 30, "when_partial": "missing"}
    scored = {"feature": "f", "bins": [{"points": 0}], "missing": 0}
    for scorecard, expected in (([GRADES, scored], "warming_up"), ([GRADES], None)):
        story = Story(features=[partial], segment={"scorecard": scorecard})
        story.profile(0, grade=2)
        step = story.profile(1)
        assert (trace(step).guard, bool(step.emissions)) == (expected, expected is None)


def test_of_the_requirements_that_fail_the_first_in_the_alphabet_is_named() -> None:
    eligibility = [
        {"code": "at_home", "figure": "jurisdiction", "in": ["CN"], "unknown": "pass"},
        {"code": "papers", "figure": "identity_verified_until", "max_age_days": 0},
        {"code": "graded", "feature": "grade", "at_least": 1, "at_most": 8},
    ]
    story = Story(segment={"eligibility": eligibility})
    valid = {"identity_verified_until": DAY_0 + 9}
    failed = [
        story.profile(1, figures={"jurisdiction": "HK"}),
        story.profile(2),
        story.profile(3, grade=9, figures=valid),
        story.profile(10, grade=9, figures=valid),
    ]
    assert [(trace(step).guard, trace(step).requirement) for step in failed] == [
        ("not_eligible", "at_home"),
        ("not_eligible", "papers"),
        ("not_eligible", "graded"),
        ("not_eligible", "graded"),
    ]
    assert kinds(story.profile(11, figures={"identity_verified_until": DAY_0 + 11})) == ["grant"]


def test_without_an_application_nothing_is_granted() -> None:
    step = Story().profile(0, applied_at=None)
    assert (step.emissions, trace(step).guard, trace(step).target) == ([], "consent_missing", 1_000)


def test_evaluating_again_emits_nothing() -> None:
    story = Story()
    assert kinds(story.profile(0, grade=2)) == ["grant"]
    assert [kinds(story.purchase(at(0))) for _ in range(3)] == [[], [], []]
