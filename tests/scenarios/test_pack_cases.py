"""Every rule of a pack that changes something: its cases come out as written, and without the rule exactly those that it blocks do not."""

from __future__ import annotations

from functools import cache
from typing import Final

import pytest

from engine.policy.document import Eligibility
from engine.policy.pack_source import built_in_packs
from tests.policy.texts import policy_of
from tests.scenarios.pack_cases import Outcomes, PackCases, combined, postponed, read_packs, without
from tests.scenarios.scenario import Case

FILES: Final = {cases.pack.pack: cases for cases in read_packs()}
CASES: Final = [(name, case) for name, cases in FILES.items() for case in cases.cases]
EFFECTIVE: Final = [(name, rule.name) for name, cases in FILES.items() for rule in cases.pack.rules if rule.duty is None]
INPUTS: Final = [
    (name, rule.name, pattern) for name, cases in FILES.items() for rule in cases.pack.rules for pattern in rule.forbidden_inputs or ()
]


@cache
def outcomes(name: str) -> Outcomes:
    return Outcomes(FILES[name])


@cache
def as_written(name: str) -> dict[str, str | None]:
    return outcomes(name).failures(FILES[name].pack)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{case.place} {case.name}" for _, case in CASES])
def test_it_comes_out_as_written(name: str, case: Case) -> None:
    difference = as_written(name)[case.place]
    assert difference is None, f"\n{difference}"


def test_every_pack_has_cases() -> None:
    assert sorted(FILES) == built_in_packs()


@pytest.mark.parametrize("cases", FILES.values(), ids=FILES)
def test_every_rule_with_an_effect_is_told_both_ways(cases: PackCases) -> None:
    told = {rule.name: rule for rule in cases.rules}
    assert len(told) == len(cases.rules), "a rule is told once"
    ways = {name: {case.is_blocked for case in rule.cases} for name, rule in told.items()}
    effective = {rule.name for rule in cases.pack.rules if rule.duty is None}
    untold = sorted(name for name in effective if ways.get(name) != {True, False})
    assert not untold, f"a rule with an effect has a case that it blocks and one that it passes: {untold}"
    duties = {rule.name for rule in cases.pack.rules} - effective
    assert all(name in duties and ways[name] == {False} for name in told.keys() - effective), "a duty blocks nothing"
    assert {name for case in cases.cases for name in case.leans_on} <= effective


@pytest.mark.parametrize(("name", "rule"), EFFECTIVE, ids=[rule for _, rule in EFFECTIVE])
def test_without_the_rule_exactly_what_it_blocks_comes_out_otherwise(name: str, rule: str) -> None:
    cases = FILES[name]
    outcome = outcomes(name).failures(without(cases.pack, rule))
    expected = {case.place for case in cases.cases if case.breaks_without(rule)}
    differs = {place for place, difference in outcome.items() if difference is not None}
    names = {case.place: case.name for case in cases.cases}
    still = "\n".join(f"{place}: {names[place]}: comes out the same without {rule}" for place in sorted(expected - differs))
    others = "\n".join(f"without {rule} also {outcome[place]}" for place in sorted(differs - expected))
    assert differs == expected, f"\n{still}\n{others}"
    assert outcomes(name).failures(postponed(cases.pack, rule)) == outcome, "a rule that does not bind yet is as one that is not there"


@pytest.mark.parametrize("name", FILES)
def test_without_its_duties_all_comes_out_the_same(name: str) -> None:
    pack = FILES[name].pack
    duties = [rule.name for rule in pack.rules if rule.duty is not None]
    assert outcomes(name).failures(without(pack, *duties)) == as_written(name)


def test_every_name_that_is_forbidden_is_found() -> None:
    small = policy_of("version: 1")
    (segment,) = small.segments
    for name, rule, pattern in INPUTS:
        pack = FILES[name].pack
        figure = f"attributes.{pattern.replace('*', '_of_the_customer')}"
        test = Eligibility(code="reads", figure=figure, at_least=1)
        policy = small.model_copy(update={"segments": (segment.model_copy(update={"eligibility": (test,)}),)})
        lenders = next(each.lenders for each in pack.rules if each.name == rule)
        lender = None if lenders is None else lenders[0]
        _, problems = combined(policy, pack, lender)
        assert [p.path for p in problems if f"which {rule} forbids" in p.message] == [("segments", 0, "eligibility", 0, "figure")], pattern
        _, problems = combined(policy, without(pack, rule), lender)
        assert not any(f"which {rule} forbids" in problem.message for problem in problems)
