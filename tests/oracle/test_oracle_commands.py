"""Examples of commands, worked out by hand from docs/policy.md §8 and §9."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle.account import Step
from tests.oracle.story import DAY_0, Story, at, kinds, only, trace


def opened(grade: int = 1, **changes: Any) -> Story:
    """An account that was granted 1,000 (grade 1) or 5,000 (grade 2) on day 0."""
    story = Story(**changes)
    assert kinds(story.profile(0, grade=grade)) == ["grant"]
    return story


def why(step: Step) -> str | None:
    """Why the command was refused, which is the first thing said; None if it was accepted."""
    answer = next(e for e in step.emissions if e.kind.startswith("command_"))
    assert answer.previous == answer.new
    return answer.cause


def in_arrears(**changes: Any) -> Story:
    """An account with 1,000 that is one day past due on day 3."""
    story = opened(**changes)
    story.pay(at(1), 0, due_day=2)
    assert trace(story.purchase(at(3))).bucket == 1
    return story


# Who may be commanded what


KINDS: dict[str, dict[str, Any]] = {
    "freeze": {},
    "unfreeze": {},
    "hold": {"until": at(9)},
    "override": {"until": at(9), "limit_minor": 500},
    "release": {"of": "hold"},
    "set_temporary_limit": {"until": at(9), "limit_minor": 500},
    "request_increase": {"limit_minor": 2_000},
    "close": {},
    "set_ceiling": {"limit_minor": 2_000},
    "opt_out": {},
    "accept_offer": {"offer_id": "offer-1"},
    "decline_offer": {"offer_id": "offer-1"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_may_be_commanded_by_standing(kind: str) -> None:
    assert why(Story().command(0, kind, **KINDS[kind])) == "no_profile"
    without = Story()
    without.profile(0, grade=0)
    always = {"set_ceiling": None, "opt_out": None, "accept_offer": "offer_unknown", "decline_offer": "offer_unknown"}
    assert why(without.command(0, kind, **KINDS[kind])) == always.get(kind, "not_open")
    closed = opened()
    closed.command(1, "close")
    assert why(closed.command(1, kind, **KINDS[kind])) == "not_open"


def test_an_answer_follows_its_change_and_takes_no_number() -> None:
    story = opened()
    freeze, answer = story.command(1, "freeze").emissions
    assert (freeze.kind, freeze.sequence, answer.kind, answer.sequence) == ("freeze", 2, "command_accepted", 2)
    assert (answer.previous, answer.new) == (freeze.new, freeze.new)
    assert only(story.command(1, "freeze")).sequence == 2


# Hold


def test_a_hold_ends_in_the_future_and_not_too_late() -> None:
    story = opened(segment={"commands": {"longest_days": 10}})
    assert why(story.command(1, "hold", until=at(1))) == "ends_in_the_past"
    assert why(story.command(1, "hold", until=at(11) + 1)) == "ends_too_late"
    assert story.account.line.hold_until is None
    assert why(story.command(1, "hold", until=at(11))) is None
    assert story.account.line.hold_until == at(11)
    assert kinds(story.command(1, "hold", until=at(5))) == ["command_accepted"]
    assert story.account.line.hold_until == at(5)


def test_a_hold_holds_the_limit_both_ways_until_its_end() -> None:
    story = opened()
    story.command(1, "hold", until=at(5))
    up = story.profile(2, grade=2)
    assert (up.emissions, trace(up).guard) == ([], "hold")
    down = story.profile(3, grade=0)
    assert (down.emissions, trace(down).guard) == ([], "hold")
    assert story.tick(at(5) - 1).emissions == []
    assert kinds(story.tick(at(5))) == ["decrease"]
    assert story.account.line.hold_until == at(5)


def test_a_legal_cap_breaks_a_hold() -> None:
    story = opened(grade=2)
    story.command(1, "hold", until=at(5))
    story.pay(at(1), 0, due_day=-100)
    assert kinds(story.profile(2, grade=2, exposure_minor=700)) == ["decrease"]


def test_release_ends_what_is_in_force() -> None:
    story = opened()
    assert why(story.command(1, "release", of="hold")) == "not_in_force"
    story.command(1, "hold", until=at(5))
    story.profile(2, grade=2)
    assert kinds(story.command(3, "release", of="hold")) == ["command_accepted", "increase"]
    story.command(4, "hold", until=at(5))
    assert why(story.command(5, "release", of="hold")) == "not_in_force"


# Override


def test_an_override_stands_instead_of_the_target_without_steps_or_rounding() -> None:
    story = opened(limits={"step_up_minor": 100, "step_down_minor": 100, "minimum_change_minor": 50})
    up = story.command(1, "override", limit_minor=7_777, until=at(5))
    assert (kinds(up), story.account.line.limit, trace(up).bound_by) == (["command_accepted", "increase"], 7_777, "override")
    assert kinds(story.command(2, "override", limit_minor=7_770, until=at(5))) == ["command_accepted", "decrease"]
    assert kinds(story.tick(at(4))) == []
    back = story.tick(at(5))
    assert (kinds(back), story.account.line.limit, trace(back).bound_by) == (["decrease"], 7_670, "step")


def test_an_override_needs_neither_consent_nor_eligibility_but_no_arrears() -> None:
    segment = {"increases": {"consent": "needed"}, "cool_down": {"up_days": 30, "down_days": 30}}
    story = opened(segment=segment)
    story.command(1, "opt_out")
    story.command(1, "freeze", "legal")
    assert kinds(story.command(1, "override", limit_minor=2_000, until=at(9))) == ["command_accepted", "increase"]
    late = in_arrears()
    assert why(late.command(3, "override", limit_minor=1_001, until=at(9))) == "in_arrears"
    assert kinds(late.command(3, "override", limit_minor=900, until=at(9))) == ["command_accepted", "decrease"]


@pytest.mark.parametrize("kind", ["override", "set_temporary_limit"])
def test_bounds_of_a_limit_by_command(kind: str) -> None:
    segment = {"commands": {"longest_days": 10, "second_person_from_minor": 3_000}}
    story = opened(segment=segment)
    story.command(1, "set_ceiling", limit_minor=4_000)

    def told(**fields: Any) -> str | None:
        return why(story.command(1, kind, **({"until": at(2), "limit_minor": 2_000} | fields)))

    assert told(until=at(1)) == "ends_in_the_past"
    assert told(until=at(12), limit_minor=9_001) == "ends_too_late"
    assert told(limit_minor=9_001) == "above_legal_cap"
    assert told(limit_minor=4_001) == "above_ceiling"
    assert told(limit_minor=3_000) == "second_person_needed"
    assert told(limit_minor=2_999) is None
    assert told(limit_minor=3_000, second_person=True) is None
    story.command(1, "hold", until=at(3))
    assert told(limit_minor=2_000) == ("on_hold" if kind == "override" else None)


@pytest.mark.parametrize("kind", ["override", "set_temporary_limit"])
def test_no_raise_by_command_in_arrears_or_cure(kind: str) -> None:
    story = in_arrears()
    assert why(story.command(3, kind, limit_minor=1_001, until=at(9))) == "in_arrears"
    story.pay(at(4), 100, due_day=2)
    assert why(story.command(4, kind, limit_minor=1_001, until=at(9))) == "in_cure"
    assert why(story.command(4, kind, limit_minor=1_000, until=at(9))) is None


# Temporary limit


def test_a_temporary_limit_stands_beside_the_limit_until_it_expires() -> None:
    utilisation = {"name": "used", "kind": "utilisation"}
    story = Story(features=[utilisation])
    story.profile(0, exposure_minor=500)
    assert story.value("used") == 50
    start = story.command(1, "set_temporary_limit", limit_minor=2_000, until=at(5))
    assert kinds(start) == ["temporary_start", "command_accepted"]
    assert (story.account.line.limit, story.account.line.temporary, story.value("used")) == (1_000, (2_000, at(5)), 25)
    assert kinds(story.command(2, "set_temporary_limit", limit_minor=2_500, until=at(6))) == ["temporary_start", "command_accepted"]
    assert kinds(story.tick(at(6) - 1)) == []
    end = only(story.tick(at(6)))
    assert (end.kind, end.new.temporary, story.value("used")) == ("temporary_end", None, 50)


def test_a_temporary_limit_is_released() -> None:
    story = opened()
    story.command(1, "set_temporary_limit", limit_minor=2_000, until=at(5))
    assert kinds(story.command(2, "release", of="temporary")) == ["temporary_end", "command_accepted"]
    assert why(story.command(2, "release", of="temporary")) == "not_in_force"


def test_a_temporary_limit_ends_with_arrears_and_with_a_lower_ceiling() -> None:
    story = opened()
    story.command(1, "set_temporary_limit", limit_minor=2_000, until=at(50))
    story.pay(at(1), 0, due_day=2)
    assert kinds(story.tick(at(3))) == ["temporary_end"]
    capped = opened()
    capped.command(1, "set_temporary_limit", limit_minor=2_000, until=at(50))
    assert kinds(capped.command(2, "set_ceiling", limit_minor=1_999)) == ["command_accepted", "temporary_end"]
    lower = opened()
    lower.command(1, "set_temporary_limit", limit_minor=800, until=at(50))
    lower.pay(at(1), 0, due_day=2)
    assert kinds(lower.tick(at(3))) == []


# Ceiling


def test_a_ceiling_is_the_customers_own_and_lowers_at_once() -> None:
    segment = {"cool_down": {"up_days": 0, "down_days": 30}, "notices": {"decrease_days": 10}}
    story = opened(grade=2, segment=segment, limits={"step_down_minor": 100, "minimum_change_minor": 100})
    step = story.command(1, "set_ceiling", limit_minor=2_345)
    assert (kinds(step), story.account.line.limit, trace(step).bound_by) == (["command_accepted", "decrease"], 2_300, "ceiling")
    assert why(story.command(1, "set_ceiling", limit_minor=2_345)) == "already_in_force"
    assert kinds(story.command(2, "set_ceiling", limit_minor=3_000)) == ["command_accepted", "increase"]
    assert kinds(story.command(3, "set_ceiling", limit_minor=None)) == ["command_accepted", "increase"]
    assert story.account.line.limit == 5_000
    assert why(story.command(3, "set_ceiling", limit_minor=None)) == "already_in_force"


def test_a_ceiling_lowers_no_further_than_itself_nor_below_what_is_used() -> None:
    story = opened(grade=2, segment={"notices": {"decrease_days": 10}})
    story.command(1, "hold", until=at(2))
    story.command(1, "set_ceiling", limit_minor=2_000)
    assert kinds(story.profile(3, grade=0)) == ["decrease"]
    assert story.account.line.limit == 2_000
    assert kinds(story.tick(at(3))) == ["announce"]
    used = Story()
    used.profile(0, grade=2, exposure_minor=3_010)
    step = used.command(1, "set_ceiling", limit_minor=2_000)
    assert (used.account.line.limit, trace(step).bound_by) == (3_100, "exposure_floor")


def test_a_ceiling_outlives_the_line() -> None:
    story = Story()
    story.profile(0, grade=0)
    story.command(0, "set_ceiling", limit_minor=700)
    granted = story.profile(1)
    assert (only(granted).new.limit, trace(granted).bound_by) == (700, "ceiling")
    story.command(2, "close")
    assert story.account.line.ceiling == 700
    assert only(story.profile(3)).new.limit == 700


# Request


def test_a_request_brings_what_was_withheld_for_want_of_consent() -> None:
    story = opened(segment={"increases": {"consent": "needed"}})
    story.command(1, "opt_out")
    assert trace(story.profile(1, grade=2)).guard == "opted_out"
    assert why(story.command(2, "request_increase", limit_minor=1_000)) == "not_raised"
    assert why(story.command(2, "request_increase", limit_minor=1_099)) == "not_raised"
    increase, answer = (step := story.command(2, "request_increase", limit_minor=2_099)).emissions
    assert (increase.kind, increase.new.limit, answer.kind) == ("increase", 2_000, "command_accepted")
    assert (trace(step).bound_by, trace(step).target) == ("requested", 2_000)
    most = story.command(3, "request_increase", limit_minor=8_000)
    assert (story.account.line.limit, trace(most).bound_by) == (5_000, "band")
    assert why(story.command(3, "request_increase", limit_minor=8_000)) == "not_raised"


def test_a_request_is_refused_with_the_guard_that_bites() -> None:
    story = opened(segment={"cool_down": {"up_days": 10, "down_days": 0}})
    step = story.command(1, "request_increase", limit_minor=2_000)
    assert (why(step), trace(step).guard) == ("not_raised", None)
    story.profile(2, grade=2)
    refused = story.command(2, "request_increase", limit_minor=2_000)
    assert (kinds(refused), why(refused), trace(refused).guard) == (["command_refused"], "cool_down_up", "cool_down_up")
    story.command(3, "freeze", "customer")
    assert why(story.command(3, "request_increase", limit_minor=2_000)) == "blocked"


def test_beside_a_request_nothing_of_the_limit_is_decided() -> None:
    story = opened(grade=2)
    story.command(1, "hold", until=at(2))
    story.profile(1, grade=1)
    assert kinds(story.command(2, "request_increase", limit_minor=6_000)) == ["command_refused"]
    assert kinds(story.tick(at(2))) == ["decrease"]


# Opting out


def test_opting_out_counts_from_the_later_day_until_a_later_consent() -> None:
    story = opened()
    assert why(story.command(1, "opt_out")) is None
    assert why(story.command(2, "opt_out")) == "already_in_force"
    assert trace(story.profile(3, grade=2)).guard == "opted_out"
    assert trace(story.profile(4, grade=2, figures={"consent_at": DAY_0 + 1})).guard == "opted_out"
    assert trace(story.profile(5, grade=2, figures={"consent_at": DAY_0 + 2, "opted_out_at": DAY_0 + 3})).guard == "opted_out"
    later = {"consent_at": DAY_0 + 2, "opted_out_at": DAY_0 + 30}
    assert kinds(story.profile(6, grade=2, figures=later)) == ["increase"]
    assert why(story.command(7, "opt_out")) is None


# Closing


def test_a_line_closed_by_command_gives_up_all_but_blocks_and_ceiling() -> None:
    story = opened()
    story.command(1, "freeze", "legal")
    story.command(1, "set_ceiling", limit_minor=3_000)
    story.command(1, "set_temporary_limit", limit_minor=2_000, until=at(9))
    story.command(1, "override", limit_minor=900, until=at(9))
    story.command(1, "hold", until=at(9))
    close, answer = (step := story.command(2, "close")).emissions
    assert (close.kind, close.cause, answer.kind, trace(step).guard) == ("close", "command", "command_accepted", "consent_missing")
    line = story.account.line
    assert (line.limit, line.band, line.blocks, line.standing, line.ceiling) == (0, None, frozenset({"legal"}), "closed", 3_000)
    assert (line.temporary, line.override, line.hold_until, line.offer, line.pending) == (None, None, None, None, None)
    assert trace(story.profile(3, applied_at=at(2, 23))).guard == "consent_missing"
    assert kinds(story.profile(4, applied_at=at(3))) == ["grant"]


def test_a_closing_status_says_nothing_but_that_the_line_is_closed() -> None:
    story = opened()
    story.command(1, "set_temporary_limit", limit_minor=2_000, until=at(2))
    step = story.profile(3, figures={"status": "insolvent"})
    assert (kinds(step), only(step).cause, trace(step).guard, trace(step).target) == (["close"], None, "closed", None)
    assert story.account.line.temporary is None


# Sweeps


def test_a_sweep_that_says_nothing_leaves_the_account_as_it_was() -> None:
    story = opened()
    before = story.account.state()
    assert story.tick(at(3)).emissions == []
    assert story.account.state() == before
    story.command(3, "hold", until=at(4))
    story.profile(3, grade=2)
    assert kinds(story.tick(at(5))) == ["increase"]
    assert story.account.now == at(5)
