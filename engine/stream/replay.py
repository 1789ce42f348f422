"""The journal once more, from its inputs: the same records, cuts and ticks through the same machine must give the same bytes.

What differs is either tampered with or a defect; the first record that differs is named. Accounts are kept in an in-memory store that the
replayed records build up, so a replay begins at the shard's first record (or from a store that holds the record before).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

from engine.core.layout import MISSING, Topic
from engine.state import keys
from engine.state.record import JournalRecord
from engine.state.states import States
from engine.state.store import ShardStore
from engine.stream.alignment import Alignment
from engine.stream.records import TOPICS, Batch, Chunk, Delivery
from engine.stream.sweep import Sweep
from engine.stream.topics import IDENTIFIED
from engine.stream.turn import DecisionMachine
from schemas.topics import INPUTS

NO_BOUND: Final = 2**62


class Replay:
    """Re-runs one shard. ``machine`` must be new and of the same deployment, ``store`` hold what precedes the first record to re-run."""

    def __init__(self, machine: DecisionMachine, store: ShardStore) -> None:
        self._machine = machine
        self._store = store
        self._alignment = Alignment()

    async def begin(self) -> None:
        """Take the store's state over."""
        fields = await self._store.shard_fields()
        self._machine.restore(fields)
        clocks = {topic: fields.get(keys.topic_clock(spec.name)) for topic, spec in zip(Topic, INPUTS, strict=True)}
        self._alignment.restore(
            {topic: int(fields.get(keys.next_offset(spec.name), b"0")) for topic, spec in zip(Topic, INPUTS, strict=True)},
            {topic: int(clock) for topic, clock in clocks.items() if clock is not None},
            int(fields.get(keys.TICK_MS, str(MISSING))),
        )

    async def again(self, record: JournalRecord, inputs: Mapping[Topic, Chunk]) -> JournalRecord:
        """What the machine makes of the inputs that ``record`` cut (of each topic the records between its offsets) at its tick."""
        if record.sequence == 1:  # which topics these were is no matter of the decisions
            told = dict(record.fields)
            self._machine.topic_ids = {name: told[keys.topic_id(name)].decode() for name in IDENTIFIED if keys.topic_id(name) in told}
        made = await self._swept(record) if not record.cuts else await self._decided(record, inputs)
        await self._store.apply(made, -1)
        return made

    async def _swept(self, record: JournalRecord) -> JournalRecord:
        """The slice of a sweep that ended where the record says."""
        now, end = self._machine.sweep_at(record.tick_ms), Sweep.decode(dict(record.fields)[keys.SWEEP])
        if now is None or end.left > now.left:
            raise ValueError(f"sequence {record.sequence} goes on with a sweep where there is none")
        finished = now.left - end.left
        accounts: list[tuple[bytes, bytes]] = []
        for step in range(finished + (end.after > b"")):
            held = [item async for item in self._store.accounts((now.bucket + step) % keys.BUCKETS)]
            accounts += [item for item in held if (step > 0 or item[0] > now.after) and (step < finished or item[0] <= end.after)]
        self._alignment.tick_ms = record.tick_ms
        return self._machine.sweep(States.of(accounts), finished, end.after, record.tick_ms)

    async def _decided(self, record: JournalRecord, inputs: Mapping[Topic, Chunk]) -> JournalRecord:
        """The batch that the record cut."""
        batch = self.batch(record, inputs)
        prepared = self._machine.prepare(batch)
        if prepared.missing:
            self._machine.admit((await self._store.load(prepared.missing)).values)
        made = self._machine.execute(prepared, record.tick_ms)
        self._alignment.settle(batch, record.tick_ms)
        return made

    def batch(self, record: JournalRecord, inputs: Mapping[Topic, Chunk]) -> Batch:
        """The merged batch of a record's cuts. Raises ValueError if the inputs do not give it."""
        cuts = {TOPICS[cut.topic]: (cut.first, cut.next) for cut in record.cuts}
        for topic, here in self._alignment.positions().items():
            first, end = cuts.get(topic, (here, here))
            self._alignment.offer(Delivery(inputs.get(topic, Chunk.of(topic)), first, end, end))
        batch = self._alignment.take(NO_BOUND, NO_BOUND, NO_BOUND, has_policy=self._machine.policy is not None)
        if batch is None or len(batch) != record.events:
            raise ValueError(f"sequence {record.sequence} took {record.events} records, its cuts give {0 if batch is None else len(batch)}")
        return batch


async def differences(replay: Replay, journal: AsyncIterator[tuple[JournalRecord, bytes, Mapping[Topic, Chunk]]]) -> AsyncIterator[int]:
    """The sequences of the records whose bytes are not what their inputs give."""
    await replay.begin()
    async for record, raw, inputs in journal:
        if (await replay.again(record, inputs)).encode() != raw:
            yield record.sequence
