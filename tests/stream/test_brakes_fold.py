"""The portfolio's brakes in the machine: what is told over a downturn is what the oracle's shard says in the order of the journal, also where the
machine was restarted and sweeps came in slices between the batches."""

from __future__ import annotations

import json
from collections import defaultdict
from random import Random
from typing import Any, Final

import pytest

from engine.core.layout import Topic
from engine.policy.document import Appetite, AppetiteBand, Brakes, Breaker, Policy
from engine.state.cache import Room
from engine.state.record import JournalRecord
from engine.stream.records import Chunk
from engine.stream.turn import DecisionMachine
from schemas.topics import CHANGES
from scripts.personas import DAY_MS
from tests.e2e.audit import BRAKED, assert_told, fold
from tests.stream.runs import KEY, START_MS, Inputs, Shard, activation, lives, promoted

CONTRACTED_MS: Final = START_MS + 80 * DAY_MS
RENEWED_MS: Final = START_MS + 85 * DAY_MS
RELEASED_MS: Final = START_MS + 88 * DAY_MS


def braked(policy: Policy, budgets: dict[str, int], percent: int) -> Policy:
    """A policy with brakes in every segment, and a contraction that halves every limit at once."""
    segments = []
    for segment in policy.segments:
        contraction = tuple(AppetiteBand(band=band.name, percent=50) for band in segment.bands)
        brakes = Brakes(budget_minor=budgets[segment.name], breaker=Breaker(percent=percent, min_evaluations=20))
        segments.append(segment.model_copy(update={"appetite": Appetite(contraction=contraction), "brakes": brakes}))
    return policy.model_copy(update={"segments": tuple(segments)})


FIRST: Final = braked(promoted("default"), {"individual": 1_000_000, "enterprise": 9_000_000}, percent=2)
SECOND: Final = braked(promoted("default"), {"individual": 300_000, "enterprise": 6_000_000}, percent=20).model_copy(update={"version": 2})


def said(kind: str, at: str, **fields: Any) -> bytes:
    """A control record of the lender's."""
    people = {"issued_by": "committee", "approved_by": "board"}
    return json.dumps({"control_id": f"{kind} {at}", "issued_at": at, **people, "kind": kind, "reason": "a downturn", **fields}).encode()


@pytest.fixture(scope="module")
def downturn() -> Inputs:
    """Three months of thirty customers: a contraction after eighty days, other brakes after eighty-five, a release after eighty-eight."""
    contraction = {"segment": "individual", "mode": "contraction", "expected_decreases": 1}
    values: list[bytes | None] = [
        activation(FIRST),
        said("appetite", "2025-05-20T00:00:00Z", **contraction),
        activation(SECOND, control_id="second"),
        said("release_breaker", "2025-05-28T00:00:00Z"),
    ]
    times = [START_MS, CONTRACTED_MS, RENEWED_MS, RELEASED_MS]
    inputs = lives(FIRST, accounts=30, days=92, seed=4)
    return inputs | {Topic.CONTROL: Chunk.of(Topic.CONTROL, list(range(len(values))), times, [None] * len(values), values, None)}


async def restarted(inputs: Inputs, random: Random) -> list[JournalRecord]:
    """A shard's journal with slices of sweeps between the batches, by a machine that forgets everything now and then."""
    shard, journal = Shard.of(inputs, 50), []
    while (record := await shard.turn(random.randrange(50, 400), 30)) is not None:
        journal.append(record)
        while random.random() < 0.7:
            swept = await shard.slice(random.randrange(1, 200), random.randrange(1, 40))
            journal += [swept] if swept is not None else []
        if random.random() < 0.3:
            shard.machine = DecisionMachine("limits", 0, 1, KEY, Room(50, 20_000))
            shard.machine.restore(await shard.store.shard_fields())
    return journal


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_told_is_what_the_oracle_says(downturn: Inputs, seed: int) -> None:
    journal = await restarted(downturn, Random(seed))
    outputs = [(output.topic, json.loads(output.value)) for record in journal for output in record.outputs]
    told: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for topic, value in outputs:
        if topic == CHANGES.name:
            told[value["account_id"]].append(value)
    folded = fold(journal, downturn)
    assert_told(folded, told)
    braked_accounts = [(value["account_id"], value["kind"]) for _, value in outputs if value["kind"] in BRAKED]
    assert braked_accounts == folded.braked
    assert {kind for _, kind in folded.braked} == set(BRAKED)
