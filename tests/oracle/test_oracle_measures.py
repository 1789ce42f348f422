"""Examples of measures and features, worked out by hand from docs/policy.md §3 and §6."""

from __future__ import annotations

from tests.oracle.story import DAY_0, PURCHASES, Story, at

# Measures and windows


def test_a_window_of_days_is_today_and_the_days_before_it() -> None:
    story = Story(needs_profile=False, features=[{"name": "f", "kind": "total", "measure": "n", "window_days": 3}])
    story.purchase(at(0, 0))
    story.purchase(at(2, 23.9))
    assert story.value("f") == 2
    story.purchase(at(3, 0))  # day 0 falls out at midnight, all of it at once
    assert story.value("f") == 2


def test_days_begin_at_the_local_midnight_of_the_measure() -> None:
    measures = [PURCHASES, {**PURCHASES, "name": "c", "utc_offset_minutes": 480}]
    story = Story(
        needs_profile=False,
        measures=measures,
        features=[{"name": f, "kind": "total", "measure": f, "window_days": 1} for f in ("n", "c")],
    )
    story.purchase(at(0, 15.5))  # 23:30 in China
    story.purchase(at(0, 16.5))  # 00:30
    assert (story.value("n"), story.value("c")) == (2, 1)


def test_a_late_event_goes_into_its_own_tile_and_beyond_the_window_counts_for_ever_only() -> None:
    measures = [PURCHASES, {"name": "b", "event": "purchase", "kind": "balance"}]
    windowed = {"name": "f", "kind": "total", "measure": "n", "window_days": 3}
    story = Story(needs_profile=False, measures=measures, features=[windowed, {"name": "b", "kind": "total", "measure": "b"}])
    story.purchase(at(10), 5)
    story.purchase(at(8), 5)
    story.purchase(at(7), 5)
    assert (story.value("f"), story.value("b")) == (2, 15)
    assert story.account.state()["tiles"]["n"] == {DAY_0 + 10: 1, DAY_0 + 8: 1}


def test_a_reversal_takes_back_in_the_tile_and_the_hour_of_the_original() -> None:
    night = [{"field": "local_hour", "from": 22, "to": 6}]
    measures = [
        {"name": "s", "event": "purchase", "kind": "sum", "where": night},
        {**PURCHASES, "where": night},
        {"name": "m", "event": "purchase", "kind": "max"},
    ]
    features = [{"name": f, "kind": "total", "measure": f, "window_days": 9} for f in ("s", "n", "m")]
    story = Story(needs_profile=False, measures=measures, features=features)
    story.purchase(at(0, 23), 70)
    story.purchase(at(2), 10, reverses_at=at(0, 23))  # told at noon, in part
    assert [story.value(f) for f in ("s", "n", "m")] == [60, 1, 70]
    story.purchase(at(2), 60, reverses_at=at(0, 23), reverses_full=True)
    assert [story.value(f) for f in ("s", "n", "m")] == [0, 0, 70]
    assert story.account.state()["tiles"]["s"] == {}


def test_a_reversal_older_than_the_window_has_no_effect_and_a_cell_may_be_negative() -> None:
    measures = [{"name": "s", "event": "purchase", "kind": "sum"}]
    story = Story(
        needs_profile=False,
        measures=measures,
        features=[{"name": "f", "kind": "total", "measure": "s", "window_days": 2}],
    )
    story.purchase(at(5), 10)
    story.purchase(at(5), 10, reverses_at=at(3))
    assert story.value("f") == 10
    story.purchase(at(5), 25, reverses_at=at(4))
    assert story.account.state()["tiles"]["s"] == {DAY_0 + 5: 10, DAY_0 + 4: -25}
    assert story.value("f") == 0  # a window's total is never below 0


def test_where_minus_holds_the_balance_goes_down_and_its_reversal_up() -> None:
    measure = {"name": "b", "event": "transfer", "kind": "balance", "minus": [{"field": "direction", "in": ["out"]}]}
    story = Story(needs_profile=False, measures=[measure], features=[{"name": "b", "kind": "total", "measure": "b"}])
    story.transfer(at(0), 100, direction="in")
    story.transfer(at(0), 130, direction="out")
    assert story.value("b") == -30
    story.transfer(at(1), 50, direction="out", reverses_at=at(0))
    assert story.value("b") == 20


def test_an_absent_word_is_in_no_list_and_passes_every_exclusion() -> None:
    words = {"field": "category", "in": ["food"]}, {"field": "category", "not_in": ["lottery"]}
    measures = [{**PURCHASES, "name": name, "where": [c]} for name, c in zip(("i", "x"), words, strict=True)]
    features = [{"name": f, "kind": "total", "measure": f, "window_days": 1} for f in ("i", "x")]
    story = Story(needs_profile=False, measures=measures, features=features)
    for category in ("food", "lottery", "books", None):
        story.purchase(at(0), category=category)
    assert (story.value("i"), story.value("x")) == (1, 3)


def test_hours_wrap_over_midnight_and_equal_ends_mean_every_hour() -> None:
    hours = ((23, 6), (6, 23), (5, 5))
    measures = [{**PURCHASES, "name": f"h{a}_{b}", "where": [{"field": "local_hour", "from": a, "to": b}]} for a, b in hours]
    features = [{"name": m["name"], "kind": "total", "measure": m["name"], "window_days": 1} for m in measures]
    story = Story(needs_profile=False, measures=measures, features=features)
    for hour in (5.9, 6, 22.9, 23):
        story.purchase(at(0, hour))
    assert story.account.features()[:3] == [2, 2, 4]


def test_a_cell_saturates() -> None:
    story = Story(
        needs_profile=False,
        measures=[{"name": "s", "event": "purchase", "kind": "sum"}],
        features=[{"name": "f", "kind": "total", "measure": "s", "window_days": 2}],
    )
    story.purchase(at(0), 2**53 - 1)
    story.purchase(at(0), 2**53 - 1)
    story.purchase(at(0), 1, reverses_at=at(0))
    assert story.value("f") == 2**53 - 2


# Features


def test_divisions_round_down_and_a_share_is_at_most_its_scale() -> None:
    measures = [
        {"name": "s", "event": "purchase", "kind": "sum"},
        PURCHASES,
        {"name": "t", "event": "transfer", "kind": "sum"},
    ]
    window = {"window_days": 5}
    story = Story(
        needs_profile=False,
        measures=measures,
        features=[
            {"name": "average", "kind": "average", "sum": "s", "count": "n", **window},
            {"name": "ratio", "kind": "ratio", "numerator": "t", "denominator": "s", **window},
            {"name": "share", "kind": "share", "part": "t", "whole": "s", "scale": 1000, **window},
            {"name": "above", "kind": "share_above", "measure": "s", "amount_minor": 6, **window},
        ],
    )
    story.transfer(at(0), 20)
    assert story.account.features() == [None, None, None, None, None]
    story.purchase(at(0), 5)
    story.purchase(at(0), 6)
    assert story.account.features()[:4] == [5, 181, 1000, 54]  # 11/2, 2000/11, more than all, 600/11


def test_a_trend_compares_with_the_window_before() -> None:
    story = Story(needs_profile=False, features=[{"name": "f", "kind": "trend", "measure": "n", "window_days": 2}])
    for day in (0, 0, 1, 2):
        story.purchase(at(day))
    assert story.value("f") == 100  # days 1-2 against days -1 to 0
    story.purchase(at(3))
    assert story.value("f") == 66  # days 2-3 against 0-1
    story.purchase(at(9))
    assert story.value("f") is None


def test_months_are_blocks_of_thirty_days_that_end_today() -> None:
    months = {"measure": "n", "window_months": 3}
    story = Story(
        needs_profile=False,
        features=[{"name": "a", "kind": "active_months", **months}, {"name": "r", "kind": "regularity", **months}],
    )
    for day in (0, 29, 30, 30, 30, 60, 60, 89):
        story.purchase(at(day))
    assert (story.value("a"), story.value("r")) == (3, 66)  # 2, 3, 3
    story.purchase(at(90))  # day 0 leaves, and days 30 and 60 move one block back
    assert (story.value("a"), story.value("r")) == (3, 50)  # 4 (29, 30 three times), 2 (60 twice), 2 (89, 90)


def test_months_of_weeks_are_blocks_of_four_whole_weeks() -> None:
    """Weeks begin on Thursdays; day 0 is a Friday."""
    months = {"measure": "n", "window_weeks": 8}
    story = Story(
        needs_profile=False,
        measures=[{"name": "n", "event": "purchase", "kind": "count", "tile": "week"}],
        features=[{"name": "a", "kind": "active_months", **months}, {"name": "r", "kind": "regularity", **months}],
    )
    story.purchase(at(0))
    assert (story.value("a"), story.value("r")) == (0, None)  # the week that goes on is in no block
    story.purchase(at(25))
    story.purchase(at(27))  # the fourth week has ended
    assert (story.value("a"), story.value("r")) == (1, 0)  # 2, 0
    story.purchase(at(34))
    assert (story.value("a"), story.value("r")) == (2, 50)  # 2 (25 and 27), 1 (0, one block back now)


def test_distinct_is_exact_for_a_closed_set_and_estimated_for_an_open_one() -> None:
    measures = [
        {
            "name": "c",
            "event": "purchase",
            "kind": "distinct",
            "of": "category",
            "closed_set": ["food", "books"],
        },
        {"name": "o", "event": "purchase", "kind": "distinct", "of": "merchant_id"},
    ]
    features = [{"name": f, "kind": "distinct", "measure": f, "window_days": 2} for f in ("c", "o")]
    story = Story(needs_profile=False, measures=measures, features=features)
    for day, word in ((0, "food"), (1, "books"), (1, "books"), (1, "else")):
        story.purchase(at(day), category=word)
    assert (story.value("c"), story.value("o")) == (2, 0)
    for merchant in range(32):
        story.purchase(at(2), merchant_id=str(merchant))
    assert (story.value("c"), story.value("o")) == (1, 44)  # 64 ln 2 = 44.4
    for merchant in range(64):
        story.purchase(at(2), merchant_id=str(merchant))
    assert story.value("o") == 311  # 64 ln 128 = 310.5


def test_days_since_counts_policy_days_and_ignores_reversals() -> None:
    story = Story(
        needs_profile=False,
        measures=[{"name": "l", "event": "purchase", "kind": "last_seen"}],
        features=[{"name": "f", "kind": "days_since", "measure": "l"}],
    )
    story.transfer(at(0), 1)
    assert story.value("f") is None
    story.purchase(at(1, 23))
    story.transfer(at(2, 1), 1)
    assert story.value("f") == 1
    story.purchase(at(0), 1)
    story.purchase(at(4), 1, reverses_at=at(3))
    assert story.value("f") == 3


def test_a_window_is_partial_until_its_first_tile_begins_at_or_after_the_first_record() -> None:
    total = {"name": "f", "kind": "total", "measure": "n", "window_days": 3, "when_partial": "missing"}
    story = Story(needs_profile=False, features=[total])
    story.purchase(at(0, 0.5))
    story.purchase(at(2))  # days 0-2: day 0 began half an hour before
    assert story.value("f") is None
    story.purchase(at(3))  # days 1-3
    assert story.value("f") == 2
    added = Story(needs_profile=False, measures=[{**PURCHASES, "added_at": "2024-10-06T01:00:00+01:00"}], features=[total])
    added.purchase(at(-90))
    added.purchase(at(4))  # 2024-10-04 is day 0: the window is 6 to 8 October
    assert added.value("f") == 1
    late = Story(needs_profile=False, measures=[{**PURCHASES, "added_at": "2024-10-06T00:00:00.001Z"}], features=[total])
    late.purchase(at(-90))
    late.purchase(at(4))
    assert late.value("f") is None


def test_profile_figures_ratios_completeness_and_tenure() -> None:
    story = Story(
        features=[
            {"name": "r", "kind": "profile", "figure": "assets_minor", "per": "income_monthly_minor", "scale": 100},
            {"name": "c", "kind": "completeness", "figures": ["assets_minor", "employment", "attributes.grade"]},
            {"name": "t", "kind": "tenure"},
        ]
    )
    story.profile(3, figures={"assets_minor": 7, "income_monthly_minor": 3, "opened_on": DAY_0 + 1})
    assert story.account.features() == [233, 66, 2, 1]
    story.profile(4, figures={"assets_minor": 7, "income_monthly_minor": 0})
    assert story.account.features() == [None, 66, None, 1]
