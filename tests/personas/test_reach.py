"""What the demo shows: every rule of the decision that the default policy can come to, in the lives and with the answers of its own customers.

A rule that nobody reaches any more is a rule that nobody who tries the engine out will ever see at work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from inspect import signature
from typing import Any, Final, get_args

import pytest

from engine.cli.demo import demo
from engine.core.layout import Bound, Guard, Refused
from engine.policy.explain import RULE_TEXTS
from engine.policy.outlook import HOLD_TEXTS
from schemas.advisories import Advisory
from schemas.changes import ChangeKind
from scripts.personas import PERSONAS, Item, life, persona_of, population
from scripts.spoil import Shares, spoil
from tests.personas.lives import POLICY, START_MS, Outcome, answered

ACCOUNTS, DAYS, SEED = (signature(demo).parameters[name].default for name in ("accounts", "days", "seed"))

ADVISORY_KINDS: Final = {kind for model in get_args(get_args(Advisory)[0]) for kind in get_args(model.model_fields["kind"].annotation)}
BEYOND: Final = {"product_cap", "legal_cap"}  # only the best band comes to them, and to who is in it nothing is advised
UNTOLD: Final = {"quiet_hours", "consent_missing"}  # guards of which nobody is told: docs/policy.md, 9.10
BRAKES: Final = {"budget_spent", "breaker", "breaker_tripped"}  # for a portfolio far larger than the demo's (docs/policy.md, 9c)
NAMELESS: Final = {"score"}  # a limit that no rule and no feature speaks for: the default policy has none


def names(enum: Any, *without: Any) -> set[str]:
    """The words of an enumeration."""
    return {member.name.lower() for member in enum if member not in without}


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """A whole demo, decided day by day."""
    return answered(spoil(population(ACCOUNTS, SEED, START_MS, DAYS), SEED, Shares(), Counter()), SEED)


@pytest.fixture(scope="module")
def outputs(outcome: Outcome) -> list[dict[str, Any]]:
    """All that was announced."""
    return [output for told in (outcome.changes, outcome.advisories) for of_one in told.values() for output in of_one]


def traces(outputs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The evaluations that were shown."""
    return (output["trace"] for output in outputs if output.get("trace"))


def codes(outputs: Iterable[dict[str, Any]], of: str = "reasons") -> set[str]:
    """Codes of reasons or advice."""
    return {entry["code"] for output in outputs for entry in output.get(of, ())}


def test_every_persona_is_there() -> None:
    assert {persona_of(n, SEED) for n in range(ACCOUNTS)} == set(PERSONAS)


def test_every_kind_of_output(outputs: list[dict[str, Any]]) -> None:
    assert {output["kind"] for output in outputs} == {*get_args(ChangeKind), *ADVISORY_KINDS} - {"reopen"} - BRAKES


def test_every_guard(outputs: list[dict[str, Any]]) -> None:
    shown = {trace["guard"] for trace in traces(outputs)} | {output["guard"] for output in outputs if "guard" in output}
    assert names(Guard, Guard.NONE) - BRAKES <= shown


def test_everything_that_binds_a_limit(outputs: list[dict[str, Any]]) -> None:
    assert names(Bound) <= {trace["bound_by"] for trace in traces(outputs)}


def test_every_refusal(outputs: list[dict[str, Any]]) -> None:
    """Those that are no guards, and what guards refuse."""
    refused = {output["reason"] for output in outputs if output["kind"] == "command_result"} - {None}
    assert names(Refused, Refused.NONE, Refused.GUARD) <= refused
    assert {"hold", "override", "blocked", "cool_down_up"} <= refused


def test_every_reason(outputs: list[dict[str, Any]]) -> None:
    """The engine's own and the policy's."""
    assert set(RULE_TEXTS) - codes(outputs) - BRAKES == UNTOLD | NAMELESS
    for segment in POLICY.segments:
        shown = codes(output for output in outputs if is_of(output, segment.name))
        assert {requirement.code for requirement in segment.eligibility} <= shown
    assert codes(outputs, "advice") >= set(HOLD_TEXTS) - BEYOND


def is_of(output: dict[str, Any], segment: str) -> bool:
    """Whether an output is about an account of this segment."""
    return ("shop" in output["account_id"]) == (segment == "enterprise")


def test_every_band_and_every_rate(outcome: Outcome) -> None:
    standings = [(change["trace"]["segment"], change["standing"]) for of_one in outcome.changes.values() for change in of_one]
    for segment in POLICY.segments:
        mine = [standing for name, standing in standings if name == segment.name]
        assert segment.rates is not None
        assert {tier.name for tier in segment.rates.tiers} <= {standing["rate_tier"] for standing in mine}
        assert {band.name for band in segment.bands[1:]} <= {standing["band"] for standing in mine}


def test_offers_are_taken_and_refused_and_left(outcome: Outcome) -> None:
    kinds = Counter(change["kind"] for changes in outcome.changes.values() for change in changes)
    assert kinds["offer_accepted"] > kinds["offer_declined"] > 0
    assert kinds["offer"] >= kinds["offer_accepted"] + kinds["offer_declined"] + kinds["offer_expired"] > 0


def test_core_banking_is_mostly_right(outcome: Outcome) -> None:
    mismatches = [a for advisories in outcome.advisories.values() for a in advisories if a["kind"] == "standing_mismatch"]
    assert 0 < len(mismatches) < len(outcome.changes) // 10
    assert all(a["applied_sequence"] < a["sequence"] for a in mismatches)


def test_the_answers_are_the_seeds() -> None:
    items: list[Item] = sorted(item for n in range(3) for item in life("own_master", f"own_master-{n}", n, START_MS, 120))
    once, again, other = (answered(spoil(items, 1, Shares(), Counter()), seed) for seed in (1, 1, 3))
    assert once.changes == again.changes
    assert once.states == again.states
    assert once.changes != other.changes
