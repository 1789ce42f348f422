"""Examples of offers, worked out by hand from docs/policy.md §8 and §9.8."""

from __future__ import annotations

from typing import Any

from tests.oracle.records import Granted
from tests.oracle.story import DAY_0, Story, at, kinds, only, trace

NEEDED = {"increases": {"consent": "needed", "offer_days": 5, "offer_rest_days": 10}}
UNSOLICITED = {"increases": {"unsolicited_offers": True, "offer_days": 5, "offer_rest_days": 10}}
CONSENT = {"consent_at": DAY_0}


def offered(segment: dict[str, Any] | None = None, **changes: Any) -> Story:
    """An account with 1,000 that was offered 5,000 on day 1 as number 2."""
    story = Story(segment=NEEDED | (segment or {}), **changes)
    story.profile(0)
    offer = only(story.profile(1, grade=2))
    assert (offer.kind, offer.sequence) == ("offer", 2)
    assert (offer.new.limit, offer.new.offer) == (1_000, (2, 5_000, at(6, 0)))
    return story


def test_without_consent_an_increase_is_offered_once() -> None:
    story = offered()
    again = story.profile(2, grade=2)
    assert (again.emissions, trace(again).guard) == ([], "consent_missing")
    assert kinds(story.profile(3, grade=2, figures=CONSENT)) == ["increase"]
    assert (story.account.line.offer, story.account.offer_ended) == (None, DAY_0 + 3)


def test_consent_of_tomorrow_is_none_today() -> None:
    story = Story(segment=NEEDED)
    story.profile(0)
    assert kinds(story.profile(1, grade=2, figures={"consent_at": DAY_0 + 2})) == ["offer"]
    assert kinds(story.tick(at(2))) == ["increase"]


def test_an_offer_expires_and_rests() -> None:
    story = offered()
    assert kinds(story.tick(at(6, 0) - 1)) == []
    expired = story.tick(at(6, 0))
    assert (kinds(expired), story.account.line.offer) == (["offer_expired"], None)
    assert trace(expired).guard == "consent_missing"
    assert kinds(story.tick(at(15))) == []
    assert kinds(story.tick(at(16, 0))) == ["offer"]


def test_an_offer_is_declined_by_its_name() -> None:
    story = offered()
    for name in ("offer-1", "offer-02", "2", "offer-"):
        assert only(story.command(2, "decline_offer", offer_id=name)).cause == "offer_unknown"
    assert kinds(story.command(2, "decline_offer", offer_id="offer-2")) == ["offer_declined", "command_accepted"]
    assert only(story.command(2, "decline_offer", offer_id="offer-2")).cause == "offer_unknown"
    assert kinds(story.tick(at(11))) == []
    assert kinds(story.tick(at(12))) == ["offer"]


def test_an_offer_is_accepted_whatever_more_the_score_would_allow() -> None:
    story = offered(limits={"product_cap_minor": 5_000})
    accepted, answer = (step := story.command(2, "accept_offer", offer_id="offer-2")).emissions
    assert (accepted.kind, accepted.new.limit, accepted.new.band, accepted.new.offer) == ("offer_accepted", 5_000, "prime", None)
    assert (answer.kind, answer.sequence, trace(step).guard) == ("command_accepted", 3, None)
    assert (story.account.last_change, story.account.offer_ended) == (DAY_0 + 2, DAY_0 + 2)


def test_an_acceptance_is_not_asked_for_opting_out_or_quiet_hours() -> None:
    story = offered({"increases": NEEDED["increases"] | {"quiet_hours": {"from": 13, "to": 12}}})
    story.command(2, "opt_out")
    assert kinds(story.command(2.5, "accept_offer", offer_id="offer-2")) == ["offer_accepted", "command_accepted"]


def test_an_acceptance_is_refused_with_the_guard_that_bites_and_the_offer_stays() -> None:
    story = offered()
    story.command(2, "freeze", "customer")
    step = story.command(2, "accept_offer", offer_id="offer-2")
    assert (kinds(step), only(step).cause, trace(step).guard) == (["command_refused"], "blocked", "blocked")
    story.command(2, "unfreeze", "customer")
    assert kinds(story.command(3, "accept_offer", offer_id="offer-2")) == ["offer_accepted", "command_accepted"]


def test_an_offer_that_the_target_no_longer_reaches_is_stale() -> None:
    story = offered()
    story.profile(2, grade=1)
    refused, expired = (step := story.command(2, "accept_offer", offer_id="offer-2")).emissions
    assert (refused.cause, refused.sequence, expired.kind, expired.sequence) == ("offer_stale", 2, "offer_expired", 3)
    assert (trace(step).guard, story.account.line.limit, story.account.offer_ended) == (None, 1_000, DAY_0 + 2)


def test_a_guard_comes_before_staleness() -> None:
    story = offered()
    story.profile(2, grade=0)
    story.command(2, "freeze", "customer")
    offer = story.account.line.offer
    assert offer is not None
    assert only(story.command(2, "accept_offer", offer_id="offer-2")).cause == "blocked"


def test_a_decrease_leaves_an_offer_and_an_override_refuses_it() -> None:
    story = offered()
    assert kinds(story.command(2, "override", limit_minor=900, until=at(4))) == ["command_accepted", "decrease"]
    assert story.account.line.offer is not None
    step = story.command(3, "accept_offer", offer_id="offer-2")
    assert (only(step).cause, trace(step).guard) == ("override", "override")
    assert kinds(story.command(4, "accept_offer", offer_id="offer-2")) == ["offer_accepted", "command_accepted"]


def test_a_request_fulfils_a_wish_and_ends_the_offer() -> None:
    story = offered()
    assert kinds(story.command(2, "request_increase", limit_minor=3_000)) == ["increase", "command_accepted"]
    assert story.account.line.offer is None
    resting = story.tick(at(11))
    assert (resting.emissions, trace(resting).guard) == ([], "consent_missing")
    assert only(story.tick(at(12))).new.offer == (4, 5_000, at(17, 0))


def test_a_first_limit_is_offered_only_where_the_policy_says_so_and_never_after_closing() -> None:
    plain = Story()
    assert trace(plain.profile(0, applied_at=None)).guard == "consent_missing"
    story = Story(segment=UNSOLICITED)
    offer = only(story.profile(0, applied_at=None))
    assert (offer.kind, offer.new.standing, offer.new.limit, offer.new.offer) == ("offer", "none", 0, (1, 1_000, at(5, 0)))
    accepted = story.command(1, "accept_offer", offer_id="offer-1").emissions[0]
    assert (accepted.kind, accepted.new.standing, accepted.new.limit, accepted.new.band) == ("offer_accepted", "open", 1_000, "basic")
    story.command(2, "close")
    assert trace(story.profile(3, applied_at=None)).guard == "consent_missing"


def test_who_opted_out_or_sleeps_is_offered_nothing() -> None:
    quiet = {"increases": UNSOLICITED["increases"] | {"quiet_hours": {"from": 22, "to": 13}}}
    story = Story(segment=quiet)
    step = story.profile(0, applied_at=None)
    assert (step.emissions, trace(step).guard) == ([], "quiet_hours")
    assert kinds(story.tick(at(0, 13))) == ["offer"]
    out = Story(segment=UNSOLICITED)
    withheld = only(out.profile(0, applied_at=None, figures={"opted_out_at": DAY_0}))
    assert (withheld.kind, withheld.cause) == ("increase_withheld", "opted_out")


def test_a_grant_or_a_closing_status_ends_an_offer_without_a_word() -> None:
    applied = Story(segment=UNSOLICITED)
    applied.profile(0, applied_at=None)
    assert kinds(applied.profile(1)) == ["grant"]
    assert applied.account.line.offer is None
    closed = Story(segment=UNSOLICITED)
    closed.profile(0, applied_at=None)
    assert closed.profile(1, figures={"status": "deceased"}).emissions == []
    assert (closed.account.line.offer, closed.account.offer_ended) == (None, DAY_0 + 1)
    assert only(closed.command(1, "accept_offer", offer_id="offer-1")).cause == "offer_unknown"


def test_a_standing_granted_elsewhere_ends_an_offer() -> None:
    story = Story(segment=UNSOLICITED)
    story.profile(0, applied_at=None)
    step = story.profile(1, granted=Granted(3_000, "prime", DAY_0))
    assert (kinds(step), story.account.line.offer) == (["decrease"], None)


def test_an_offer_is_of_the_target_after_caps_and_steps() -> None:
    story = Story(segment=NEEDED, limits={"step_up_minor": 700})
    story.profile(0)
    step = story.profile(1, grade=2)
    assert only(step).new.offer == (2, 1_700, at(6, 0))
    assert kinds(story.command(2, "accept_offer", offer_id="offer-2")) == ["offer_accepted", "command_accepted"]
    assert story.account.line.limit == 1_700
