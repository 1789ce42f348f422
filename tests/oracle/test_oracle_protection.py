"""Examples of suspected takeovers, over-borrowing and the guards of requirements, worked out by hand from docs/policy.md §9.6-9.10."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle.story import DAY_0, Story, at, kinds, only, trace

TAKEOVER = {
    "freeze_from": 5,
    "rest_days": 7,
    "signals": [
        {"code": "device", "figure": "device_changed_at", "max_age_days": 1, "points": 3},
        {"code": "contact", "figure": "contact_changed_at", "max_age_days": 1, "points": 2},
        {"code": "spree", "feature": "n3", "at_least": 3, "points": 2},
    ],
}
N3 = {"name": "n3", "kind": "total", "measure": "n", "window_days": 3}
NEW_DEVICE = {"device_changed_at": DAY_0 + 1}


def story_with(**protection: Any) -> Story:
    """An account with 1,000 and what protects it."""
    story = Story(features=[N3], segment={"protection": protection, "notices": {"advisory_days": 5}})
    story.profile(0)
    return story


# Takeover


def test_signals_freeze_when_their_points_reach_the_bound() -> None:
    story = story_with(takeover=TAKEOVER)
    assert story.profile(1, figures=NEW_DEVICE).emissions == []
    assert [kinds(story.purchase(at(1))) for _ in range(3)] == [[], [], ["freeze", "suspected_takeover"]]
    step = story.purchase(at(1))
    assert step.emissions == []
    assert story.account.line.blocks == frozenset({"takeover"})
    # The signals are gone, the block stays.
    assert story.tick(at(9)).emissions == []
    assert story.account.line.blocks == frozenset({"takeover"})


def test_the_freeze_and_its_advisory() -> None:
    story = story_with(takeover=TAKEOVER)
    freeze, advisory = story.profile(1, figures=NEW_DEVICE | {"contact_changed_at": DAY_0}).emissions
    assert (freeze.kind, freeze.cause, freeze.sequence) == ("freeze", "takeover", 2)
    assert (advisory.kind, advisory.cause, advisory.sequence, advisory.new) == ("suspected_takeover", None, 2, freeze.new)


def test_the_block_withholds_an_increase_of_the_same_evaluation() -> None:
    story = story_with(takeover=TAKEOVER)
    step = story.profile(1, grade=2, figures=NEW_DEVICE | {"contact_changed_at": DAY_0})
    assert (kinds(step), trace(step).guard) == (["freeze", "suspected_takeover", "increase_withheld"], "blocked")


def test_whoever_lifts_it_is_believed_for_some_days() -> None:
    lasting = TAKEOVER | {"signals": [{"code": "device", "figure": "device_changed_at", "max_age_days": 99, "points": 5}]}
    story = story_with(takeover=lasting)
    assert kinds(story.profile(1, figures=NEW_DEVICE)) == ["freeze", "suspected_takeover"]
    assert kinds(story.command(2, "unfreeze", "takeover")) == ["unfreeze", "command_accepted"]
    assert story.account.takeover_lifted == DAY_0 + 2
    assert story.tick(at(8)).emissions == []
    assert kinds(story.tick(at(9))) == ["freeze", "suspected_takeover"]


def test_a_missing_value_is_no_signal_unless_the_policy_says_so() -> None:
    signal = {"code": "device", "figure": "device_changed_at", "max_age_days": 1, "points": 5}
    assert story_with(takeover=TAKEOVER | {"signals": [signal]}).account.line.blocks == frozenset()
    story = Story(segment={"protection": {"takeover": TAKEOVER | {"signals": [signal | {"unknown": "pass"}]}}})
    assert kinds(story.profile(0)) == ["grant"]  # not open when the signals were looked at
    assert kinds(story.tick(at(0))) == ["freeze", "suspected_takeover"]


# Over-borrowing


WARNINGS = [
    {"code": "many_lenders", "figure": "delinquencies_24m", "at_least": 1},
    {"code": "debt", "figure": "external_debt_minor", "at_least": 1_000},
]
DEEP = {"external_debt_minor": 1_000, "delinquencies_24m": 1}


def test_a_warning_is_told_and_withholds_increases() -> None:
    story = story_with(over_borrowing=WARNINGS)
    step = story.profile(1, grade=2, figures=DEEP)
    assert [(e.kind, e.cause) for e in step.emissions] == [("over_borrowing", "debt"), ("increase_withheld", "over_indebted")]
    assert (trace(step).guard, trace(step).requirement) == ("over_indebted", "debt")
    assert story.account.warned == ("debt", at(6, 0))
    assert story.tick(at(6, 0) - 1).emissions == []
    assert kinds(story.tick(at(6, 0))) == ["over_borrowing", "increase_withheld"]
    other = story.profile(7, figures={"delinquencies_24m": 1})
    assert [(e.kind, e.cause) for e in other.emissions] == [("over_borrowing", "many_lenders")]
    assert kinds(story.profile(8, grade=2)) == ["increase"]


def test_a_warning_withholds_no_grant() -> None:
    story = Story(segment={"protection": {"over_borrowing": WARNINGS}})
    assert kinds(story.profile(0, figures=DEEP)) == ["grant", "over_borrowing"]


# Guards of requirements


REQUIREMENTS = [
    {"code": "z_debt", "figure": "external_debt_minor", "at_most": 10, "guard": "over_indebted", "unknown": "pass"},
    {"code": "b_means", "figure": "income_as_of", "max_age_days": 30, "guard": "ability_not_fresh", "unknown": "pass"},
    {"code": "a_means", "figure": "income_monthly_minor", "at_least": 5, "guard": "ability_not_fresh", "unknown": "pass"},
    {"code": "papers", "figure": "identity_verified_until", "max_age_days": 0, "guard": "identity_lapsed", "unknown": "pass"},
    {"code": "home", "figure": "jurisdiction", "in": ["CN"], "unknown": "pass"},
]
FAILURES: dict[str, dict[str, int | str]] = {
    "home": {"jurisdiction": "HK"},
    "papers": {"identity_verified_until": DAY_0 - 9},
    "a_means": {"income_monthly_minor": 4},
    "b_means": {"income_as_of": DAY_0 - 99},
    "z_debt": {"external_debt_minor": 11},
}


@pytest.mark.parametrize("place", range(5))
def test_requirements_bite_in_the_order_of_their_guards(place: int) -> None:
    codes = list(FAILURES)
    guards = ["not_eligible", "identity_lapsed", "ability_not_fresh", "ability_not_fresh", "over_indebted"]
    figures = {name: value for code in codes[place:] for name, value in FAILURES[code].items()}
    step = Story(segment={"eligibility": REQUIREMENTS}).profile(0, figures=figures)
    assert (trace(step).guard, trace(step).requirement) == (guards[place], codes[place])


def test_a_requirement_is_named_before_a_warning() -> None:
    warning = {"code": "a_warning", "figure": "external_debt_minor", "at_least": 11}
    story = Story(segment={"eligibility": REQUIREMENTS, "protection": {"over_borrowing": [warning]}})
    story.profile(0)
    assert trace(story.profile(1, grade=2, figures=FAILURES["z_debt"])).requirement == "z_debt"


def test_forbearance_stops_increases_but_no_decrease() -> None:
    story = Story()
    story.profile(0)
    assert trace(story.profile(1, grade=2, figures={"status": "forbearance"})).guard == "forbearance"
    assert kinds(story.profile(2, grade=0, figures={"status": "forbearance"})) == ["decrease"]
    assert only(Story().profile(0, figures={"status": "forbearance"})).cause == "forbearance"


def test_quiet_hours_are_local_and_go_over_midnight() -> None:
    quiet = {"increases": {"quiet_hours": {"from": 22, "to": 6}}}
    story = Story(segment=quiet, utc_offset_minutes=60)
    story.profile(0)
    assert at(1.375) == at(1, 21)
    assert trace(story.profile(1.375, grade=2)).guard == "quiet_hours"
    assert story.tick(at(2, 5) - 1).emissions == []
    assert kinds(story.tick(at(2, 5))) == ["increase"]
