"""Examples of announced decreases and of advisories, worked out by hand from docs/policy.md §9.8 and §9.10."""

from __future__ import annotations

from typing import Any

from tests.oracle.records import Applied, Granted
from tests.oracle.story import DAY_0, Story, at, kinds, only, trace

NOTICE = {"notices": {"decrease_days": 10, "advisory_days": 5}}


def announced(grade: int = 1, segment: dict[str, Any] | None = None, **changes: Any) -> Story:
    """An account with 5,000 to which a decrease was announced on day 1 for day 11."""
    story = Story(segment=NOTICE | (segment or {}), **changes)
    story.profile(0, grade=2)
    step = story.profile(1, grade=grade)
    announce = only(step)
    assert (announce.kind, announce.cause, announce.new.limit, trace(step).guard) == ("announce", "limit", 5_000, None)
    assert announce.new.pending == (1_000 * grade, at(11, 0))
    return story


# Announced decreases


def test_an_announced_decrease_comes_on_its_day() -> None:
    story = announced()
    waiting = story.tick(at(11, 0) - 1)
    assert (waiting.emissions, trace(waiting).guard) == ([], "notice_running")
    decrease = only(story.tick(at(11, 0)))
    assert (decrease.kind, decrease.new.limit, decrease.new.band, decrease.new.pending) == ("decrease", 1_000, "basic", None)


def test_it_goes_no_lower_than_announced_and_the_rest_is_announced_again() -> None:
    story = announced()
    assert trace(story.profile(5, grade=0)).guard == "notice_running"
    step = story.tick(at(11, 0))
    assert (only(step).new.limit, trace(step).target) == (1_000, 0)
    again = only(story.tick(at(12)))
    assert (again.kind, again.new.pending) == ("announce", (0, at(22, 0)))


def test_it_goes_no_lower_than_the_target() -> None:
    story = announced(grade=0)
    story.profile(5, grade=1)
    assert only(story.tick(at(11))).new.limit == 1_000


def test_an_announcement_is_withdrawn_on_its_day_if_nothing_is_to_be_lowered() -> None:
    story = announced()
    assert story.profile(5, grade=2).emissions == []
    withdrawn = only(story.tick(at(11)))
    assert (withdrawn.kind, withdrawn.cause, withdrawn.new.pending, withdrawn.new.limit) == ("announce_withdrawn", "limit", None, 5_000)


def test_a_running_notice_withholds_an_increase_and_its_withdrawal_comes_first() -> None:
    bands = [
        {"name": "none", "limit_minor": 0},
        {"name": "basic", "lower": 10, "limit_minor": 1_000},
        {"name": "prime", "lower": 20, "limit_minor": 5_000},
        {"name": "best", "lower": 30, "limit_minor": 8_000},
    ]
    story = announced(segment={"bands": bands})
    step = story.profile(5, grade=3)
    assert (kinds(step), trace(step).guard) == (["increase_withheld"], "notice_running")
    refused = story.command(6, "request_increase", limit_minor=6_000)
    assert (only(refused).cause, trace(refused).guard) == ("notice_running", "notice_running")
    withdrawn = story.tick(at(11))
    assert (kinds(withdrawn), trace(withdrawn).guard) == (["announce_withdrawn"], None)
    assert kinds(story.tick(at(11))) == ["increase"]


def test_forced_own_and_overridden_decreases_need_no_notice_and_end_one() -> None:
    forced = announced()
    assert kinds(forced.pay(at(1), 0, due_day=-100)) == ["freeze", "decrease"]
    own = announced()
    assert kinds(own.command(2, "set_ceiling", limit_minor=2_000)) == ["command_accepted", "decrease"]
    overridden = announced()
    assert kinds(overridden.command(2, "override", limit_minor=2_000, until=at(9))) == ["command_accepted", "decrease"]
    assert [story.account.line.pending for story in (forced, own, overridden)] == [None, None, None]


def test_with_an_override_in_force_nothing_is_withdrawn() -> None:
    story = announced()
    assert kinds(story.command(2, "override", limit_minor=5_000, until=at(20))) == ["command_accepted"]
    assert story.tick(at(12)).emissions == []
    assert kinds(story.tick(at(20))) == ["decrease"]


def test_a_hold_holds_an_announced_decrease() -> None:
    story = announced()
    story.command(2, "hold", until=at(13))
    assert trace(story.tick(at(12))).guard == "hold"
    assert kinds(story.tick(at(13))) == ["decrease"]


def test_a_cool_down_and_partial_windows_withhold_the_announcement() -> None:
    story = Story(segment=NOTICE | {"cool_down": {"up_days": 0, "down_days": 5}})
    story.profile(0, grade=2)
    story.command(1, "set_ceiling", limit_minor=4_000)
    assert trace(story.profile(2, grade=1)).guard == "cool_down_down"
    assert kinds(story.tick(at(6))) == ["announce"]


# Corrections


def test_a_correcting_profile_is_not_asked_for_the_cool_down() -> None:
    segment = {"cool_down": {"up_days": 30, "down_days": 0}}
    for corrects in (False, True):
        story = Story(segment=segment)
        story.profile(0)
        assert kinds(story.profile(1, grade=2, corrects=corrects)) == (["increase"] if corrects else ["increase_withheld"])


# Advisories


def test_an_increase_withheld_is_told_again_after_some_days_or_when_it_is_another() -> None:
    eligibility = [
        {"code": "papers", "figure": "identity_verified_until", "max_age_days": 0, "guard": "identity_lapsed", "unknown": "pass"},
        {"code": "means", "figure": "income_as_of", "max_age_days": 90, "guard": "ability_not_fresh", "unknown": "pass"},
    ]
    story = Story(segment={"eligibility": eligibility, "notices": {"advisory_days": 5}})
    lapsed, stale = {"identity_verified_until": DAY_0 - 1}, {"income_as_of": DAY_0 - 100}
    told = only(story.profile(0, figures=lapsed))
    assert (told.kind, told.cause, told.sequence, told.previous == told.new) == ("increase_withheld", "identity_lapsed", 0, True)
    assert story.account.withheld == ("identity_lapsed", "papers", 1_000, at(5, 0))
    assert story.profile(1, figures=lapsed).emissions == []
    assert only(story.profile(2, figures=stale)).cause == "ability_not_fresh"
    assert story.tick(at(7, 0) - 1).emissions == []
    assert only(story.tick(at(7, 0))).cause == "ability_not_fresh"
    assert only(story.profile(8, grade=2, figures=stale)).cause == "ability_not_fresh"  # another target


def test_holds_quiet_hours_and_missing_consent_are_not_told() -> None:
    quiet = {"quiet_hours": {"from": 0, "to": 23}, "consent": "needed"}
    story = Story(segment={"increases": quiet | {"offer_rest_days": 100}})
    story.profile(0)
    assert (trace(step := story.profile(1, grade=2)).guard, step.emissions) == ("quiet_hours", [])
    assert kinds(story.tick(at(1, 23))) == ["offer"]
    assert (trace(step := story.tick(at(2, 23))).guard, step.emissions) == ("consent_missing", [])
    story.command(3, "hold", until=at(9))
    assert trace(step := story.profile(4, grade=2)).guard == "hold"
    assert step.emissions == []


def test_a_standing_that_core_banking_does_not_have_is_told() -> None:
    story = Story(reconcile_hours=24, segment={"notices": {"advisory_days": 5}})
    story.profile(0)
    assert story.profile(0.5, applied=Applied(0, 0)).emissions == []  # too early
    assert story.profile(1, applied=Applied(1, 1_000)).emissions == []
    told = only(story.profile(2, applied=Applied(0, 1_000)))
    assert (told.kind, told.cause, told.sequence, story.account.mismatch) == ("standing_mismatch", None, 1, (1, at(7, 0)))
    assert story.profile(3, applied=Applied(1, 999)).emissions == []
    assert kinds(story.profile(7, applied=Applied(1, 999))) == ["standing_mismatch"]


def test_a_mismatch_is_measured_by_the_limit_in_force_and_told_of_closed_accounts() -> None:
    story = Story(reconcile_hours=0)
    story.profile(0)
    story.command(1, "set_temporary_limit", limit_minor=2_000, until=at(9))
    assert story.profile(2, applied=Applied(2, 2_000)).emissions == []
    assert kinds(story.profile(3, figures={"status": "closed"})) == ["close"]
    assert kinds(story.profile(4, figures={"status": "closed"}, applied=Applied(2, 2_000))) == ["standing_mismatch"]


def test_a_standing_from_elsewhere_is_compared_though_it_never_changed() -> None:
    story = Story(reconcile_hours=48)
    step = story.profile(0, granted=Granted(1_000, "basic", DAY_0), applied=Applied(3, 1_000))
    assert kinds(step) == ["standing_mismatch"]


def test_before_there_is_a_standing_there_is_no_mismatch() -> None:
    told = Story(reconcile_hours=0).profile(0, grade=0, applied=Applied(3, 1_000)).emissions
    assert [emission.kind for emission in told] == ["increase_withheld"]
