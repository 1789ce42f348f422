"""The rules of the packs as data: what each rule with an effect stops, and what goes through all the same.

A file ``packs/<pack>.yaml`` names its ``pack`` and lists ``rules``: the ``rule``'s name, the cases that it ``blocks`` (that come out as they do
because of the rule), those that it ``passes`` (that come out the same without it), and the kind of ``lender`` whose cases they are (without it
every rule of the pack binds). A duty changes nothing: what it passes is what the engine does towards it. A case is either a scenario
(``scenario.py``) under ``packs/policy.yaml`` and the change of it that the file names as ``policy``, combined with the pack; or the check of a
policy that somebody writes::

    - check: A feature that reads a religion
      policy: |                                        # a part of a policy, completed by a small one (tests/policy/texts.py)
        features: [{name: f, kind: profile, figure: attributes.religion}]
      says: ["1:45: features[0].figure: reads ..."]    # every mistake, none if left out
      becomes: {evidence_months: 25}                   # what the combined policy says where

``leans_on`` names other rules of the pack without which the case would come out otherwise too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from ruamel.yaml import YAML

from engine.policy.combine import Combination, combine
from engine.policy.document import PackUse, Policy
from engine.policy.errors import PolicyErrors, Problem
from engine.policy.pack import Pack
from engine.policy.pack_source import load_pack, pack_file
from engine.policy.promote import canonical_bytes
from engine.policy.source import parse_policy
from engine.policy.text import Text, located, read_mapping
from tests.policy.texts import completed
from tests.scenarios.scenario import HERE, Case, Plain, Scenario, both_ways, come_of, difference, lender, scenario_of

PACKS: Final = HERE / "packs"
TODAY: Final = date(2026, 11, 25)
SOURCE: Final = "policy.yaml"
CUSTOMER: Final[Plain] = {
    "grade": 15,
    "applied": 0,
    "consent": 0,
    "income": 1_000_000,
    "employment": "job",
    "debt_service_monthly_minor": 0,
    "credit_record": {"delinquencies_24m": 0, "persistent_debt_months": 0},
}


@dataclass(frozen=True)
class Check(Case):
    """A policy as somebody writes it: the mistakes that are told, and what becomes of it."""

    text: Text
    policy: Policy
    says: tuple[str, ...]
    becomes: Plain


@dataclass(frozen=True)
class RuleCases:
    """A rule's cases, and the kind of lender that they are about."""

    name: str
    place: str
    lender: str | None
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class PackCases:
    """A pack with the cases of its rules, and the policy of its scenarios."""

    pack: Pack
    policy: Policy
    rules: tuple[RuleCases, ...]

    @property
    def cases(self) -> list[Case]:
        """The cases of all rules."""
        return [case for rule in self.rules for case in rule.cases]


# Reading


def read_packs() -> list[PackCases]:
    """The cases of every pack."""
    yaml = YAML(typ="rt", pure=True)
    files = sorted(path for path in PACKS.glob("*.yaml") if path.name != "policy.yaml")
    return [_pack_cases(path.name, yaml.load(path.read_text("utf-8"))) for path in files]


def _pack_cases(file: str, plain: Any) -> PackCases:
    _known(file, plain, {"pack", "policy", "rules"})
    pack = load_pack(pack_file(plain["pack"], PACKS))
    policy = lender(plain.get("policy"), PACKS / "policy.yaml")
    return PackCases(pack, policy, tuple(_rule_cases(f"packs/{file}", rule) for rule in plain["rules"]))


def _rule_cases(file: str, plain: Any) -> RuleCases:
    place = f"{file}:{plain.lc.line + 1}"
    _known(place, plain, {"rule", "lender", "blocks", "passes"})
    cases = (
        _check(file, plain["rule"], is_blocked, each) if "check" in each else scenario_of(file, plain["rule"], is_blocked, each, CUSTOMER)
        for is_blocked, each in both_ways(plain)
    )
    return RuleCases(plain["rule"], place, plain.get("lender"), tuple(cases))


def _check(file: str, rule: str, is_blocked: bool, plain: Any) -> Check:
    place = f"{file}:{plain.lc.line + 1}"
    _known(place, plain, {"check", "leans_on", "policy", "says", "becomes"})
    raw = completed(plain["policy"]).encode()
    return Check(
        place=place,
        name=plain["check"],
        rule=rule,
        is_blocked=is_blocked,
        leans_on=tuple(plain.get("leans_on", ())),
        text=read_mapping(raw, SOURCE, "a policy", ""),
        policy=parse_policy(raw, SOURCE),
        says=tuple(plain.get("says", ())),
        becomes=dict(plain.get("becomes", {})),
    )


def _known(place: str, plain: Any, keys: set[str]) -> None:
    assert plain.keys() <= keys, f"{place}: there is {sorted(keys)} here, and not {sorted(plain.keys() - keys)}"


# Packs that lack something


def without(pack: Pack, *names: str) -> Pack:
    """The pack without these rules, which still knows the kinds of lender that it knew."""
    rules = tuple(rule for rule in pack.rules if rule.name not in names)
    return pack.model_copy(update={"rules": rules, "lenders": tuple(pack.kinds_of_lender) or None})


def postponed(pack: Pack, name: str) -> Pack:
    """The pack with a rule that binds from tomorrow on."""
    tomorrow = {"valid_from": (TODAY + timedelta(days=1)).isoformat()}
    return pack.model_copy(update={"rules": tuple(rule.model_copy(update=tomorrow) if rule.name == name else rule for rule in pack.rules)})


# What comes out


def combined(policy: Policy, pack: Pack, kind_of_lender: str | None) -> tuple[Combination | None, list[Problem]]:
    """A policy whose segments are what their names say, combined with a pack."""
    clienteles = {"individual": "consumer", "enterprise": "business"}
    segments = {clienteles[segment.name]: (segment.name,) for segment in policy.segments}
    use = PackUse.model_validate({"pack": pack.pack, "lender": kind_of_lender, **segments})
    return combine(policy.model_copy(update={"packs": (use,)}), {pack.pack: pack}, TODAY)


class Outcomes:
    """What comes of a pack's cases where the pack is another one; scenarios are run once for each policy that this makes."""

    def __init__(self, cases: PackCases) -> None:
        self.of = cases
        self._came: dict[tuple[str | None, bytes], list[list[Plain]]] = {}

    def failures(self, pack: Pack) -> dict[str, str | None]:
        """How each case differs, by its place; None where it comes out as written."""
        return dict(self._failures(pack))

    def _failures(self, pack: Pack) -> Iterator[tuple[str, str | None]]:
        for kind_of_lender in dict.fromkeys(rule.lender for rule in self.of.rules):
            cases = [case for rule in self.of.rules if rule.lender == kind_of_lender for case in rule.cases]
            scenarios = [case for case in cases if isinstance(case, Scenario)]
            for scenario, came in zip(scenarios, self._come(scenarios, pack, kind_of_lender), strict=True):
                yield scenario.place, difference(scenario, came)
            for check in cases:
                if isinstance(check, Check):
                    yield check.place, _check_difference(check, *combined(check.policy, pack, kind_of_lender))

    def _come(self, scenarios: list[Scenario], pack: Pack, kind_of_lender: str | None) -> list[list[Plain]]:
        if not scenarios:
            return []
        combination, problems = combined(self.of.policy, pack, kind_of_lender)
        assert combination is not None, problems
        deciding = canonical_bytes(combination.policy.model_copy(update={"law": None}))
        if (kind_of_lender, deciding) not in self._came:
            self._came[kind_of_lender, deciding] = come_of(combination.policy, scenarios)
        return self._came[kind_of_lender, deciding]


def _check_difference(check: Check, combination: Combination | None, problems: list[Problem]) -> str | None:
    """What was told of a policy, or became of it, instead of what was expected, for people."""
    errors = PolicyErrors(located(problems, check.text)).errors
    said = tuple(str(error).removeprefix(f"{SOURCE}:") for error in errors)
    plain = None if combination is None else combination.policy.model_dump(mode="json", by_alias=True)
    became = {path: "refused" if plain is None else _at(plain, path) for path in check.becomes}
    if (said, became) == (check.says, check.becomes):
        return None
    lines = ["  expected", *(f"    {line}" for line in check.says), f"    {check.becomes}", "  came", *(f"    {line}" for line in said)]
    return "\n".join([f"{check.place}: {check.name}", *lines, f"    {became}"])


def _at(plain: Any, path: str) -> Any:
    for step in path.split("."):
        plain = plain[int(step)] if isinstance(plain, list) else plain[step]
    return plain
