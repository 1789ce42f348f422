"""Examples of the portfolio's brakes, worked out by hand from docs/policy.md §9c."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.oracle.account import Step
from tests.oracle.portfolio import Kept, Portfolio, share
from tests.oracle.records import Forget, Granted
from tests.oracle.story import BANDS, DAY_0, Story, at, kinds, only, policy, trace

NEEDED = {"increases": {"consent": "needed", "offer_days": 5, "offer_rest_days": 0}}
NOTICE = {"notices": {"decrease_days": 10, "advisory_days": 5}}
CONTRACTION = {"appetite": {"contraction": [{"band": "prime", "percent": 40}]}}
EASY = {"percent": 50, "min_evaluations": 4}  # two decreases a day, while no more than five evaluations are counted
TIGHT = {"percent": 1, "min_evaluations": 1}  # none, while no more than 99 are


class Lender:
    """A shard's customers, who share its portfolio; each falls from 5,000 to 1,000 where the score falls from 20 to 10 points."""

    def __init__(
        self,
        budget: int | None = None,
        breaker: dict[str, int] | None = None,
        *,
        segment: dict[str, Any] | None = None,
        portfolio: Portfolio | None = None,
        **changes: Any,
    ) -> None:
        brakes = {"budget_minor": budget, "breaker": breaker}
        self.changes = changes | {"segment": (segment or {}) | {"brakes": {name: brake for name, brake in brakes.items() if brake}}}
        self.appetites: dict[str, tuple[str, int]] = {}
        self.portfolio = portfolio or Portfolio()

    def customer(self) -> Story:
        """One of whom nothing is known."""
        return Story(self.appetites, self.portfolio, **self.changes)

    def customers(self, n: int, grade: int = 2) -> list[Story]:
        """So many, who got their limits on days of their own long ago."""
        stories = [self.customer() for _ in range(n)]
        for number, story in enumerate(stories):
            assert kinds(story.profile(number - 99, grade=grade)) == ["grant"]
        return stories

    def tripped(self, n: int) -> list[Story]:
        """So many with 5,000; on day 0 the breaker trips at the last of them."""
        stories = self.customers(n)
        assert kinds(stories[-1].profile(0, grade=1)) == ["breaker_tripped"]
        return stories

    @property
    def kept(self) -> Kept:
        """What the shard keeps of the segment."""
        return self.portfolio.kept["individual"]


def brakes(step: Step) -> tuple[int, int, int]:
    """What was raised, evaluated and lowered when the limit was decided."""
    return trace(step).brakes[1:]


# Shares, and the segment's day


def test_shares_differ_by_one_at_most_and_add_up() -> None:
    assert [share(10, shard, 4) for shard in range(4)] == [3, 3, 2, 2]
    assert [share(2, shard, 4) for shard in range(4)] == [1, 1, 0, 0]
    assert all(sum(share(n, shard, p) for shard in range(p)) == n for n in range(30) for p in range(1, 9))


def test_a_shard_brakes_by_its_share() -> None:
    last = Lender(budget=11_999, portfolio=Portfolio(shard=11, partitions=12))
    assert trace(last.customer().profile(0)).guard == "budget_spent"  # 999
    first = Lender(budget=11_999, portfolio=Portfolio(shard=0, partitions=12))
    assert kinds(first.customer().profile(0)) == ["grant"]  # 1,000


def test_the_day_is_that_of_the_shards_clock_at_the_last_evaluation() -> None:
    lender = Lender(budget=9_000, breaker=EASY)
    one, other = lender.customer(), lender.customer()
    assert trace(one.profile(0)).brakes == (DAY_0, 1_000, 1, 0)
    assert trace(other.profile(0)).brakes == (DAY_0, 2_000, 2, 0)
    ahead = other.purchase(at(1), clock=at(0), record_time=at(0))
    assert (other.account.today, trace(ahead).brakes) == (DAY_0 + 1, (DAY_0, 2_000, 2, 0))
    assert trace(one.purchase(at(1))).brakes == (DAY_0 + 1, 0, 1, 0)
    assert trace(one.tick(at(3))).brakes == (DAY_0 + 3, 0, 1, 0)


def test_the_day_is_the_policys() -> None:
    story = Lender(budget=9_000, utc_offset_minutes=480).customer()
    assert trace(story.profile(0.5)).brakes[0] == DAY_0 + 1  # 08:00 there


def test_segments_have_brakes_of_their_own() -> None:
    plain = policy().model_dump(mode="json", exclude_unset=True)["segments"][0]
    segments = [plain | {"brakes": {"budget_minor": 1_000}}, plain | {"name": "enterprise", "brakes": {"budget_minor": 2_000}}]
    portfolio = Portfolio()
    individual, enterprise = (Story(portfolio=portfolio, segments=segments) for _ in range(2))
    assert trace(individual.profile(0)).brakes == (DAY_0, 1_000, 1, 0)
    assert trace(enterprise.profile(0, segment="enterprise")).brakes == (DAY_0, 1_000, 1, 0)


def test_without_brakes_nothing_is_kept() -> None:
    story = Story()
    assert trace(story.profile(0)).brakes == (0, 0, 0, 0)
    assert story.account.portfolio.kept == {}


# Who is counted as evaluated


def test_at_its_records_an_account_is_counted_once_a_day() -> None:
    story = Lender(breaker=EASY).customer()
    assert [brakes(story.profile(0.1 * n))[1] for n in range(4)] == [1, 1, 1, 1]
    assert [brakes(story.purchase(at(1, hour)))[1] for hour in (0, 8, 23)] == [1, 1, 1]


def test_every_evaluation_of_a_sweep_is_counted() -> None:
    story = Lender(breaker=EASY).customer()
    story.profile(0)
    assert [brakes(story.tick(at(1)))[1] for _ in range(3)] == [1, 2, 3]
    assert brakes(story.purchase(at(1, 13)))[1] == 4  # the sweeps left its clock on day 0
    assert brakes(story.purchase(at(1, 14)))[1] == 4


def test_a_sweep_that_says_something_moves_the_clock() -> None:
    story = Lender(breaker=EASY, segment=NEEDED).customer()
    story.profile(0)
    story.profile(1, grade=2)
    assert kinds(step := story.tick(at(6))) == ["offer_expired", "offer"]
    assert (brakes(step)[1], brakes(story.purchase(at(6, 13)))[1]) == (1, 1)


def test_who_was_measured_before_the_first_profile_stood_somewhere() -> None:
    story = Lender(breaker=EASY).customer()
    story.purchase(at(0))
    assert story.tick(at(0)).verdict == "no_profile"
    assert brakes(story.profile(0.1)) == (1_000, 0, 0)


def test_who_was_forgotten_stands_nowhere() -> None:
    story = Lender(breaker=EASY).customer()
    story.profile(0, grade=0)
    wish = Forget(account_id="a", event_id="", occurred_at=at(0), record_time=at(0), clock=at(0))
    assert story.account.apply(wish).verdict == "forgotten"
    assert brakes(story.profile(0.1))[1] == 2


def test_where_the_status_closes_nobody_is_counted() -> None:
    lender = Lender(breaker=EASY)
    story = lender.customer()
    story.profile(0)
    for step in (story.profile(1, figures={"status": "closed"}), story.tick(at(1))):
        assert trace(step).brakes == (0, 0, 0, 0)
    assert (lender.kept.day, lender.kept.evaluated) == (DAY_0, 1)


def test_a_repetition_is_no_evaluation() -> None:
    lender = Lender(breaker=EASY)
    story = lender.customer()
    story.profile(0)
    story.purchase(at(1), event_id="p")
    assert story.purchase(at(2), event_id="p").verdict == "duplicate"
    assert lender.kept.day == DAY_0 + 1


# The budget


def test_a_budget_is_spent_to_the_unit() -> None:
    lender = Lender(budget=6_000)
    assert kinds(lender.customer().profile(0, grade=2)) == ["grant"]
    assert kinds(lender.customer().profile(0, grade=1)) == ["grant"]
    step = lender.customer().profile(0, grade=1)
    assert (kinds(step), trace(step).guard, trace(step).target) == (["budget_spent", "increase_withheld"], "budget_spent", 1_000)
    assert brakes(step) == (6_000, 3, 0)


def test_an_increase_takes_what_it_adds() -> None:
    lender = Lender(budget=4_000)
    one, other = lender.customers(2, grade=1)
    assert brakes(one.profile(0, grade=2)) == (4_000, 1, 0)
    step = other.profile(0, grade=2)
    assert (kinds(step), trace(step).guard) == (["budget_spent", "increase_withheld"], "budget_spent")


def test_what_has_room_is_not_held_back_by_what_has_none() -> None:
    lender = Lender(budget=5_500)
    lender.customer().profile(0, grade=1)
    large, small = lender.customer(), lender.customer()
    assert trace(large.profile(0, grade=2)).guard == "budget_spent"
    assert kinds(small.profile(0, grade=1)) == ["grant"]


def test_it_is_decided_anew_with_the_next_days_budget() -> None:
    lender = Lender(budget=5_000)
    lender.customer().profile(0, grade=2)
    story = lender.customer()
    assert trace(story.profile(0)).guard == "budget_spent"
    assert trace(story.tick(at(1, 0) - 1)).guard == "budget_spent"
    step = story.tick(at(1, 0))
    assert (kinds(step), trace(step).brakes) == (["grant"], (DAY_0 + 1, 1_000, 1, 0))


def test_a_rise_above_the_share_is_never_made() -> None:
    story = Lender(budget=4_999).customer()
    story.profile(0, grade=2)
    assert [trace(story.tick(at(day))).guard for day in range(1, 9)] == ["budget_spent"] * 8
    assert kinds(story.profile(9, grade=1)) == ["grant"]


def test_it_is_asked_last_of_all() -> None:
    lender = Lender(budget=1_000, segment={"cool_down": {"up_days": 3, "down_days": 0}})
    story = lender.customer()
    story.profile(0)
    assert trace(story.profile(1, grade=2)).guard == "cool_down_up"
    assert trace(story.tick(at(3))).guard == "budget_spent"
    unasked = Lender(budget=1).customer().profile(0, applied_at=None)
    assert trace(unasked).guard == "consent_missing"


def test_a_request_is_refused_by_it_and_one_for_less_has_room() -> None:
    lender = Lender(budget=3_000, segment=NEEDED)
    story = lender.customers(1, grade=1)[0]
    story.profile(0, grade=2)
    step = story.command(0, "request_increase", limit_minor=4_100)
    assert (kinds(step), step.emissions[0].cause, trace(step).guard) == (["command_refused"], "budget_spent", "budget_spent")
    step = story.command(0, "request_increase", limit_minor=4_000)
    assert (kinds(step), brakes(step)) == (["increase", "command_accepted"], (3_000, 1, 0))


def test_an_offer_needs_room_and_takes_none() -> None:
    lender = Lender(budget=4_000, segment=NEEDED)
    one, other, third = lender.customers(3, grade=1)
    for story in (one, other):
        step = story.profile(0, grade=2)
        assert (kinds(step), brakes(step)[0]) == (["offer"], 0)
    assert brakes(one.command(0, "accept_offer", offer_id="offer-2")) == (4_000, 2, 0)
    step = third.profile(0, grade=2)
    assert (kinds(step), trace(step).guard) == (["budget_spent", "increase_withheld"], "budget_spent")
    assert third.account.line.offer is None


def test_an_offer_that_is_live_or_rests_is_not_asked_for_room() -> None:
    lender = Lender(budget=4_000, segment={"increases": NEEDED["increases"] | {"offer_rest_days": 9}})
    one, other = lender.customers(2, grade=1)
    one.profile(0, grade=2)
    other.profile(0, grade=2)
    other.command(0, "accept_offer", offer_id="offer-2")
    assert trace(one.purchase(at(0))).guard == "consent_missing"
    one.command(0, "decline_offer", offer_id="offer-2")
    assert trace(one.purchase(at(0))).guard == "consent_missing"


def test_an_acceptance_needs_room_for_what_was_offered() -> None:
    lender = Lender(budget=5_000, segment=NEEDED)
    one, other = lender.customers(2, grade=1)
    one.profile(0, grade=2)
    other.profile(0, grade=2)
    other.command(0, "accept_offer", offer_id="offer-2")
    step = one.command(0, "accept_offer", offer_id="offer-2")
    assert (kinds(step), trace(step).guard, step.emissions[0].cause) == (
        ["command_refused", "budget_spent"],
        "budget_spent",
        "budget_spent",
    )
    assert one.account.line.offer == (2, 5_000, at(5, 0))  # the offer stays
    step = one.command(1, "accept_offer", offer_id="offer-2")
    assert (kinds(step), trace(step).brakes) == (["offer_accepted", "command_accepted"], (DAY_0 + 1, 4_000, 1, 0))


def test_an_acceptance_that_would_not_be_made_is_not_asked_for_room() -> None:
    lender = Lender(budget=5_000, segment=NEEDED)
    one, other = lender.customers(2, grade=1)
    one.profile(0, grade=2)
    other.profile(0, grade=2)
    other.command(0, "accept_offer", offer_id="offer-2")
    one.profile(0.1, grade=1)
    step = one.command(0.1, "accept_offer", offer_id="offer-2")
    assert (kinds(step), step.emissions[0].cause) == (["command_refused", "offer_expired"], "offer_stale")


def test_the_rise_of_an_acceptance_is_that_of_the_offered_limit() -> None:
    bands = [*BANDS, {"name": "best", "lower": 30, "limit_minor": 8_000}]
    story = Lender(budget=4_000, segment=NEEDED | {"bands": bands}).customers(1, grade=1)[0]
    story.profile(0, grade=2)
    story.profile(0.1, grade=3)
    step = story.command(0.1, "accept_offer", offer_id="offer-2")
    assert (kinds(step), trace(step).target, brakes(step)) == (["offer_accepted", "command_accepted"], 8_000, (4_000, 1, 0))


def test_a_first_limit_by_an_offer_takes_all_of_it() -> None:
    lender = Lender(budget=5_000, segment={"increases": {"unsolicited_offers": True, "offer_days": 5, "offer_rest_days": 0}})
    one, other = lender.customer(), lender.customer()
    assert kinds(one.profile(0, grade=2, applied_at=None)) == ["offer"]
    assert brakes(one.command(0, "accept_offer", offer_id="offer-1")) == (5_000, 1, 0)
    step = other.profile(0, applied_at=None)
    assert (kinds(step), trace(step).guard) == (["budget_spent", "increase_withheld"], "budget_spent")


def test_who_comes_back_begins_with_nothing() -> None:
    lender = Lender(budget=5_000)
    story = lender.customer()
    story.profile(0, grade=2)
    story.profile(1, grade=2, figures={"status": "closed"})
    step = story.profile(2, grade=2)
    assert (kinds(step), brakes(step)) == (["grant"], (5_000, 1, 0))


def test_what_a_person_sets_is_neither_stopped_nor_counted() -> None:
    lender = Lender(budget=1_000)
    story = lender.customer()
    story.profile(0)
    step = story.command(0, "override", limit_minor=8_000, until=at(2))
    assert (kinds(step), story.account.line.limit, brakes(step)) == (["command_accepted", "increase"], 8_000, (1_000, 1, 0))
    step = story.command(0, "set_temporary_limit", limit_minor=9_000, until=at(2))
    assert (kinds(step), brakes(step)) == (["temporary_start", "command_accepted"], (1_000, 1, 0))
    step = story.command(0, "release", of="override")
    assert (kinds(step), story.account.line.limit) == (["command_accepted", "decrease"], 1_000)
    assert brakes(step) == (1_000, 1, 0)


def test_a_request_under_an_override_is_not_counted_either() -> None:
    story = Lender(budget=1_000).customer()
    story.profile(0)
    story.command(0, "override", limit_minor=8_000, until=at(9))
    story.command(0, "set_ceiling", limit_minor=2_000)
    story.command(0, "hold", until=at(3))
    assert trace(story.command(0, "set_ceiling", limit_minor=None)).guard == "hold"
    step = story.command(3, "request_increase", limit_minor=5_000)
    assert (kinds(step), story.account.line.limit, brakes(step)) == (["increase", "command_accepted"], 5_000, (0, 1, 0))


def test_a_standing_granted_elsewhere_or_initial_is_neither_stopped_nor_counted() -> None:
    lender = Lender(budget=1)
    step = lender.customer().profile(0, granted=Granted(1_000, "basic", DAY_0))
    assert (step.emissions, brakes(step)) == ([], (0, 1, 0))
    initial = Lender(budget=1, segment={"initial_standing": {"limit_minor": 1_000, "band": "basic"}})
    step = initial.customer().profile(0)
    assert (step.emissions, brakes(step)) == ([], (0, 1, 0))


def test_a_decrease_gives_nothing_back() -> None:
    lender = Lender(budget=5_000)
    story = lender.customer()
    story.profile(0, grade=2)
    step = story.profile(0.1, grade=1)
    assert (kinds(step), brakes(step)) == (["decrease"], (5_000, 1, 0))
    assert trace(story.profile(0.2, grade=2)).guard == "budget_spent"


# The breaker


def test_it_trips_at_one_decrease_too_many() -> None:
    lender = Lender(breaker=EASY)
    stories = lender.customers(4)
    steps = [story.profile(0, grade=1) for story in stories]
    assert [kinds(step) for step in steps] == [["decrease"], ["decrease"], ["breaker_tripped"], []]
    assert [brakes(step) for step in steps] == [(0, 1, 1), (0, 2, 2), (0, 3, 2), (0, 4, 2)]
    assert [trace(step).guard for step in steps] == [None, None, "breaker", "breaker"]


def test_more_evaluations_make_room_for_more() -> None:
    lender = Lender(breaker=EASY)
    stories = lender.customers(6)
    for story in stories:
        story.purchase(at(0))
    assert [kinds(story.profile(0.1, grade=1)) for story in stories[:4]] == [["decrease"]] * 3 + [["breaker_tripped"]]


@pytest.mark.parametrize(("percent", "passing"), [(9, 0), (10, 1), (19, 1), (20, 2), (29, 2), (30, 3)])
def test_percents_hold_to_the_unit(percent: int, passing: int) -> None:
    stories = Lender(breaker={"percent": percent, "min_evaluations": 10}).customers(5)
    steps = [story.profile(0, grade=1) for story in stories]
    assert [kinds(step) for step in steps] == [["decrease"]] * passing + [["breaker_tripped"]] + [[]] * (4 - passing)


def test_its_minimum_is_a_share_too() -> None:
    for shard, passing in ((0, 1), (1, 0)):
        lender = Lender(breaker={"percent": 50, "min_evaluations": 3}, portfolio=Portfolio(shard, partitions=2))
        story = lender.customers(1)[0]
        assert kinds(story.profile(0, grade=1)) == (["decrease"] if passing else ["breaker_tripped"])


def test_the_next_day_counts_anew_while_it_has_not_tripped() -> None:
    stories = Lender(breaker=EASY).customers(4)
    days = (0, 0, 1, 1)
    assert [kinds(story.profile(day, grade=1)) for story, day in zip(stories, days, strict=True)] == [["decrease"]] * 4


def test_tripped_it_stays_over_the_days() -> None:
    lender = Lender(breaker=TIGHT)
    one, other = lender.tripped(2)
    assert [trace(other.tick(at(day))).guard for day in range(1, 5)] == ["breaker"] * 4
    assert (kinds(step := one.profile(9, grade=1)), trace(step).guard) == ([], "breaker")


def test_it_is_asked_last_of_all_guards() -> None:
    lender = Lender(breaker=TIGHT, segment={"cool_down": {"up_days": 0, "down_days": 5}})
    story = lender.customers(1)[0]
    story.command(0, "set_ceiling", limit_minor=4_000)
    step = story.profile(1, grade=1)
    assert (kinds(step), trace(step).guard, lender.kept.is_tripped) == ([], "cool_down_down", False)
    assert kinds(story.tick(at(5))) == ["breaker_tripped"]


def test_freezes_arrears_and_the_law_are_never_braked() -> None:
    lender = Lender(breaker=TIGHT)
    one, other = lender.tripped(2)
    assert kinds(one.command(1, "freeze", "risk_desk")) == ["freeze", "command_accepted"]
    step = other.pay(at(1), 0, due_day=-100)
    assert (kinds(step), trace(step).forced, brakes(step)[2]) == (["freeze", "decrease"], True, 0)
    step = lender.customer().profile(1, grade=2, granted=Granted(9_500, "prime", DAY_0))
    assert (kinds(step), trace(step).forced) == (["decrease"], True)


def test_nor_are_the_customers_own_wish_and_what_a_person_sets() -> None:
    one, other = Lender(breaker=TIGHT).tripped(2)
    step = one.command(1, "set_ceiling", limit_minor=4_000)
    assert (kinds(step), brakes(step)[2]) == (["command_accepted", "decrease"], 0)
    step = other.command(1, "override", limit_minor=2_000, until=at(9))
    assert (kinds(step), brakes(step)[2]) == (["command_accepted", "decrease"], 0)


def test_what_it_does_not_brake_trips_nothing() -> None:
    lender = Lender(breaker=TIGHT)
    one, other = lender.customers(2)
    one.command(0, "set_ceiling", limit_minor=4_000)
    other.command(0, "override", limit_minor=2_000, until=at(9))
    assert not lender.kept.is_tripped


def test_each_step_of_a_decrease_counts() -> None:
    lender = Lender(breaker=EASY, limits={"step_down_minor": 1_000})
    story = lender.customers(1)[0]
    steps = [story.profile(0, grade=1), story.tick(at(0)), story.tick(at(0))]
    assert [kinds(step) for step in steps] == [["decrease"], ["decrease"], ["breaker_tripped"]]


def test_an_announcement_is_counted_and_its_day_is_not() -> None:
    lender = Lender(breaker=EASY, segment=NOTICE)
    stories = lender.customers(3)
    assert [kinds(story.profile(0, grade=1)) for story in stories[:2]] == [["announce"], ["announce"]]
    assert lender.kept.lowered == 2
    steps = [story.tick(at(10, 0)) for story in stories[:2]]
    assert [(kinds(step), brakes(step)[2]) for step in steps] == [(["decrease"], 0)] * 2
    assert kinds(stories[2].profile(10, grade=1)) == ["announce"]


def test_it_trips_before_anything_is_announced() -> None:
    story = Lender(breaker=TIGHT, segment=NOTICE).tripped(1)[0]
    assert story.account.line.pending is None


def test_what_was_announced_stays_pending_while_it_is_tripped() -> None:
    lender = Lender(breaker=EASY, segment=NOTICE)
    one, *others = lender.customers(4)
    one.profile(0, grade=1)
    assert [kinds(story.profile(5, grade=1)) for story in others] == [["announce"], ["announce"], ["breaker_tripped"]]
    assert trace(one.tick(at(9))).guard == "notice_running"
    step = one.tick(at(10))
    assert (kinds(step), trace(step).guard, one.account.line.pending) == ([], "breaker", (1_000, at(10, 0)))
    lender.portfolio.release()
    assert kinds(one.tick(at(11))) == ["decrease"]


def test_what_is_not_to_be_lowered_any_more_is_withdrawn_though_it_is_tripped() -> None:
    lender = Lender(breaker=EASY, segment=NOTICE)
    one, *others = lender.customers(4)
    one.profile(0, grade=1)
    for story in others:
        story.profile(5, grade=1)
    assert kinds(one.profile(11, grade=2)) == ["announce_withdrawn"]


# What an appetite leads to


def contracting(expected: int, breaker: dict[str, int]) -> tuple[Lender, list[Story]]:
    """Three customers with 5,000, of which from day 0 on their band has 2,000."""
    lender = Lender(breaker=breaker, segment=CONTRACTION)
    stories = lender.customers(3)
    lender.appetites["individual"] = "contraction", DAY_0
    lender.portfolio.expect("individual", expected)
    return lender, stories


def test_expected_decreases_pass_and_are_not_counted() -> None:
    lender, stories = contracting(expected=2, breaker=TIGHT)
    steps = [story.tick(at(0)) for story in stories]
    assert [kinds(step) for step in steps] == [["decrease"], ["decrease"], ["breaker_tripped"]]
    assert [brakes(step) for step in steps] == [(0, 1, 0), (0, 2, 0), (0, 3, 0)]
    assert lender.kept.expected == 0


def test_behind_them_the_appetites_decreases_are_counted_as_any() -> None:
    lender, stories = contracting(expected=1, breaker=EASY)
    assert [kinds(story.tick(at(0))) for story in stories] == [["decrease"]] * 3
    assert (lender.kept.lowered, lender.kept.expected) == (2, 0)


def test_what_the_score_lowers_is_not_the_appetites() -> None:
    lender, stories = contracting(expected=9, breaker=EASY)
    assert kinds(stories[0].profile(0, grade=1)) == ["decrease"]
    assert (lender.kept.lowered, lender.kept.expected) == (1, 9)


def test_nor_is_what_another_cap_lowers() -> None:
    lender = Lender(breaker=EASY, segment=CONTRACTION, limits={"related_cap_minor": 5_000})
    story = lender.customers(1)[0]
    lender.portfolio.expect("individual", 9)
    assert kinds(story.profile(0, grade=2, figures={"related_exposure_minor": 4_000})) == ["decrease"]
    assert (lender.kept.lowered, lender.kept.expected) == (1, 9)


def test_nor_is_the_end_of_an_expansion() -> None:
    lender = Lender(breaker=EASY, segment={"appetite": {"expansion": [{"band": "prime", "percent": 120}]}})
    lender.appetites["individual"] = "expansion", DAY_0 - 99
    story = lender.customers(1)[0]
    lender.appetites["individual"] = "neutral", DAY_0
    lender.portfolio.expect("individual", 9)
    assert kinds(story.tick(at(0))) == ["decrease"]
    assert (story.account.line.limit, lender.kept.lowered, lender.kept.expected) == (5_000, 1, 9)


def test_where_the_appetite_lowers_too_it_is_the_appetites_whatever_binds() -> None:
    lender = Lender(breaker=EASY, segment=CONTRACTION, limits={"related_cap_minor": 5_000})
    story = lender.customers(1)[0]
    lender.appetites["individual"] = "contraction", DAY_0
    lender.portfolio.expect("individual", 9)
    step = story.profile(0, grade=2, figures={"related_exposure_minor": 4_000})
    assert (trace(step).bound_by, lender.kept.lowered, lender.kept.expected) == ("related_cap", 0, 8)


def test_tripped_it_lets_no_expected_one_through() -> None:
    lender, stories = contracting(expected=9, breaker=TIGHT)
    assert kinds(stories[0].profile(0, grade=1)) == ["breaker_tripped"]
    assert (trace(stories[1].tick(at(0))).guard, lender.kept.expected) == ("breaker", 9)


def test_another_appetite_expects_its_own() -> None:
    portfolio = Portfolio(shard=1, partitions=2)
    portfolio.expect("individual", 9)
    assert portfolio.kept["individual"].expected == 4
    portfolio.expect("individual", 3)
    assert portfolio.kept["individual"].expected == 1


# Release


def test_a_release_lets_it_begin_anew_and_a_sweep_decides() -> None:
    lender = Lender(budget=99_000, breaker=EASY)
    stories = lender.customers(5)
    assert [kinds(story.profile(0, grade=1)) for story in stories[:3]] == [["decrease"], ["decrease"], ["breaker_tripped"]]
    raised = stories[4].profile(0, grade=2)
    assert brakes(raised) == (0, 4, 2)
    lender.portfolio.release("individual")
    assert lender.kept == Kept(day=DAY_0)
    assert [kinds(story.tick(at(0, 13))) for story in stories[2:4]] == [["decrease"], []]


def test_what_was_raised_stays_raised() -> None:
    lender = Lender(budget=5_000, breaker=TIGHT)
    one = lender.customers(1)[0]
    lender.customer().profile(0, grade=2)
    one.profile(0, grade=1)
    lender.portfolio.release()
    assert trace(lender.customer().profile(0)).guard == "budget_spent"


def test_a_release_of_what_has_not_tripped_does_nothing() -> None:
    lender = Lender(breaker=EASY)
    story = lender.customers(1)[0]
    story.profile(0, grade=1)
    lender.portfolio.release()
    assert (lender.kept.evaluated, lender.kept.lowered) == (1, 1)


def test_a_release_is_of_one_segment_or_of_all() -> None:
    for named, tripped in (("individual", [False, True]), ("enterprise", [True, False]), (None, [False, False])):
        portfolio = Portfolio()
        for segment in ("individual", "enterprise"):
            portfolio.kept[segment].is_tripped = True
        portfolio.release(named)
        assert [portfolio.kept[segment].is_tripped for segment in ("individual", "enterprise")] == tripped


# What is told


def test_a_spent_budget_is_told_once_a_day() -> None:
    lender = Lender(budget=1_000, segment={"notices": {"advisory_days": 300}})
    lender.customer().profile(0)
    one, other = lender.customer(), lender.customer()
    assert kinds(one.profile(0, grade=2)) == ["budget_spent", "increase_withheld"]
    assert kinds(other.profile(0, grade=2)) == ["increase_withheld"]
    told = only(one.tick(at(1)))
    assert (told.kind, told.cause, told.sequence, told.previous == told.new) == ("budget_spent", None, 0, True)
    assert one.tick(at(1)).emissions == []
    assert other.tick(at(1)).emissions == []


def test_a_trip_is_told_once_and_again_after_a_release() -> None:
    lender = Lender(breaker=TIGHT)
    one, other = lender.tripped(2)
    assert [one.profile(1, grade=1).emissions, other.tick(at(1)).emissions] == [[], []]
    lender.portfolio.release()
    told = only(one.tick(at(1)))
    assert (told.kind, told.cause, told.sequence, told.previous == told.new) == ("breaker_tripped", None, 1, True)


def test_the_brakes_are_told_before_other_advisories() -> None:
    debts = {"over_borrowing": [{"code": "many_lenders", "figure": "attributes.lenders", "at_least": 3}]}
    lender = Lender(budget=1, breaker=TIGHT, segment={"protection": debts})
    story = lender.customer()
    story.profile(0, grade=2, granted=Granted(5_000, "prime", DAY_0))
    step = story.profile(1, attributes={"grade": 1, "lenders": 3})
    assert kinds(step) == ["breaker_tripped", "over_borrowing"]
    assert kinds(lender.customer().profile(1)) == ["budget_spent", "increase_withheld"]


# Another version


def test_what_was_counted_outlives_a_change_of_the_policy() -> None:
    lender = Lender(budget=5_000, breaker=TIGHT)
    one, other = lender.customers(2)
    lender.customer().profile(0, grade=2)
    assert kinds(lender.customer().profile(0)) == ["budget_spent", "increase_withheld"]
    one.profile(0, grade=1)
    before = replace(lender.kept)
    second = policy(segment={"brakes": {"budget_minor": 9_000, "breaker": EASY}})
    lender.portfolio.follow(second)
    assert lender.kept == before == Kept(DAY_0, 5_000, 3, 0, 0, is_tripped=True, is_spent_told=True)
    for story in (one, other):
        story.account.follow(second)
    assert trace(other.profile(0, grade=1)).guard == "breaker"


@pytest.mark.parametrize(
    ("brakes", "kept"),
    [
        ({"budget_minor": 9_000}, Kept(DAY_0, 5_000, is_spent_told=True)),
        ({"breaker": EASY}, Kept(DAY_0, 0, 3, 2, 1, is_tripped=True)),
        (None, Kept(DAY_0)),
    ],
)
def test_without_a_brake_what_is_its_own_is_forgotten(brakes: dict[str, Any] | None, kept: Kept) -> None:
    portfolio = Portfolio()
    portfolio.kept["individual"] = Kept(DAY_0, 5_000, 3, 2, 1, is_tripped=True, is_spent_told=True)
    portfolio.kept["enterprise"] = Kept(DAY_0, 5_000, 3, 2, 1, is_tripped=True, is_spent_told=True)
    portfolio.follow(policy(segment={"brakes": brakes} if brakes else {}))
    assert portfolio.kept["individual"] == kept
    assert portfolio.kept["enterprise"] == Kept(DAY_0)
