"""A shard folded again from its inputs and from what it announced is what it was, whatever the batches, and wherever it was broken off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random

import pytest

from engine.core.layout import MISSING, Col, Topic
from engine.state import keys
from engine.state.cache import Room
from engine.state.keys import BUCKETS
from engine.state.memory_store import MemoryStore
from engine.state.record import JournalRecord
from engine.stream.alignment import Alignment
from engine.stream.input_log import certainly_taken
from engine.stream.rebuild import beginning, clocks_of
from engine.stream.records import Chunk, Delivery
from engine.stream.refold import Refold
from engine.stream.turn import DecisionMachine
from engine.stream.witness import Witness, columns_of
from schemas.topics import CHANGES, INPUTS
from tests.stream.accounts import State, differing, policy_of, row_at
from tests.stream.runs import KEY, Inputs, Shard, lives, promoted


async def state_of(store: MemoryStore) -> State:
    held = [item for bucket in range(BUCKETS) for item in [found async for found in store.accounts(bucket)]]
    return await store.shard_fields(), dict(held)


def heard(journal: list[JournalRecord]) -> Witness:
    """What the outputs of a journal say."""
    said = Witness()
    for output in (output for record in journal for output in record.outputs):
        if output.topic == CHANGES.name:
            said.note_change(output.key, json.loads(output.value))
        else:
            said.note_advisory(json.loads(output.value))
    return said


def first_of(inputs: Inputs, fields: Mapping[str, bytes]) -> dict[Topic, int]:
    """Where each topic goes on."""
    begins = {topic: int(chunk.offsets[0]) for topic, chunk in inputs.items() if len(chunk)}
    return {topic: int(fields.get(keys.next_offset(INPUTS[topic].name), b"%d" % begins.get(topic, 0))) for topic in Topic}


def alignment_at(inputs: Inputs, fields: Mapping[str, bytes]) -> Alignment:
    """All that there is to read from a state on."""
    alignment, first = Alignment(), first_of(inputs, fields)
    alignment.restore(first, clocks_of(fields), int(fields[keys.TICK_MS]))
    for topic in Topic:
        chunk = inputs.get(topic, Chunk.of(topic))
        begins, end = (int(chunk.offsets[0]), int(chunk.offsets[-1]) + 1) if len(chunk) else (0, 0)
        alignment.offer(Delivery(chunk, min(first[topic], begins), end, end))
    return alignment


async def refolded(
    inputs: Inputs, said: Witness, chance: Random, store: MemoryStore, *, breaks_off: bool = False, horizon: int = MISSING
) -> bool:
    """Fold on from a store; whether it was done. Batches and bounds are as chance says."""
    fields = await store.shard_fields()
    if not fields:
        await store.apply(beginning("limits", 0, 1, MISSING, {keys.PARTITIONS: b"1"}), 0)
        fields = await store.shard_fields()
    machine = Refold("limits", 0, 1, KEY, Room(100, 20_000), said, horizon)
    machine.restore(fields)
    alignment = alignment_at(inputs, fields)
    machine.taken = first_of(inputs, fields)
    while True:
        most = chance.randint(1, 400)
        batch = alignment.take(most, 100, 10**9, has_policy=machine.policy is not None)
        certain = 0 if batch is None else certainly_taken(batch, machine.taken, said)
        if batch is None or certain == 0:
            break
        if certain < len(batch):
            batch = alignment.take(certain, 100, 10**9, has_policy=machine.policy is not None)
            assert batch is not None
        prepared = machine.prepare(batch)
        if prepared.missing:
            machine.admit((await store.load(prepared.missing)).values)
        tick_ms = MISSING if alignment.tick_ms == MISSING and Topic.CONTROL in batch.chunks else max(alignment.tick_ms, batch.watermark_ms)
        record = machine.execute(prepared, tick_ms)
        assert record.outputs == ()
        await store.apply(record, -1)
        alignment.settle(batch, tick_ms)
        machine.taken |= {topic: cut[1] for topic, cut in batch.cuts.items()}
        if breaks_off and chance.random() < 0.02:
            return False
    accounts, tick_ms = sorted(said.changes), max(alignment.tick_ms, said.tick_ms)
    for at in range(0, len(accounts), 50):
        some = accounts[at : at + 50]
        missing = machine.missing(some)
        machine.admit((await store.load(missing)).values)
        finished = machine.finish(some, tick_ms)
        if finished is not None:
            await store.apply(finished, -1)
            if breaks_off and chance.random() < 0.5:
                return False
    await store.apply(machine.close(tick_ms, {}), -1)
    return True


@pytest.mark.parametrize(("policy", "seed"), [("default", 3), ("default", 4), ("minimal", 5)])
async def test_what_was_folded_comes_back(policy: str, seed: int) -> None:
    """All that was taken before the last thing that was said; broken off again and again, and gone on with."""
    chance, inputs = Random(seed), lives(promoted(policy), 40, 150, seed)
    shard = Shard.of(inputs, cache_accounts=100)
    journal = await shard.journal(records_max=300, sweeps=chance)
    said, store, runs = heard(journal), MemoryStore(), 1
    while not await refolded(inputs, said, chance, store, breaks_off=True):
        runs += 1
    assert runs > 1
    before, after = await state_of(shard.store), await state_of(store)
    assert before[1].keys() >= after[1].keys()
    held = {account: value for account, value in before[1].items() if account in after[1]}
    different = differing([(before[0], held)], [after])
    assert all("ACCEPTED" in mine for mine in different.values()), different
    # The same in one go gives the same accounts.
    again = MemoryStore()
    assert await refolded(inputs, said, Random(seed + 1), again)
    assert (await state_of(again))[1] == after[1]
    # And what was left is taken by a worker, who finds nothing to say.
    machine = DecisionMachine("limits", 0, 1, KEY, Room(100, 20_000))
    machine.restore(after[0])
    rest = await Shard(machine, alignment_at(inputs, after[0]), store).journal()
    assert not any(output.topic == CHANGES.name for record in rest for output in record.outputs)
    assert differing([before], [await state_of(store)]) == {}


async def test_of_what_is_gone_the_standing_comes_back() -> None:
    """Half of the events were deleted. What was announced stands, and no history begins before what is left."""
    inputs = lives(promoted("default"), 40, 150, 6)
    shard = Shard.of(inputs, cache_accounts=100)
    journal = await shard.journal(records_max=300, sweeps=Random(6))
    said, store = heard(journal), MemoryStore()
    left, horizon = dict(inputs), MISSING
    for topic in (Topic.REPAYMENT, Topic.TRANSFER, Topic.PURCHASE):
        chunk = inputs[topic]
        left[topic] = chunk.slice(len(chunk) // 2, len(chunk))
        horizon = max(horizon, int(left[topic].times_ms[0]))
    assert await refolded(left, said, Random(7), store, horizon=horizon)
    fields, accounts = await state_of(store)
    newest = {output.key: json.loads(output.value) for record in journal for output in record.outputs if output.topic == CHANGES.name}
    assert accounts.keys() >= newest.keys()
    policy = policy_of(fields)
    for account, change in newest.items():
        row = row_at(policy, account, accounts[account], int(fields[keys.TICK_MS]))
        assert row["SEQUENCE"] == change["sequence"]
        told = columns_of(change["standing"])
        kept = (Col.STANDING, Col.LIMIT, Col.BAND, Col.BLOCKS, Col.OFFER, Col.PENDING_LIMIT, Col.RATE_TIER, Col.TEMPORARY_LIMIT)
        assert [row[column.name] for column in kept] == [told[column - Col.STANDING] for column in kept]
        assert row["FIRST_AT"] >= horizon
