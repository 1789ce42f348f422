"""Examples of rates, worked out by hand from docs/policy.md §9.8."""

from __future__ import annotations

from typing import Any

from tests.oracle.records import Granted
from tests.oracle.story import DAY_0, Story, at, kinds, only

TIERS = [
    {"name": "dear", "yearly_rate_bp": 2_400},
    {"name": "fair", "lower": 20, "down_margin": 5, "yearly_rate_bp": 1_800},
    {"name": "cheap", "lower": 40, "yearly_rate_bp": 1_200},
]
EXAMPLE = {"draw_minor": 100_000, "term_months": 12, "plan": "equal_instalments", "accrual": "monthly"}
PRIME_FROM_10 = [{"name": "none", "limit_minor": 0}, {"name": "prime", "lower": 10, "limit_minor": 5_000}]


def rated(grade: int, notice: int = 3, **changes: Any) -> Story:
    """An account with 5,000 whose only other change is that of its tier."""
    segment = {"bands": PRIME_FROM_10, "rates": {"tiers": TIERS, "rise_notice_days": notice, "example": EXAMPLE}}
    story = Story(segment=segment | changes)
    assert kinds(story.profile(0, grade=grade)) == ["grant"]
    return story


def test_a_grant_brings_the_tier_with_it() -> None:
    assert [rated(grade).account.line.rate_tier for grade in (1, 2, 3, 4)] == ["dear", "fair", "fair", "cheap"]


def test_an_accepted_first_offer_brings_it_too() -> None:
    segment = {"rates": {"tiers": TIERS, "rise_notice_days": 3, "example": EXAMPLE}, "increases": {"unsolicited_offers": True}}
    story = Story(segment=segment)
    story.profile(0, grade=2, applied_at=None)
    assert kinds(story.command(1, "accept_offer", offer_id="offer-1")) == ["offer_accepted", "command_accepted"]
    assert story.account.line.rate_tier == "fair"


def test_a_standing_from_elsewhere_gets_its_tier_at_once_in_arrears_too() -> None:
    story = Story(segment={"rates": {"tiers": TIERS, "rise_notice_days": 3, "example": EXAMPLE}})
    story.pay(at(0), 0, due_day=-5)
    change = only(story.profile(0, grade=2, granted=Granted(5_000, "prime", DAY_0)))
    assert (change.kind, change.cause, change.new.rate_tier) == ("rate_change", None, "fair")


def test_a_better_tier_comes_at_once_but_not_in_arrears_or_cure() -> None:
    story = rated(2)
    assert only(story.profile(1, grade=4)).new.rate_tier == "cheap"
    late = rated(2)
    late.pay(at(1), 0, due_day=2)
    assert late.profile(3, grade=4).emissions == []
    late.pay(at(4), 100, due_day=2)
    assert late.tick(at(33)).emissions == []
    assert kinds(late.tick(at(34))) == ["rate_change"]


def test_a_rise_is_announced_and_comes_on_its_day() -> None:
    story = rated(4)
    announce = only(story.profile(1, grade=2))
    assert (announce.kind, announce.cause, announce.new.rate_tier) == ("announce", "rate", "cheap")
    assert announce.new.pending_rate == ("fair", at(4, 0))
    assert story.tick(at(4, 0) - 1).emissions == []
    change = only(story.tick(at(4, 0)))
    assert (change.kind, change.new.rate_tier, change.new.pending_rate) == ("rate_change", "fair", None)


def test_a_rise_goes_no_further_than_announced() -> None:
    story = rated(4)
    story.profile(1, grade=2)
    story.profile(2, grade=1)
    assert only(story.tick(at(4))).new.rate_tier == "fair"
    assert only(story.tick(at(4))).new.pending_rate == ("dear", at(7, 0))
    # Nor further than the target.
    assert story.profile(5, grade=2).emissions == []
    assert kinds(story.tick(at(7))) == ["announce_withdrawn"]


def test_without_notice_days_a_rise_comes_at_once() -> None:
    story = rated(4, notice=0)
    assert only(story.profile(1, grade=2)).new.rate_tier == "fair"
    assert only(story.profile(2, grade=1)).new.rate_tier == "dear"


def test_a_tier_is_left_below_its_margin() -> None:
    bins = [{"points": 14}, {"at_least": 2, "points": 15}, {"at_least": 3, "points": 20}]
    story = rated(3, notice=0, scorecard=[{"feature": "grade", "bins": bins, "missing": 0}])
    assert story.account.line.rate_tier == "fair"
    assert story.profile(1, grade=2).emissions == []
    assert only(story.profile(2, grade=1)).new.rate_tier == "dear"
    assert story.profile(3, grade=2).emissions == []


def test_a_rise_that_is_no_longer_due_is_withdrawn_on_its_day() -> None:
    story = rated(4)
    story.profile(1, grade=2)
    assert story.profile(2, grade=4).emissions == []
    withdrawn = only(story.tick(at(4)))
    assert (withdrawn.kind, withdrawn.cause, withdrawn.new.pending_rate) == ("announce_withdrawn", "rate", None)


def test_a_better_tier_ends_an_announced_rise() -> None:
    story = rated(2)
    story.profile(1, grade=1)
    assert story.account.line.pending_rate == ("dear", at(4, 0))
    change = only(story.profile(2, grade=4))
    assert (change.kind, change.new.rate_tier, change.new.pending_rate) == ("rate_change", "cheap", None)


def test_a_hold_holds_the_rate_and_closing_gives_it_up() -> None:
    story = rated(2)
    story.command(1, "hold", until=at(5))
    assert story.profile(2, grade=4).emissions == []
    assert kinds(story.tick(at(5))) == ["rate_change"]
    story.profile(6, grade=1)
    closed = story.command(7, "close").emissions[0].new
    assert (closed.rate_tier, closed.pending_rate) == (None, None)


def test_the_rate_follows_the_limit_and_its_answer() -> None:
    story = Story(segment={"rates": {"tiers": TIERS, "rise_notice_days": 3, "example": EXAMPLE}})
    story.profile(0)
    assert kinds(story.profile(1, grade=2)) == ["increase", "rate_change"]
    asked = Story(
        segment={"rates": {"tiers": TIERS, "rise_notice_days": 3, "example": EXAMPLE}, "increases": {"consent": "needed"}},
    )
    asked.profile(0)
    asked.command(0, "hold", until=at(2))
    asked.profile(1, grade=2)
    assert kinds(asked.command(2, "request_increase", limit_minor=5_000)) == ["increase", "command_accepted", "rate_change"]
