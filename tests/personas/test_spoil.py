"""Every kind of fault gives what it should: broken records are dead letters and nothing else, repetitions change nothing, what comes late or is
taken back is measured as if it had come in time or never."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Final

import pytest

from engine.policy.compile import compile_policy
from engine.policy.promote import promote
from engine.stream.inspection import inspect_account
from engine.stream.offline import EPOCH
from scripts.personas import DAY_MS, Item, life, population
from scripts.spoil import Arrival, Shares, broken, spoil
from tests.personas.lives import KEY, POLICY, START_MS, arrived, decided, log_of

ACCOUNTS: Final = 40
DAYS: Final = 120
NONE: Final = Shares(late=0, duplicate=0, reversed=0, broken=0)
COMPILED: Final = compile_policy(promote(POLICY, None, EPOCH), KEY)
BY_ARRIVAL: Final = ("top", "round_trips")  # what they hold depends on the order in which records arrive
SEEDS: Final = pytest.mark.parametrize("seed", [1, 2, 3])


def spoiled(seed: int, shares: Shares, accounts: int = ACCOUNTS, days: int = DAYS) -> tuple[list[Arrival], Counter[str]]:
    """A population's records with these faults, and how many there are of each."""
    faults: Counter[str] = Counter()
    return list(spoil(population(accounts, seed, START_MS, days), seed, shares, faults)), faults


def measured(items: list[Item], seed: int, shares: Shares) -> dict[str, Any]:
    """The measures of one account's items with these faults, looked at a week after the last one."""
    arrivals = list(spoil(items, seed, shares, Counter()))
    last = max(arrival.at_ms for arrival in arrivals)
    account = items[0].value["account_id"]
    outcome = decided(arrived(arrivals))
    assert last - items[-1].at_ms < 7 * DAY_MS
    inspected = inspect_account(COMPILED, "limits", account.encode(), outcome.states[account.encode()], last)
    kept = {measure["measure"]: measure for measure in inspected["measures"] if measure["kind"] not in BY_ARRIVAL}
    return {name: measure.get("tiles", measure.get("value")) for name, measure in kept.items()}


def test_what_is_kept_by_arrival_can_be_looked_at() -> None:
    items = life("growing_shop", "a", 1, START_MS, 30)
    state = decided(log_of(items)).states[b"a"]
    inspected = {m["measure"]: m for m in inspect_account(COMPILED, "limits", b"a", state, items[-1].at_ms)["measures"]}
    words = [(word["amount_minor"], word["fingerprint"]) for word in inspected["top_payers"]["words"]]
    assert words == sorted(words, reverse=True)
    assert 0 < words[0][0] < inspected["top_payers"]["total_minor"]
    (draw,) = [item for item in items if item.value.get("purpose") == "draw"]
    at_draw = decided(log_of(items[: items.index(draw) + 1])).states[b"a"]
    inspected = {m["measure"]: m for m in inspect_account(COMPILED, "limits", b"a", at_draw, draw.at_ms)["measures"]}
    transfer = inspected["round_trips"]["transfers"][-1]
    assert (transfer["direction"], transfer["amount_minor"], transfer["rest_minor"]) == ("in", *[draw.value["amount_minor"]] * 2)


def test_the_same_seed_gives_the_same_records() -> None:
    once, again, other = (spoiled(seed, Shares()) for seed in (5, 5, 6))
    assert once == again
    assert once != other
    assert set(once[1]) == {"late", "duplicate", "reversed", "broken"}
    assert [arrival.at_ms for arrival in once[0]] == sorted(arrival.at_ms for arrival in once[0])


def test_nothing_is_spoiled_by_nothing() -> None:
    items = list(population(ACCOUNTS, 5, START_MS, DAYS))
    arrivals, faults = spoiled(5, NONE)
    assert not faults
    assert arrived(arrivals) == log_of(items)


@SEEDS
def test_broken_records_are_dead_letters_and_harm_nobody(seed: int) -> None:
    arrivals, faults = spoiled(seed, Shares(broken=0.05))
    log = arrived(arrivals)
    outcome = decided(log)
    assert len(outcome.dead_letters) == faults["broken"]
    assert {ref.disposition for ref in outcome.dead_letters} == {"not_json", "invalid", "unknown_field", "currency_mismatch"}
    rejected = {(ref.topic, ref.offset) for ref in outcome.dead_letters}
    good = [record for record, arrival in zip(log, arrivals, strict=True) if (arrival.topic, record.offset) not in rejected]
    assert len(good) == len(log) - faults["broken"]
    alone = decided(good)
    assert alone.dead_letters == []
    assert alone.changes == outcome.changes
    assert alone.states == outcome.states


def test_each_way_of_breaking_a_record_is_a_dead_letter() -> None:
    items = [item for item in life("late_payer", "a", 1, START_MS, 60) if item.topic != "account-profiles"]
    random = Random(3)
    log = arrived(Arrival(item.at_ms, 0, item.topic, b"a", broken(item, random)) for item in items)
    assert len(decided(log).dead_letters) == len(items)


@SEEDS
def test_repetitions_change_nothing(seed: int) -> None:
    arrivals, faults = spoiled(seed, Shares(duplicate=0.2))
    log = arrived(arrivals)
    seen: set[tuple[str, bytes]] = set()
    first = []
    for record, arrival in zip(log, arrivals, strict=True):
        first += [record] if (arrival.topic, arrival.value) not in seen else []
        seen.add((arrival.topic, arrival.value))
    assert len(first) == len(log) - faults["duplicate"]
    repeated, once = decided(log), decided(first)
    assert repeated.verdicts["duplicate"] == faults["duplicate"] > 500
    assert repeated.changes == once.changes
    assert repeated.states == once.states


@SEEDS
@pytest.mark.parametrize("persona", ["student", "growing_shop"])
def test_what_comes_late_is_measured_in_its_own_time(persona: str, seed: int) -> None:
    items = life(persona, "a", seed, START_MS, 90)
    items = [item for item in items if item.topic != "repayments"]  # a late payment is late
    items += life(persona, "a", seed, START_MS + 96 * DAY_MS, 1)[:1]  # a week later: both clocks stand alike, and no hour is left
    items[-1].value["event_id"] = "last"
    in_time, late = (measured(items, seed, shares) for shares in (NONE, Shares(late=0.3, duplicate=0, reversed=0, broken=0)))
    assert in_time == late
    assert in_time["purchase_volume"]


@SEEDS
def test_what_is_taken_back_was_never_bought(seed: int) -> None:
    items = life("student", "a", seed, START_MS, 90)
    bought = measured(items, seed, NONE)
    taken_back = measured(items, seed, Shares(late=0, duplicate=0, reversed=1, broken=0))
    for name in ("purchases", "purchase_volume"):
        assert bought[name]
        assert taken_back[name] == []
    assert taken_back["receipts_volume"]
