"""The committee decides on its days, each decision once and signed by two; what it expects is what stands in its book."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from pydantic import TypeAdapter

from engine.stream.appetite import check_switch
from schemas.control import Control
from scripts.committee import DECISIONS, MEETS_AT_H, WEAK, Committee
from scripts.counterpart import Counterpart, ms_of
from scripts.personas import DAY_MS, HOUR_MS
from scripts.spoil import Arrival
from tests.personas.lives import POLICY, START_MS

FIRST_CONTRACTION: Final = next(decision for decision in DECISIONS if decision.mode == "contraction")
END_MS: Final = START_MS + 1_000 * DAY_MS


def told(arrivals: Any) -> list[dict[str, Any]]:
    """The records as they are read."""
    return [json.loads(arrival.value) for arrival in arrivals]


def change(account: str, segment: str, band: str) -> dict[str, Any]:
    """As much of a limit change as is read."""
    return {"account_id": account, "standing": {"band": band}, "trace": {"segment": segment}}


def test_the_policy_knows_every_mode_that_is_decided() -> None:
    assert [decision.day for decision in DECISIONS] == sorted(decision.day for decision in DECISIONS)
    for decision in DECISIONS:
        check_switch(POLICY, decision.segment, decision.mode)
    contraction = {row.band for segment in POLICY.segments if segment.appetite for row in segment.appetite.contraction}
    assert set(WEAK) <= contraction


def test_every_decision_is_told_once_on_its_day() -> None:
    committee = Committee(START_MS, START_MS)
    days = []
    for day in range(1_000):
        now_ms = START_MS + day * DAY_MS + MEETS_AT_H * HOUR_MS
        for arrival in committee.due(now_ms):
            record = TypeAdapter(Control).validate_json(arrival.value)
            assert (arrival.at_ms, arrival.topic, arrival.key) == (now_ms, "limit-control", b"")
            assert ms_of(json.loads(arrival.value)["issued_at"]) == now_ms
            assert record.approved_by not in (None, record.issued_by)
            days.append(day)
    assert days == [decision.day for decision in DECISIONS]


def test_the_same_story_gets_the_same_decisions() -> None:
    once, again = (list(Committee(START_MS, START_MS).due(END_MS)) for _ in range(2))
    assert once == again
    assert len({record["control_id"] for record in told(once)}) == len(DECISIONS)


def test_what_was_decided_before_is_not_decided_again() -> None:
    since_ms = START_MS + 200 * DAY_MS
    days = [(ms_of(record["issued_at"]) - START_MS) // DAY_MS for record in told(Committee(START_MS, since_ms).due(END_MS))]
    assert days == [decision.day for decision in DECISIONS if decision.day >= 200] != []


def test_a_contraction_expects_the_weak_lines_to_fall() -> None:
    committee = Committee(START_MS, START_MS)
    segment = FIRST_CONTRACTION.segment
    other = next(each.name for each in POLICY.segments if each.name != segment)
    for heard in (
        change("a", segment, "starter"),
        change("b", segment, "premier"),
        change("c", other, "starter"),
        change("d", segment, "basic"),
        change("e", segment, "basic"),
        change("e", segment, "premier"),
        {"account_id": "f", "kind": "over_borrowing"},
    ):
        committee.hear(heard)
    records = told(committee.due(END_MS))
    assert [record["expected_decreases"] for record in records] == [
        2 if (decision.segment, decision.mode) == (segment, "contraction") else 0 for decision in DECISIONS
    ]


def test_it_decides_among_those_who_answer() -> None:
    counterpart = Counterpart(1, START_MS, Committee(START_MS, START_MS))
    at_ms = START_MS + FIRST_CONTRACTION.day * DAY_MS
    records = [Arrival(at_ms + hours * HOUR_MS, 1, "purchases", b"a", b"{}") for hours in (MEETS_AT_H - 1, MEETS_AT_H + 1)]
    topics = [arrival.topic for arrival in counterpart.among(records)]
    assert topics[-2:] == ["limit-control", "purchases"]
    assert topics.count("limit-control") == DECISIONS.index(FIRST_CONTRACTION) + 1


@pytest.mark.parametrize("seed", [1, 2])
def test_without_a_committee_nothing_is_decided(seed: int) -> None:
    assert not list(Counterpart(seed, START_MS).due(END_MS))
