"""Examples of what came before and what goes round: times since, round trips, top words, usage, newly seen, scenes (docs/policy.md §3 and §6)."""

from __future__ import annotations

from typing import Any

from tests.oracle.story import DAY_0, PURCHASES, Story, at

TRANSFERS: dict[str, Any] = {"name": "t", "event": "transfer", "kind": "sum"}


def windowed(*names: str, kind: str = "total", days: int = 30) -> list[dict[str, Any]]:
    """A feature for each measure of that name."""
    return [{"name": name, "kind": kind, "measure": name, "window_days": days} for name in names]


# Times since


def test_a_salary_is_punctual_if_it_comes_a_month_after_the_one_before() -> None:
    salary = [{"field": "purpose", "in": ["salary"]}]
    measures = [
        {"name": "last", "event": "transfer", "kind": "last_seen", "where": salary},
        {"name": "all", "event": "transfer", "kind": "count", "where": salary},
        {
            "name": "punctual",
            "event": "transfer",
            "kind": "count",
            "where": [*salary, {"field": "days_since", "of": "last", "at_least": 28, "at_most": 33}],
        },
    ]
    share = {"name": "share", "kind": "share", "part": "punctual", "whole": "all", "window_days": 180}
    story = Story(needs_profile=False, measures=measures, features=[share])
    story.transfer(at(0), 100, purpose="salary")
    assert story.value("share") == 0  # nothing was seen before the first
    story.transfer(at(10), 5, purpose="person")
    story.transfer(at(30, 1), 100, purpose="salary")  # 30 days, though not 30 times 24 hours
    assert story.value("share") == 50
    story.transfer(at(40), 100, purpose="salary")
    assert story.value("share") == 33


def test_a_loan_that_pays_a_loan_is_seen_by_the_hours_between_them() -> None:
    measures = [
        {"name": "loan", "event": "transfer", "kind": "last_seen", "where": [{"field": "purpose", "in": ["loan"]}]},
        {
            "name": "recycled",
            "event": "repayment",
            "kind": "sum",
            "where": [{"field": "hours_since", "of": "loan", "at_least": 0, "at_most": 23}],
        },
    ]
    story = Story(needs_profile=False, measures=measures, features=windowed("recycled"))
    story.transfer(at(5), 100, purpose="loan")
    story.pay(at(4, 10), 7)  # told late: it was before the loan
    story.pay(at(6, 11.9), 20)
    story.pay(at(6, 12), 30)  # 24 hours
    assert story.value("recycled") == 20


def test_what_wakes_an_account_is_judged_by_what_was_seen_before_it() -> None:
    measures = [
        {"name": "wakes", "event": "purchase", "kind": "count", "where": [{"field": "days_since", "of": "last", "at_least": 60}]},
        {"name": "last", "event": "purchase", "kind": "last_seen"},
    ]
    for ordered in (measures, measures[::-1]):
        story = Story(needs_profile=False, measures=ordered, features=windowed("wakes"))
        story.purchase(at(0))
        story.purchase(at(60))
        story.purchase(at(61))
        assert story.value("wakes") == 1


# Round trips


def round_trips(**more: Any) -> Story:
    """Money in of the last 30 days: all of it, and without what went round within 3 days."""
    money_in = [{"field": "direction", "in": ["in"]}]
    measures = [
        {"name": "trips", "event": "transfer", "kind": "round_trips", "within_days": 3} | more,
        {**TRANSFERS, "name": "gross", "where": money_in},
        {**TRANSFERS, "name": "net", "where": money_in, "net_of": "trips"},
        {"name": "n", "event": "transfer", "kind": "count", "where": money_in, "net_of": "trips"},
    ]
    return Story(needs_profile=False, measures=measures, features=windowed("gross", "net", "n"))


def send(story: Story, day: float, amount: int, direction: str, party: str = "1", **more: Any) -> list[int | None]:
    """A transfer, and then what the account has: gross, net, number."""
    story.transfer(at(day), amount, direction=direction, counterparty_id=party, purpose="other", **more)
    return [story.value(name) for name in ("gross", "net", "n")]


def test_money_that_goes_back_within_days_does_not_count() -> None:
    story = round_trips()
    assert send(story, 0, 100, "in") == [100, 100, 1]
    assert send(story, 1, 100, "out", party="2") == [100, 100, 1]  # to somebody else
    assert send(story, 3, 60, "out") == [100, 40, 1]
    assert send(story, 3, 60, "out") == [100, 0, 0]  # the count goes when nothing is left
    assert send(story, 4, 50, "in") == [150, 30, 1]  # and 20 of the second came back, the other way round
    assert story.account.state()["tiles"]["net"] == {DAY_0 + 4: 30}


def test_money_that_stays_longer_is_no_round_trip() -> None:
    story = round_trips()
    send(story, 0, 100, "in")
    assert send(story, 4, 100, "out") == [100, 100, 1]


def test_small_transfers_may_be_left_alone() -> None:
    story = round_trips(where=[{"field": "amount_minor", "at_least": 50}])
    send(story, 0, 100, "in")
    assert send(story, 1, 49, "out") == [100, 100, 1]
    assert send(story, 1, 50, "out") == [100, 50, 1]


def test_eight_transfers_are_remembered() -> None:
    story = round_trips()
    for party in range(9):
        send(story, 0, 10, "in", party=str(party))
    assert send(story, 1, 10, "out", party="0") == [90, 90, 9]  # the first is forgotten
    assert send(story, 1, 10, "out", party="2") == [90, 80, 8]  # and the second by the out before


def test_what_went_round_is_not_taken_back_twice() -> None:
    story = round_trips()
    send(story, 0, 100, "in")
    send(story, 1, 70, "out")
    assert send(story, 1, 100, "in", reverses_at=at(0), reverses_full=True) == [0, 0, 0]
    assert story.account.state()["trips"]["trips"] == [(at(0), 100, 0), (at(1), 70, 0)]
    assert send(story, 1, 100, "in", reverses_at=at(0), reverses_full=True)[1:] == [0, 0]
    assert story.account.state()["tiles"]["net"] == {}


def test_the_conditions_of_the_earlier_one_are_those_of_its_own_words() -> None:
    where = [{"field": "purpose", "in": ["salary"]}]
    trips = {"name": "trips", "event": "transfer", "kind": "round_trips", "within_days": 3}
    measures = [trips, {**TRANSFERS, "name": "salary", "where": where, "net_of": "trips"}]
    story = Story(needs_profile=False, measures=measures, features=windowed("salary"))
    story.transfer(at(0), 100, direction="in", counterparty_id="1", purpose="salary")
    story.transfer(at(1), 80, direction="out", counterparty_id="1", purpose="person")
    assert story.value("salary") == 20


# Top words


def payers(**more: Any) -> Story:
    top = {"name": "payers", "event": "transfer", "kind": "top", "of": "counterparty_id", "half_life_days": 10} | more
    return Story(needs_profile=False, measures=[top], features=[{"name": "c", "kind": "concentration", "measure": "payers"}])


def test_concentration_is_the_share_of_the_largest() -> None:
    story = payers()
    story.transfer(at(0), 5)
    assert story.value("c") is None  # from nobody
    for party, amount in (("1", 30), ("2", 20), ("1", 30)):
        story.transfer(at(0), amount, counterparty_id=party)
    assert story.value("c") == 75
    story.transfer(at(1), 40, counterparty_id="1", reverses_at=at(0))
    assert story.value("c") == 50


def test_amounts_halve_with_every_half_life() -> None:
    story = payers()
    story.transfer(at(0), 40, counterparty_id="1")  # day 20000: period 2000
    story.transfer(at(20), 10, counterparty_id="2")
    assert story.account.state()["tops"]["payers"] == (20, [10, 10])
    story.transfer(at(9), 40, counterparty_id="1")  # told late, it counts a quarter too
    assert story.account.state()["tops"]["payers"] == (30, [10, 20])


def test_a_seventh_word_is_set_off_against_the_six() -> None:
    story = payers()
    for party in range(6):
        story.transfer(at(0), 10 + party, counterparty_id=str(party))
    story.transfer(at(0), 4, counterparty_id="6")
    assert story.account.state()["tops"]["payers"] == (79, [6, 7, 8, 9, 10, 11])
    story.transfer(at(0), 8, counterparty_id="7")  # drives out the smallest and stays with what is left
    assert story.account.state()["tops"]["payers"] == (87, [1, 2, 2, 3, 4, 5])
    assert story.value("c") == 5  # never more than the true 17 %


# Usage


def test_the_usage_of_the_line_is_measured_after_each_posting_and_profile() -> None:
    measures = [
        {"name": "peak", "event": "usage", "kind": "max", "of": "utilisation_percent", "tile": "week"},
        {"name": "n", "event": "usage", "kind": "count"},
    ]
    trend = {"name": "trend", "kind": "trend", "measure": "peak", "window_weeks": 1}
    peak = {"name": "peak", "kind": "total", "measure": "peak", "window_weeks": 1}
    story = Story(measures=measures, features=[*windowed("n"), peak, trend])
    story.transfer(at(0), 100, purpose="draw")  # no profile yet: the exposure is not known
    assert story.value("n") == 0
    story.profile(1, exposure_minor=100)
    assert [story.value(name) for name in ("n", "peak")] == [1, 0]  # known, but there was no limit to use before this evaluation
    story.transfer(at(2), 300, purpose="draw")
    assert [story.value(name) for name in ("n", "peak")] == [2, 40]  # 400 of 1000
    story.transfer(at(7), 400, purpose="draw")  # a week begins on Thursdays: day 20006 is one
    assert [story.value(name) for name in ("peak", "trend")] == [80, 200]
    story.command(7, "freeze")
    assert story.value("n") == 3


# Newly seen, scenes, given, per, dates


def test_newly_seen_is_what_the_time_before_did_not_have() -> None:
    measures = [
        {"name": "c", "event": "purchase", "kind": "distinct", "of": "category", "closed_set": ["a", "b", "d"]},
        {"name": "o", "event": "purchase", "kind": "distinct", "of": "merchant_id"},
    ]
    new = [{"name": m, "kind": "newly_seen", "measure": m, "window_days": 2, "before_days": 3} for m in ("c", "o")]
    story = Story(needs_profile=False, measures=measures, features=new)
    story.purchase(at(0), category="a", merchant_id="1")
    story.purchase(at(3), category="b", merchant_id="2")
    assert [story.value(name) for name in ("c", "o")] == [1, 1]
    story.purchase(at(4), category="a", merchant_id="1")  # days 3-4 against 0-2
    assert [story.value(name) for name in ("c", "o")] == [1, 1]
    for merchant in range(3, 30):
        story.purchase(at(4), merchant_id=str(merchant))
    assert story.value("o") == 39 - 1  # 64 ln(64/35) = 38.6 for both together, 1 for those before
    story.purchase(at(5), category="a")  # days 4-5 against 1-3
    assert story.value("c") == 1


def test_a_scene_counts_from_an_amount_on_and_a_refund_takes_it_back() -> None:
    scenes = [
        {"name": "food", "event": "purchase", "kind": "sum", "where": [{"field": "category", "in": ["food"]}]},
        {"name": "books", "event": "purchase", "kind": "sum", "where": [{"field": "category", "in": ["books"]}]},
        {"name": "wealth", "event": "transfer", "kind": "sum", "where": [{"field": "purpose", "in": ["wealth"]}]},
    ]
    reaching = {"name": "f", "kind": "reaching", "measures": ["food", "books", "wealth"], "at_least": 50, "window_days": 30}
    story = Story(needs_profile=False, measures=scenes, features=[reaching])
    story.purchase(at(0), 49, category="food")
    story.transfer(at(0), 50, purpose="wealth")
    assert story.value("f") == 1
    story.purchase(at(1), 1, category="food")
    story.purchase(at(1), 500, category="books")
    assert story.value("f") == 3
    story.purchase(at(2), 500, category="books", reverses_at=at(1), reverses_full=True)
    assert story.value("f") == 2


def test_a_total_is_missing_where_nothing_is_given() -> None:
    measures = [
        {"name": "missed", "event": "instalment", "kind": "count", "where": [{"field": "outcome", "in": ["missed"]}]},
        {"name": "due", "event": "instalment", "kind": "count"},
    ]
    total = {"name": "f", "kind": "total", "measure": "missed", "given": "due", "window_days": 30}
    story = Story(needs_profile=False, measures=measures, features=[total])
    story.purchase(at(0))
    assert story.value("f") is None
    story.pay(at(9), 100)
    assert story.value("f") == 0


def test_a_total_against_a_figure_of_the_profile() -> None:
    measures = [{"name": "s", "event": "purchase", "kind": "sum"}, {"name": "b", "event": "purchase", "kind": "balance"}]
    per = {"per": "income_monthly_minor", "scale": 100}
    features = [
        {"name": "s", "kind": "total", "measure": "s", "window_days": 30, **per},
        {"name": "b", "kind": "total", "measure": "b", **per},
    ]
    story = Story(measures=measures, features=features)
    story.purchase(at(0), 50)
    assert story.account.features()[:2] == [None, None]
    story.profile(1, figures={"income_monthly_minor": 150})
    story.purchase(at(2), 70, reverses_at=at(1))
    assert story.account.features()[:2] == [0, -14]  # -20 of 150, rounded down
    story.profile(3, figures={"income_monthly_minor": 0})
    assert story.account.features()[:2] == [None, None]


def test_days_since_a_date_of_the_profile_may_lie_ahead() -> None:
    story = Story(features=[{"name": "f", "kind": "days_since", "figure": "device_changed_at"}])
    story.profile(1)
    assert story.value("f") is None
    story.profile(2, figures={"device_changed_at": DAY_0 + 3})
    assert story.value("f") == -1
    story.purchase(at(5))
    assert story.value("f") == 2


def test_weeks_begin_on_thursdays() -> None:
    week = {**PURCHASES, "name": "w", "tile": "week"}
    story = Story(needs_profile=False, measures=[week], features=[{"name": "f", "kind": "total", "measure": "w", "window_weeks": 2}])
    story.purchase(at(-1, 0))  # a Thursday, as day 0 of the epoch was
    story.purchase(at(5, 23.9))
    assert story.account.state()["tiles"]["w"] == {2857: 2}
    story.purchase(at(6, 0))
    assert story.value("f") == 3
    story.purchase(at(13, 0))
    assert story.value("f") == 2
