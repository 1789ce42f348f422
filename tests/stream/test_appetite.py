"""The lender's appetite in the machine: a control record puts it in force, a sweep follows, and restarts and replays know it."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

import pytest

from engine.core.layout import Topic
from engine.policy.document import Appetite, AppetiteBand, Policy
from engine.state import keys
from engine.state.cache import Room
from engine.state.memory_store import MemoryStore
from engine.state.outputs import Output
from engine.state.record import JournalRecord
from engine.stream.appetite import Appetites
from engine.stream.records import Chunk
from engine.stream.replay import Replay, differences
from engine.stream.turn import DecisionMachine
from scripts.personas import DAY_MS
from tests.stream.runs import KEY, START_MS, Inputs, Shard, activation, between, control, encoded, lives, promoted


def halving(policy: Policy) -> Policy:
    """A policy whose contraction halves every limit at once."""
    segments = [
        segment.model_copy(update={"appetite": Appetite(contraction=tuple(AppetiteBand(band=b.name, percent=50) for b in segment.bands))})
        for segment in policy.segments
    ]
    return policy.model_copy(update={"segments": tuple(segments)})


DEFAULT: Final = halving(promoted("default"))
MINIMAL: Final = promoted("minimal")
SWITCHED_MS: Final = START_MS + 40 * DAY_MS


def appetite(mode: str, /, **other: Any) -> bytes:
    """The control record that puts an appetite in force; ``other`` fields take the place of its own."""
    value = {
        "control_id": f"to {mode}",
        "issued_at": "2025-04-10T00:00:00Z",
        "issued_by": "committee",
        "approved_by": "board",
        "kind": "appetite",
        "segment": "individual",
        "mode": mode,
        "expected_decreases": 7,
        "reason": "a downturn",
    }
    return json.dumps({name: field for name, field in (value | other).items() if field is not None}).encode()


@pytest.fixture(scope="module")
def downturn() -> Inputs:
    """Two months of forty customers, and a contraction after forty days."""
    inputs = lives(DEFAULT, accounts=40, days=60, seed=4)
    values: list[bytes | None] = [activation(DEFAULT), appetite("contraction")]
    return inputs | {Topic.CONTROL: Chunk.of(Topic.CONTROL, [0, 1], [START_MS, SWITCHED_MS], [None] * 2, values, None)}


async def test_a_contraction_lowers_limits_from_its_record_on(downturn: Inputs) -> None:
    journal = await Shard.of(downturn, 50).journal(sweeps=Random(1))
    changes = [json.loads(output.value) for record in journal for output in record.outputs]
    bound = [change for change in changes if (change.get("trace") or {}).get("bound_by") == "appetite"]
    assert {change["kind"] for change in bound} >= {"announce", "decrease"}
    assert min(change["occurred_at"] for change in bound) >= "2025-04-09"
    assert {change["reasons"][0]["code"] for change in bound if change["kind"] == "announce"} == {"appetite"}
    followed = [change for change in changes if change["cause"]["kind"] == "control" and change["cause"]["id"] == "to contraction"]
    assert followed
    (switch,) = Appetites.decode(last_fields(journal)[keys.APPETITES]).plain()
    told = {"segment": "individual", "mode": "contraction", "since": "2025-04-10", "control_id": "to contraction", "expected_decreases": 7}
    assert switch == told


def last_fields(journal: list[JournalRecord]) -> dict[str, bytes]:
    """Every field at its last value."""
    return {name: value for record in journal for name, value in record.fields}


async def test_restarts_know_the_appetite(downturn: Inputs) -> None:
    whole = await Shard.of(downturn, 50).journal(accounts_max=30)
    shard, random = Shard.of(downturn, 50), Random(2)
    taken = []
    while (record := await shard.turn(2_000, 30)) is not None:
        taken.append(record)
        if random.random() < 0.5:
            shard.machine = DecisionMachine("limits", 0, 1, KEY, Room(50, 20_000))
        shard.machine.restore(await shard.store.shard_fields())
    assert list(encoded(taken)) == list(encoded(whole))


async def test_a_replay_gives_the_journal_byte_for_byte(downturn: Inputs) -> None:
    journal = await Shard.of(downturn, 50).journal(records_max=211, accounts_max=13, sweeps=Random(3))

    async def entries() -> Any:
        for record in journal:
            yield record, record.encode(), between(downturn, record)

    replay = Replay(DecisionMachine("limits", 0, 1, KEY, Room(500, 20_000)), MemoryStore())
    assert [sequence async for sequence in differences(replay, entries())] == []


async def test_it_outlives_a_change_of_the_policy(downturn: Inputs) -> None:
    second = DEFAULT.model_copy(update={"version": 2})
    values = [activation(DEFAULT), appetite("contraction"), activation(second)]
    newer = Chunk.of(Topic.CONTROL, [0, 1, 2], [START_MS, SWITCHED_MS, SWITCHED_MS + 1], [None] * 3, values)
    first = await Shard.of(downturn, 50).journal()
    changed = await Shard.of(downturn | {Topic.CONTROL: newer}, 50).journal()
    bound = [
        [told["standing"] for told in map(told_of, outputs(journal)) if "standing" in told and told["trace"]["bound_by"] == "appetite"]
        for journal in (first, changed)
    ]
    assert bound[0] == bound[1] != []


def told_of(output: Output) -> dict[str, Any]:
    return dict(json.loads(output.value))


def outputs(journal: list[JournalRecord]) -> list[Output]:
    return [output for record in journal for output in record.outputs]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (appetite("contraction", approved_by=None), "approved_by"),
        (appetite("contraction", approved_by="committee"), "a second person must approve"),
        (appetite("contraction", expected_decreases=None), "expected_decreases"),
        (appetite("contraction"), "does not say what contraction is in segment individual: write its bands under"),
        (appetite("neutral", segment="enterprise"), "has no segment enterprise"),
    ],
)
async def test_what_cannot_be_followed_is_a_dead_letter(record: bytes, says: str) -> None:
    (_, taken) = await Shard.of({Topic.CONTROL: control(activation(MINIMAL), record)}, 10).journal()
    (letter,) = taken.dead_letters
    assert letter.disposition == "invalid"
    assert says in letter.message
    assert keys.APPETITES not in dict(taken.fields)


async def test_before_a_policy_there_is_none() -> None:
    (taken,) = await Shard.of({Topic.CONTROL: control(appetite("neutral"))}, 10).journal()
    assert "promote one first" in taken.dead_letters[0].message
