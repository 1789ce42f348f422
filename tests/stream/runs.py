"""A shard's machine at work on whole topics, without Kafka and Redis, and the journal that it writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import Topic
from engine.policy.document import Policy
from engine.policy.promote import canonical_bytes, policy_hash, promote
from engine.policy.source import load_policy
from engine.state.cache import Room
from engine.state.memory_store import MemoryStore
from engine.state.record import JournalRecord
from engine.stream.alignment import Alignment
from engine.stream.records import TOPICS, Chunk, Delivery
from engine.stream.turn import DecisionMachine
from scripts.personas import midnight_before, population
from scripts.spoil import Shares, spoil

KEY: Final = FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")
POLICIES: Final = Path(__file__).parents[2] / "policies"
STATE_BYTES: Final = 20_000  # of some accounts
START_MS: Final = midnight_before(datetime(2025, 3, 1, tzinfo=UTC), 0)
NOW: Final = datetime(2025, 1, 1, tzinfo=UTC)

Inputs = dict[Topic, Chunk]


def promoted(name: str) -> Policy:
    """A policy that comes with the engine, promoted."""
    return promote(load_policy(POLICIES / f"{name}.yaml", NOW), None, NOW)


def activation(policy: Policy, /, **other: Any) -> bytes:
    """The control record that puts a policy in force; ``other`` fields take the place of its own."""
    value = {
        "control_id": "c",
        "issued_at": "2025-01-01T00:00:00Z",
        "issued_by": "test",
        "kind": "activate",
        "policy": json.loads(canonical_bytes(policy)),
        "policy_hash": policy_hash(policy),
    }
    return json.dumps(value | other).encode()


def control(*values: bytes, at_ms: int = START_MS) -> Chunk:
    """The control topic with these records."""
    n = len(values)
    return Chunk.of(Topic.CONTROL, list(range(n)), [at_ms] * n, [None] * n, list(values), None)


def lives(policy: Policy, accounts: int, days: int, seed: int) -> Inputs:
    """The topics of a shard whose customers live under a policy; with every fault that real streams have."""
    arrivals = list(spoil(population(accounts, seed, START_MS, days), seed, Shares(broken=0.01), Counter()))
    inputs = {Topic.CONTROL: control(activation(policy))}
    for name, topic in TOPICS.items():
        mine = [arrival for arrival in arrivals if arrival.topic == name]
        if mine:
            offsets, times = [2 * i for i in range(len(mine))], [arrival.at_ms for arrival in mine]
            inputs[topic] = Chunk.of(topic, offsets, times, [a.key for a in mine], [a.value for a in mine], None)
    return inputs


@dataclass
class Shard:
    """A machine, its buffers and its store."""

    machine: DecisionMachine
    alignment: Alignment
    store: MemoryStore

    @classmethod
    def of(cls, inputs: Mapping[Topic, Chunk], cache_accounts: int, shard: int = 0, partitions: int = 1) -> Shard:
        """A new one, with everything buffered that there is to read."""
        alignment = Alignment()
        for topic in Topic:
            chunk = inputs.get(topic, Chunk.of(topic))
            end = int(chunk.offsets[-1]) + 1 if len(chunk) else 0
            alignment.offer(Delivery(chunk, 0, end, end))
        return cls(DecisionMachine("limits", shard, partitions, KEY, Room(cache_accounts, STATE_BYTES)), alignment, MemoryStore())

    async def turn(self, records_max: int, accounts_max: int) -> JournalRecord | None:
        """Take, decide, journal and apply the next batch; None if all is done."""
        batch = self.alignment.take(records_max, accounts_max, 10**9, has_policy=self.machine.policy is not None)
        if batch is None:
            return None
        prepared = self.machine.prepare(batch)
        if prepared.missing:
            self.machine.admit((await self.store.load(prepared.missing)).values)
        record = self.machine.execute(prepared, batch.watermark_ms)
        self.alignment.settle(batch, batch.watermark_ms)
        await self.store.apply(record, -1)
        return record

    async def slice(self, buckets: int, most: int) -> JournalRecord | None:
        """Decide, journal and apply the next slice of a sweep; None if there is nothing to sweep."""
        tick_ms = self.alignment.tick_ms
        sweep = self.machine.sweep_at(tick_ms)
        if sweep is None:
            return None
        part = await self.store.slice(sweep.bucket, sweep.after, min(buckets, sweep.left), most)
        record = self.machine.sweep(part.accounts, part.buckets, part.after, tick_ms)
        await self.store.apply(record, -1)
        return record

    async def journal(self, records_max: int = 2_000, accounts_max: int = 100, sweeps: Random | None = None) -> list[JournalRecord]:
        """Work until all is done; with slices of sweeps between the batches, as many and as large as chance says."""
        journal = []
        while (record := await self.turn(records_max, accounts_max)) is not None:
            journal.append(record)
            while sweeps is not None and sweeps.random() < 0.7:
                swept = await self.slice(sweeps.randrange(1, 200), sweeps.randrange(1, 40))
                journal += [swept] if swept is not None else []
        return journal


def between(inputs: Mapping[Topic, Chunk], record: JournalRecord) -> Inputs:
    """Of each topic the records that a journal record took."""
    found = {}
    for cut in record.cuts:
        chunk = inputs[TOPICS[cut.topic]]
        low, high = (int(np.searchsorted(chunk.offsets, offset)) for offset in (cut.first, cut.next))
        found[chunk.topic] = chunk.slice(low, high)
    return found


def encoded(journal: list[JournalRecord]) -> Iterator[bytes]:
    """The bytes of each record."""
    return (record.encode() for record in journal)
