"""Examples of instalments, days past due, cure and exposure, worked out by hand from docs/policy.md §4 and §5."""

from __future__ import annotations

from typing import Any

from tests.oracle.story import DAY_0, Story, at, kinds, trace

# Instalments, days past due, cure

OUTCOMES = ("on_time", "late", "partial", "missed")


def instalment_story(**arrears: Any) -> Story:
    """A story in which the outcomes of instalments are counted by day, over 90 days."""
    measures = [{"name": o, "event": "instalment", "kind": "count", "where": [{"field": "outcome", "in": [o]}]} for o in OUTCOMES]
    features = [{"name": o, "kind": "total", "measure": o, "window_days": 90} for o in OUTCOMES]
    return Story(needs_profile=False, measures=measures, features=features, arrears=arrears)


def test_an_instalment_is_on_time_up_to_the_last_day_of_grace() -> None:
    for day, outcome in ((12, "on_time"), (13, "late")):
        story = instalment_story(grace_days=2)
        story.pay(at(day, 23), 100)
        assert story.account.state()["tiles"] == {o: {DAY_0 + day: 1} if o == outcome else {} for o in OUTCOMES}


def test_what_becomes_past_due_counts_on_the_day_after_its_grace_and_late_on_top() -> None:
    story = instalment_story(grace_days=2)
    story.pay(at(9), 40)
    story.purchase(at(12))
    assert story.account.instalments.days_past_due(DAY_0 + 12) == 0
    story.purchase(at(20))
    assert story.account.state()["tiles"]["partial"] == {DAY_0 + 13: 1}
    assert story.account.state()["days_past_due"] == 10
    story.pay(at(21), 60)
    assert story.account.features()[:4] == [0, 1, 1, 0]
    assert story.account.state()["days_past_due"] == 0


def test_tolerance_settles_and_paying_again_creates_no_arrears() -> None:
    story = instalment_story(tolerance_minor=5)
    story.pay(at(9), 94)
    assert story.account.state()["open_instalments"] == [("l", at(10), 100, 94)]
    story.pay(at(9), 1)
    story.pay(at(40), 50)
    assert story.account.state()["open_instalments"] == []
    assert story.account.features()[:4] == [1, 0, 0, 0]
    assert story.account.state()["days_past_due"] == 0


def test_a_reversed_payment_reopens_and_each_outcome_counts_once() -> None:
    story = instalment_story()
    story.pay(at(8), 100)
    story.pay(at(9), 100, reverses_at=at(8), reverses_full=True)
    story.pay(at(9), 100)
    assert story.account.features()[:4] == [1, 0, 0, 0]
    story.pay(at(15), 30, reverses_at=at(9))
    assert story.account.state()["days_past_due"] == 5
    story.purchase(at(16))
    assert story.account.features()[:4] == [1, 0, 1, 0]


def test_a_reversal_of_an_unknown_instalment_opens_it_with_the_rest_paid() -> None:
    story = instalment_story()
    story.pay(at(12), 30, reverses_at=at(9))
    assert story.account.state()["open_instalments"] == [("l", at(10), 100, 70)]


def test_the_thirty_seventh_displaces_the_oldest_settled_or_shares_the_last() -> None:
    story = instalment_story()
    for n in range(36):
        story.pay(at(0), 0, due_day=100 + n)
    story.pay(at(0), 30, due_day=200)
    held = story.account.instalments.held
    assert len(held) == 36
    assert (held[-1].due_at, held[-1].due, held[-1].paid, held[-1].shared) == (at(135), 200, 30, True)
    story.pay(at(0), 170, due=999, due_day=135)  # the shared one keeps its due
    assert (held[-1].due, held[-1].settled) == (200, True)
    story.pay(at(0), 100, due_day=110)
    story.pay(at(0), 0, due_day=201)
    held = story.account.instalments.held
    assert [i.due_at for i in held if i.due_at in (at(110), at(135), at(201))] == [at(135), at(201)]


def test_settled_instalments_are_dropped_sixty_days_after_they_were_due() -> None:
    story = instalment_story()
    story.pay(at(9), 100)
    story.purchase(at(70))
    assert story.account.state()["settled_instalments"] == 1
    story.purchase(at(71))
    assert story.account.state()["settled_instalments"] == 0


def test_cure_runs_from_the_day_arrears_end() -> None:
    story = Story(arrears={"cure_days": 5}, segment={"initial_standing": {"limit_minor": 0, "band": "none"}})
    story.pay(at(9), 0)
    assert trace(story.profile(20)).guard == "in_arrears"
    assert trace(story.pay(at(21), 100)).guard == "in_cure"
    assert trace(story.purchase(at(25))).guard == "in_cure"
    assert kinds(story.purchase(at(26))) == ["increase"]


# Exposure


def test_exposure_is_the_snapshot_and_what_moved_after_it() -> None:
    story = Story(features=[{"name": "u", "kind": "utilisation"}])
    story.transfer(at(1), 70, purpose="draw", direction="out")
    assert story.account.exposure.value() is None
    story.transfer(at(3), 7, purpose="draw", direction="in")
    story.profile(2, exposure_minor=500)
    story.purchase(at(4), 40, funded_by="credit")
    story.purchase(at(4), 1_000, funded_by="own")
    story.pay(at(5), 47)
    story.pay(at(6), 9, reverses_at=at(1))  # of before the snapshot
    assert story.account.exposure.value() == 500
    story.pay(at(6), 47, reverses_at=at(5))
    assert story.account.exposure.value() == 547
    assert story.value("u") == 54  # of 1000
    story.profile(9)
    assert story.account.exposure.value() is None
    assert story.value("u") is None


def test_the_thirty_third_movement_merges_the_oldest_until_a_snapshot_covers_it() -> None:
    story = Story()
    story.profile(0, exposure_minor=0)
    for n in range(33):
        story.purchase(at(33 - n), 1 + n, funded_by="credit")
    assert story.account.exposure.older == (at(1), 33)
    story.purchase(at(1, 1), 1_000, funded_by="credit")
    assert story.account.exposure.older == (at(1), 1_033)
    story.profile(40, exposure_minor=0, as_of=at(1) - 1)
    assert story.account.exposure.value() == sum(range(1, 34)) + 1_000
    story.profile(41, exposure_minor=0, as_of=at(1))
    assert story.account.exposure.value() == sum(range(1, 33))
