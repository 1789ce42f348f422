"""What is taken of a change and of an advisory: from values that the engine itself announces."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import pytest

from engine.monitor.announced import announced, outcome_of
from engine.monitor.report import Collected, Period, reported
from engine.stream import offline
from schemas.topics import CHANGES
from scripts.personas import population
from tests.cli.program import DATA
from tests.personas.lives import KEY, POLICY, START_MS, log_of

DECIDED: Final = [json.loads(line) for line in (DATA / "decided.ndjson").read_text("utf-8").splitlines()]
CHANGE: Final = next(line["value"] for line in DECIDED if line["topic"] == "limit-changes")


@pytest.fixture(scope="module")
def values() -> list[tuple[str, dict[str, Any]]]:
    """What some lives led to."""
    log = log_of(population(24, 5, START_MS, 200))
    journal = offline.decide([offline.activation(POLICY), *log], KEY, "limits")
    return [(output.topic, json.loads(output.value)) for record in journal for output in record.outputs]


def test_a_change() -> None:
    found = announced(CHANGE)
    assert (found.account, found.outcome) == ("li-lei", "grants")
    assert found.policy == (CHANGE["policy"]["name"], CHANGE["policy"]["version"], CHANGE["policy"]["hash"])
    assert found.evaluation is not None
    assert (found.evaluation.segment, found.evaluation.score) == ("individual", 20)
    assert [tuple(row) for row in found.evaluation.rows] == [
        ("purchases_30d", 0, None),
        ("salary_60d", 0, None),
        ("days_past_due", 0, None),
    ]


def test_changes_of_one_evaluation_are_known_by_it(values: list[tuple[str, dict[str, Any]]]) -> None:
    changes = [value for topic, value in values if topic == CHANGES.name]
    found = [(announced(value), value) for value in changes]
    scored = [(one.evaluation, value) for one, value in found if one.evaluation is not None]
    by_cause = {(value["account_id"], json.dumps(value["cause"], sort_keys=True)) for _, value in scored}
    assert len({evaluation.identity for evaluation, _ in scored}) == len(by_cause) < len(scored)
    traces: dict[int, Any] = {}
    for evaluation, value in scored:
        assert traces.setdefault(evaluation.identity, value["trace"]) == value["trace"]


def test_a_close_by_status_is_no_score() -> None:
    closed = CHANGE | {"kind": "close", "trace": CHANGE["trace"] | {"guard": "closed"}}
    assert announced(closed).evaluation is None
    assert announced(CHANGE | {"trace": None}).evaluation is None


def test_the_trace_of_a_refusal_is_no_change() -> None:
    told = {name: CHANGE[name] for name in ("account_id", "policy", "trace", "cause")} | {"kind": "command_result"}
    assert announced(told)[1:3] == (None, None)


@pytest.mark.parametrize(
    ("kind", "state", "outcome"),
    [
        ("grant", "none", "grants"), ("increase", "open", "increases"), ("offer", "open", "offers"), ("decrease", "open", "decreases"),
        ("offer_accepted", "open", "increases"), ("offer_accepted", "none", "grants"), ("offer_accepted", "closed", "grants"),
        ("increase_withheld", "open", "increase_withheld"), ("announce", "open", None), ("freeze", "open", None),
        ("offer_declined", "open", None),
    ],
)  # fmt: skip
def test_outcomes(kind: str, state: str, outcome: str | None) -> None:
    assert outcome_of({"kind": kind, "previous": {"state": state}}) == outcome


@pytest.mark.parametrize("value", [{}, [], 7, CHANGE | {"trace": {}}, CHANGE | {"policy": None}, {"kind": "grant"}])
def test_what_is_no_change(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^not as the contract has it: "):
        announced(value)


def test_a_report_of_real_decisions(values: list[tuple[str, dict[str, Any]]]) -> None:
    periods = {"reference": Period(0, 1), "actual": Period(1, 2)}
    collected = {name: Collected(keeps_outcomes=True) for name in periods}
    for topic, value in values:
        for one in collected.values():
            (one.add_change if topic == CHANGES.name else one.add_advisory)(announced(value))
    report = reported(periods, collected, 0.25, 10, None)  # type: ignore[arg-type]
    judged = [one for one in report.stabilities if one.psi is not None]
    assert len(judged) > 20
    assert all(one.psi == 0 and one.left_out == () for one in judged), "the same decisions are no drift"
    assert {row["feature"] for topic, value in values if topic == CHANGES.name for row in value["trace"]["features"]} == {
        one.feature for one in report.stabilities if one.feature is not None
    }
    assert not report.has_findings
    outcomes = collected["actual"].outcomes.counts
    assert Counter({name: counter.total() for name, counter in outcomes.items()}) == Counter(
        found for _, value in values if (found := outcome_of(value)) is not None
    )
    accounts = {value["account_id"] for _, value in values}
    text = json.dumps(report.plain())
    assert not any(account in text for account in accounts)
    assert report.plain()["periods"]["actual"]["changes"] == sum(topic == CHANGES.name for topic, _ in values)
