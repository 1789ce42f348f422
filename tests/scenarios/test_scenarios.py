"""Every scenario comes out as written; and without a rule exactly those that it blocks do not."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import pytest

from engine.core.layout import Bound, Guard, Kind, Refused
from tests.scenarios.scenario import Rule, Scenario, failures, read_rules

RULES: Final = read_rules()
SCENARIOS: Final = [scenario for rule in RULES for scenario in rule.scenarios]


@pytest.fixture(scope="module")
def outcome() -> dict[str, str | None]:
    return failures(RULES)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[f"{each.place} {each.name}" for each in SCENARIOS])
def test_it_comes_out_as_written(scenario: Scenario, outcome: dict[str, str | None]) -> None:
    assert outcome[scenario.place] is None, f"\n{outcome[scenario.place]}"


def test_every_rule_is_told_once_and_both_ways() -> None:
    names = [rule.name for rule in RULES]
    assert sorted(set(names)) == sorted(names)
    assert {name for scenario in SCENARIOS for name in scenario.leans_on} <= set(names)
    for rule in RULES:
        assert {scenario.is_blocked for scenario in rule.scenarios} == {True, False}, rule.place


def test_whatever_the_engine_may_say_is_said_in_a_scenario() -> None:
    """Every kind, every refusal, every cap and rule that bound a target, and every guard: told, or by its rule where it is silent."""
    lines = [line for scenario in SCENARIOS for line in scenario.expected]

    def told(*names: str) -> set[str]:
        return {line[name] for line in lines for name in names if line.get(name) is not None}

    def missing(words: type[IntEnum], said: set[str]) -> set[str]:
        return {word.name.lower() for word in words if word.name != "NONE"} - said

    answers = {"command_accepted", "command_refused"}  # both are of the kind command_result
    assert missing(Kind, told("kind")) == answers
    assert missing(Refused, told("refused")) == {"guard"}
    assert missing(Bound, told("bound_by")) == set()
    assert missing(Guard, told("guard", "refused") | {rule.name for rule in RULES}) == {"closed"}  # its rules are close_by_...


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_without_the_rule_exactly_what_it_blocks_comes_out_otherwise(rule: Rule) -> None:
    outcome = failures(RULES, rule.off)
    expected = {scenario.place for scenario in SCENARIOS if scenario.breaks_without(rule.name)}
    differs = {place for place, difference in outcome.items() if difference is not None}
    names = {scenario.place: scenario.name for scenario in SCENARIOS}
    still = "\n".join(f"{place}: {names[place]}: comes out the same without {rule.name}" for place in sorted(expected - differs))
    others = "\n".join(f"without {rule.name} also {outcome[place]}" for place in sorted(differs - expected))
    assert differs == expected, f"\n{rule.place}\n{still}\n{others}"
