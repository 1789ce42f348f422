"""Retentions compared with what policies ask for."""

from __future__ import annotations

from typing import Final

import pytest

from engine.policy.document import Policy
from engine.stream.evidence import demand_of, evidence_problems
from engine.stream.topics import TopicState, settings_of
from schemas.topics import EVIDENCE, FOREVER, TOPICS, evidence_ms
from tests.policy.texts import policy_of

DAY_MS: Final = 86_400_000
AT: Final = "broker:9092"


def policy(months: int | None, version: int = 1) -> Policy:
    return policy_of(f"version: {version}\n" + ("" if months is None else f"evidence_months: {months}"))


def state(name: str, **configs: str) -> TopicState:
    return TopicState(name, "id", 4, 1, {name.replace("_", "."): value for name, value in configs.items()})


def test_topics_as_they_are_created_satisfy_a_policy_that_does_not_say() -> None:
    states = [TopicState(spec.name, "id", 4, 1, settings_of(spec, spec.retention_ms)) for spec in TOPICS]
    assert evidence_problems(states, demand_of([policy(None)]), AT) == []
    assert evidence_problems(states, demand_of([]), AT) == []
    told = {problem.what.partition(" ")[0] for problem in evidence_problems(states, demand_of([policy(61)]), AT)}
    assert told == {"limit-changes", "limit-advisories", "limit-commands"}  # limit-control is kept for ever
    assert {spec.name for spec in EVIDENCE} == told | {"limit-control"}


def test_a_month_is_31_days_so_that_no_calendar_is_longer() -> None:
    assert evidence_ms(60) == 60 * 31 * DAY_MS
    assert demand_of([policy(60)]).retention_ms > (5 * 365 + 2) * DAY_MS


def test_the_longest_of_the_policies_in_force_counts() -> None:
    assert str(demand_of([policy(24, 1), policy(84, 2), policy(36, 3)])) == (
        "policy small version 2 asks for 84 months of evidence, 2604 days"
    )
    assert str(demand_of([])) == "a policy that does not say otherwise asks for 60 months of evidence, 1860 days"


@pytest.mark.parametrize(("short_ms", "is_wrong"), [(-1, True), (0, False), (1, False)])
def test_the_bound_is_exact(short_ms: int, is_wrong: bool) -> None:
    states = [state("limit-changes", retention_ms=str(24 * 31 * DAY_MS + short_ms))]
    assert bool(evidence_problems(states, demand_of([policy(24)]), AT)) is is_wrong


def test_a_problem_says_what_is_and_what_should_be_and_how_to_get_there() -> None:
    (problem,) = evidence_problems([state("limit-changes", retention_ms="604800000")], demand_of([policy(24)]), AT)
    assert problem.where == "topics"
    assert problem.what == (
        "limit-changes keeps records 7 days (retention.ms=604800000): policy small version 1 asks for 24 months of evidence, 744 days"
    )
    assert problem.cure.startswith(
        "kafka-configs.sh --bootstrap-server broker:9092 --alter --entity-type topics --entity-name limit-changes"
        " --add-config retention.ms=64281600000"
    )


def test_size_and_compaction_lose_evidence_too() -> None:
    worn = state("limit-changes", cleanup_policy="compact,delete", retention_ms=str(FOREVER), retention_bytes="1000")
    (problem,) = evidence_problems([worn], demand_of([]), AT)
    assert "cleanup.policy=compact,delete" in problem.what
    assert "retention.bytes=1000" in problem.what
    assert "--add-config cleanup.policy=delete,retention.bytes=-1" in problem.cure


def test_what_is_no_evidence_or_not_there_is_left_alone() -> None:
    absent = TopicState("limit-changes", "", 0, 0, {})
    assert (
        evidence_problems([absent, state("dead-letters", retention_ms="1"), state("purchases", retention_ms="1")], demand_of([]), AT) == []
    )
