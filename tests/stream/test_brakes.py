"""The portfolio's brakes in the machine: counted with the records, journaled, kept over restarts and replays, released by a control record."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any, Final

import pytest

from engine.core.layout import Topic
from engine.policy.document import Brakes as BrakesDocument
from engine.policy.document import Breaker, Policy
from engine.state import keys
from engine.state.cache import Room
from engine.state.memory_store import MemoryStore
from engine.state.record import JournalRecord
from engine.stream.brakes import Brakes, Counts, share
from engine.stream.records import Chunk
from engine.stream.replay import Replay, differences
from engine.stream.turn import DecisionMachine
from scripts.personas import DAY_MS
from tests.stream.runs import KEY, START_MS, Inputs, Shard, activation, between, control, encoded, lives, promoted

BUDGET: Final = 1_500_000
BREAKER: Final = Breaker(percent=2, min_evaluations=100)
PARTITIONS: Final = 2
RELEASED_MS: Final = START_MS + 125 * DAY_MS


def braked(policy: Policy, budget: int | None = BUDGET, breaker: Breaker | None = BREAKER) -> Policy:
    """A policy with brakes in each segment."""
    brakes = BrakesDocument(budget_minor=budget, breaker=breaker)
    return policy.model_copy(update={"segments": tuple(s.model_copy(update={"brakes": brakes}) for s in policy.segments)})


DEFAULT: Final = braked(promoted("default"))


def release(**other: Any) -> bytes:
    """The control record that releases breakers; ``other`` fields take the place of its own."""
    value = {
        "control_id": "go on",
        "issued_at": "2025-06-01T00:00:00Z",
        "issued_by": "committee",
        "kind": "release_breaker",
        "reason": "the feed is mended",
    }
    return json.dumps({name: field for name, field in (value | other).items() if field is not None}).encode()


@pytest.fixture(scope="module")
def half_a_year() -> Inputs:
    """Sixty customers in five months, and a release after four."""
    inputs = lives(DEFAULT, accounts=60, days=150, seed=5)
    values: list[bytes | None] = [activation(DEFAULT), release()]
    return inputs | {Topic.CONTROL: Chunk.of(Topic.CONTROL, [0, 1], [START_MS, RELEASED_MS], [None] * 2, values, None)}


def shard_of(inputs: Inputs, cache: int = 80) -> Shard:
    return Shard.of(inputs, cache, 1, PARTITIONS)


def counts_of(journal: list[JournalRecord]) -> list[dict[str, Counts]]:
    """What was counted, each time that it was told."""
    told = (dict(record.fields).get(keys.BRAKES) for record in journal)
    return [dict(Brakes.decode(raw).by_segment) for raw in told if raw is not None]


def outputs(journal: list[JournalRecord]) -> list[dict[str, Any]]:
    return [json.loads(output.value) for record in journal for output in record.outputs]


@pytest.mark.parametrize("total", [0, 1, 11, 12, 13, 10**9 + 7])
def test_the_shares_are_the_whole(total: int) -> None:
    shares = [share(total, shard, 12) for shard in range(12)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


async def test_the_brakes_bite_and_say_so(half_a_year: Inputs) -> None:
    """Whatever the batches and sweeps."""
    journal = await shard_of(half_a_year).journal(sweeps=Random(1))
    counts, told = counts_of(journal), outputs(journal)
    kinds = Counter(output["kind"] for output in told)
    assert kinds["budget_spent"] >= 5
    assert kinds["breaker_tripped"] >= 1
    assert {output["guard"] for output in told if output["kind"] == "increase_withheld"} >= {"budget_spent"}
    mine = share(BUDGET, 1, PARTITIONS)
    assert max(segment.raised_minor for each in counts for segment in each.values()) <= mine
    for output in told:
        if output["kind"] == "budget_spent":
            assert (output["share_minor"], output["raised_minor"] <= mine) == (mine, True)
        if output["kind"] == "breaker_tripped":
            floor = share(BREAKER.min_evaluations, 1, PARTITIONS)
            assert (output["lowered"] + 1) * 100 > 2 * max(output["evaluated"], floor) >= output["lowered"] * 100


async def test_what_was_raised_is_what_was_announced(half_a_year: Inputs) -> None:
    journal = await shard_of(half_a_year).journal(records_max=50)
    before: dict[str, Counts] = {}
    for record in journal:
        raised = Counter[str]()
        for output in (json.loads(output.value) for output in record.outputs):
            if output["kind"] in ("grant", "increase", "offer_accepted") and output["trace"]["bound_by"] != "override":
                raised[output["trace"]["segment"]] += output["standing"]["limit_minor"] - output["previous"]["limit_minor"]
        told = dict(record.fields).get(keys.BRAKES)
        now = before if told is None else dict(Brakes.decode(told).by_segment)
        for segment, counts in now.items():
            was = before.get(segment, Counts())
            if counts.day == was.day:
                assert counts.raised_minor - was.raised_minor == raised[segment]
            else:
                assert counts.raised_minor <= raised[segment]  # a part of them was still of the day before
        before = now


async def test_cuts_and_restarts_and_taking_back_change_nothing(half_a_year: Inputs) -> None:
    whole = await shard_of(half_a_year).journal(accounts_max=30)
    small = await shard_of(half_a_year).journal(records_max=37, accounts_max=11)
    assert [o.value for record in whole for o in record.outputs] == [o.value for record in small for o in record.outputs]
    assert counts_of(whole)[-1] == counts_of(small)[-1]

    shard, random = shard_of(half_a_year), Random(2)
    taken = []
    while (batch := shard.alignment.take(2_000, 30, 10**9, has_policy=shard.machine.policy is not None)) is not None:
        prepared = shard.machine.prepare(batch)
        shard.machine.admit((await shard.store.load(prepared.missing)).values)
        record = shard.machine.execute(prepared, batch.watermark_ms)
        if Topic.CONTROL not in batch.chunks and random.random() < 0.3:
            shard.machine.take_back()
            again = shard.machine.prepare(batch)
            shard.machine.admit((await shard.store.load(again.missing)).values)
            assert shard.machine.execute(again, batch.watermark_ms).encode() == record.encode()
        shard.alignment.settle(batch, batch.watermark_ms)
        await shard.store.apply(record, -1)
        taken.append(record)
        if random.random() < 0.3:
            shard.machine = DecisionMachine("limits", 1, PARTITIONS, KEY, Room(80, 20_000))
        shard.machine.restore(await shard.store.shard_fields())
    assert list(encoded(taken)) == list(encoded(whole))


async def test_a_replay_gives_the_journal_byte_for_byte(half_a_year: Inputs) -> None:
    journal = await shard_of(half_a_year).journal(records_max=211, accounts_max=13, sweeps=Random(3))

    async def entries() -> Any:
        for record in journal:
            yield record, record.encode(), between(half_a_year, record)

    replay = Replay(DecisionMachine("limits", 1, PARTITIONS, KEY, Room(500, 20_000)), MemoryStore())
    assert [sequence async for sequence in differences(replay, entries())] == []


async def test_a_release_decides_anew_where_it_is_tripped(half_a_year: Inputs) -> None:
    """A sweep behind it looks at everybody; where no breaker is tripped there is none."""
    tripped = await shard_of(half_a_year).journal(sweeps=Random(1))
    at = next(i for i, record in enumerate(tripped) if record.cuts and record.cuts[0].topic == "limit-control" and i)
    before, after = counts_of(tripped[:at])[-1], counts_of(tripped[: at + 1])[-1]
    assert [name for name, counts in before.items() if counts.is_tripped]
    assert not [name for name, counts in after.items() if counts.is_tripped]
    assert b"go on" in dict(tripped[at].fields)[keys.SWEEP]
    anew = [output for output in outputs(tripped) if (output["cause"]["kind"], output["cause"]["id"]) == ("control", "go on")]
    assert {output["kind"] for output in anew} & {"announce", "decrease"}

    calm = braked(promoted("default"), breaker=Breaker(percent=100, min_evaluations=10**6))
    values: list[bytes | None] = [activation(calm), release()]
    chunk = Chunk.of(Topic.CONTROL, [0, 1], [START_MS, RELEASED_MS], [None] * 2, values, None)
    ready = await shard_of(half_a_year | {Topic.CONTROL: chunk}).journal(sweeps=Random(1))
    assert not any(b"go on" in dict(record.fields).get(keys.SWEEP, b"") for record in ready)
    assert not any(letter.topic == "limit-control" for record in ready for letter in record.dead_letters)


async def test_an_appetite_says_how_many_decreases_are_expected() -> None:
    switch = {
        "control_id": "less",
        "issued_at": "2025-03-02T00:00:00Z",
        "issued_by": "committee",
        "approved_by": "board",
        "kind": "appetite",
        "segment": "individual",
        "mode": "neutral",
        "expected_decreases": 7,
        "reason": "a downturn",
    }
    journal = await Shard.of({Topic.CONTROL: control(activation(DEFAULT), json.dumps(switch).encode())}, 10, 0, PARTITIONS).journal()
    assert [each["individual"].expected_decreases for each in counts_of(journal)] == [0, share(7, 0, PARTITIONS)]


async def test_a_version_without_a_brake_forgets_it() -> None:
    tripped = Counts(day=20_000, raised_minor=5, evaluated=9, lowered=1, is_tripped=True, expected_decreases=3)
    counted = Brakes({"individual": tripped, "enterprise": tripped})
    assert counted.under(DEFAULT) == counted
    assert not any(counts.is_tripped for counts in counted.under(braked(promoted("default"), breaker=None)).by_segment.values())
    without = DEFAULT.model_copy(update={"segments": tuple(s.model_copy(update={"brakes": None}) for s in DEFAULT.segments)})
    assert counted.under(without) == Brakes({})
    assert Brakes.decode(counted.encode()) == counted


@pytest.mark.parametrize(
    ("policy", "record", "says"),
    [
        (DEFAULT, release(reason=None), "reason"),
        (DEFAULT, release(segment="sme"), "segment"),
        (promoted("minimal"), release(), "has no breaker in any segment: write"),
        (braked(promoted("minimal")), release(segment="enterprise"), "has no breaker in segment enterprise: write"),
        (None, release(), "promote one first"),
    ],
)
async def test_what_cannot_be_followed_is_a_dead_letter(policy: Policy | None, record: bytes, says: str) -> None:
    values = [record] if policy is None else [activation(policy), record]
    *_, taken = await Shard.of({Topic.CONTROL: control(*values)}, 10).journal()
    (letter,) = taken.dead_letters
    assert letter.disposition == "invalid"
    assert says in letter.message
