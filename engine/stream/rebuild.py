"""A shard's state made anew, while no worker works: from the journal, or from the inputs and from what was announced.

Theory of operation. *From the journal*: Redis is emptied and the whole journal applied; byte by byte what it was. *From the inputs*, where the
journal does not reach back any more: the shard's batches are taken once more by a machine that decides nothing (``engine.stream.refold``), and
what stands is taken from ``limit-changes``. What it makes is committed to the journal, record by record, as a worker does; the first of them is a
beginning, which voids what the journal had before, and goes on with its numbers. So the journal is the truth again, every store can follow it,
and a rebuild that was killed goes on from its last record. While it is not done a field of the shard's hash says so, and a worker refuses the
shard.

The inputs are taken up to the last record or tick that something was said because of. What lies behind it in merged order nobody may have looked
at: the workers decide it. So no decision, answer or dead letter is left out; and of what was looked at and led to nothing, nothing was said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition

from engine import __version__
from engine.core.layout import MISSING, Topic
from engine.errors import EngineError
from engine.settings import Settings
from engine.state import keys
from engine.state.cache import Room
from engine.state.outputs import NO_OUTPUTS
from engine.state.record import JournalRecord
from engine.state.redis_store import RedisStore
from engine.state.states import NO_STATES
from engine.state.store import applied_of
from engine.stream.brakes import Brakes, Counts
from engine.stream.clients import CONNECT_DEADLINE_S, Clients
from engine.stream.hanging import OUR_OWN, ends_of, left
from engine.stream.input_log import InputLog, certainly_taken
from engine.stream.journal import JournalMismatchError, bounds, last_message, read_journal, started
from engine.stream.producer import CommitInDoubtError, ShardProducer
from engine.stream.records import Batch
from engine.stream.refold import Refold
from engine.stream.refusals import refuse_to_apply
from engine.stream.topics import Identity
from engine.stream.witness import Witness, witness_of
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, INPUTS, JOURNAL

FROM_JOURNAL: Final = b"limit-engine rebuild --from journal"
FROM_INPUTS: Final = b"limit-engine rebuild --from inputs"
AGAIN: Final = "run this again: it goes on where it was"
BY_WORKER: Final = "start a worker, which writes it again, and stop it before this"
BY_HAND: Final = (
    "keep what `kafka-console-consumer.sh` shows there of uncommitted records, which nobody was told and Redis may count, and end it by "
    "`kafka-transactions.sh abort`"
)
OF_INPUTS: Final = "`limit-engine rebuild --from inputs`"
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
FINISHED_AT_ONCE: Final = 2_000

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done for a shard: journal records applied or written, input records taken again, and accounts whose standing was to be brought
    further behind them."""

    shard: int
    records: int = 0
    inputs: int = 0
    standings: int = 0


class Rebuild:
    """Makes one shard's state anew. Every method raises EngineError, KafkaError, TimeoutError and OSError."""

    def __init__(self, settings: Settings, shard: int, topics: Identity, store: RedisStore, clients: Clients, told: Told) -> None:
        """``topics`` are those that are there, and ``store`` is of their journal."""
        self._settings = settings
        self._shard = shard
        self._topic_ids = topics.ids
        self._partitions = topics.partitions[JOURNAL.name]
        self._store = store
        self._clients = clients
        self._told = told
        self._where = f"shard {shard}"
        self._producer: ShardProducer | None = None

    async def from_journal(self) -> Rebuilt:
        """Empty the store, and apply the journal from its first record, or its last beginning, on."""
        try:
            await self._fence()
            fields = await self._store.shard_fields()
            if fields.get(keys.UNFINISHED) != FROM_JOURNAL:
                await self._check_journal()
                await self._store.empty(FROM_JOURNAL)
            applied = await self._catch_up()
            if (await self._store.shard_fields()).get(keys.UNFINISHED) == FROM_JOURNAL:
                await self._store.finish()
            return Rebuilt(self._shard, records=applied)
        finally:
            self._drop()

    async def from_inputs(self) -> Rebuilt:
        """Take the inputs again, and what stands from what was announced."""
        try:
            await self._fence()
            await self._check_ends()
            return await self._refolded()
        except CommitInDoubtError as doubt:
            raise EngineError(f"a commit was not confirmed: {doubt}", where=self._where, cure=AGAIN) from doubt
        finally:
            self._drop()

    async def fence(self) -> None:
        """Let whoever still owns the shard not commit any more, where the journal is lost: no worker can write again what hangs."""
        try:
            await self._fence()
            await self._check_ends(BY_HAND)
        finally:
            self._drop()

    async def catch_up_anew(self) -> int:
        """Apply the journal from its beginning on, as far as that was not done yet; how many records it has from there."""
        count = 0
        async for entry in self._journal(0, 0, 0):
            applied = await self._store.apply(entry.record, entry.offset)
            if applied < entry.record.sequence:
                raise self._not_alone(applied, entry.record)
            count += 1
        return count

    async def catch_up(self) -> int:
        """Fence whoever owns the shard, and bring its store to the journal's end, of which all must be told; how many records were applied."""
        try:
            await self._fence()
            await self._check_ends()
            applied = await self._catch_up()
            await self._check_told()
            return applied
        finally:
            self._drop()

    def _drop(self) -> None:
        if self._producer is not None:
            self._producer.drop()
            self._producer = None

    async def _fence(self) -> None:
        """Whoever still owns the shard cannot commit any more."""
        producer = self._clients.producer(f"{self._settings.application}-{self._shard}")
        self._producer = ShardProducer(producer, self._shard, self._settings.kafka.commit_deadline_s)
        try:
            await self._producer.start()
        except CommitInDoubtError as doubt:
            raise EngineError(str(doubt), where=self._where, cure="is Kafka there? `limit-engine doctor` looks") from doubt

    async def _check_ends(self, otherwise: str = BY_WORKER) -> None:
        """That a commit would not decide something else, too (``engine.stream.hanging``). Raises EngineError, with what helps then."""
        assert self._producer is not None
        hangs = (await ends_of(self._producer.client, self._shard)).hanging.keys() & OUR_OWN
        if hangs:
            what = f"a transaction has no end in {', '.join(sorted(hangs))}"
            raise EngineError(what, where=self._where, cure=f"run this again in a minute; if it is so still, {otherwise}")

    async def _check_told(self) -> None:
        """That what the store has applied is told, and nothing else. Raises EngineError."""
        assert self._producer is not None
        fields = await self._store.shard_fields()
        applied, offset = applied_of(fields), int(fields.get(keys.JOURNAL_OFFSET, b"-1"))
        ends = await ends_of(self._producer.client, self._shard)
        last, _, told, _ = await left(self._clients, self._settings.application, self._shard, applied, offset, ends)
        if told.announced > int(fields.get(keys.OUTPUTS, b"0")) or (last is not None and told.lacks(last)):
            what = f"{CHANGES.name}, {ADVISORIES.name} or {DEAD_LETTERS.name} does not have what {JOURNAL.name} says"
            raise EngineError(what, where=self._where, cure=BY_WORKER)

    # From the journal

    async def _check_journal(self) -> None:
        """That the journal says everything. Raises EngineError."""
        try:
            async with aclosing(self._journal(0, 0, 0)) as entries:
                if await anext(entries, None) is not None:
                    return
        except JournalMismatchError as mismatch:
            raise self._no_journal(str(mismatch).replace("Redis needs", "an empty Redis needs")) from mismatch
        raise self._no_journal("the journal has no record")

    def _no_journal(self, what: str) -> EngineError:
        cure = f"restore a backup of Redis that the journal still reaches, or stay without the journal: {OF_INPUTS}"
        return EngineError(what, where=self._where, cure=cure)

    def _journal(self, first: int, applied: int, outputs: int) -> Any:
        reader = self._clients.journal_reader()
        return read_journal(reader, self._settings.application, self._shard, first, applied + 1, outputs, CONNECT_DEADLINE_S)

    async def _catch_up(self) -> int:
        """Apply what the store lacks of the journal; how many records."""
        fields = await self._store.shard_fields()
        first, count = int(fields.get(keys.JOURNAL_OFFSET, b"-1")) + 1, 0
        refuse_to_apply(self._where, fields, self._topic_ids)
        try:
            async for entry in self._journal(first, applied_of(fields), int(fields.get(keys.OUTPUTS, b"0"))):
                await self._apply(entry.record, entry.offset)
                count += 1
                self._told(entry.offset - first + 1, entry.end - first)
        except JournalMismatchError as mismatch:
            raise EngineError(str(mismatch), where=self._where, cure=mismatch.cure) from mismatch
        return count

    async def _apply(self, record: JournalRecord, offset: int) -> None:
        applied = await self._store.apply(record, offset)
        if applied != record.sequence:
            raise self._not_alone(applied, record)

    def _not_alone(self, applied: int, record: JournalRecord) -> EngineError:
        what = f"Redis has applied sequence {applied} instead of {record.sequence}: somebody else writes to it"
        return EngineError(what, where=self._where, cure="stop every worker, then run this again")

    # From the inputs

    async def _refolded(self) -> Rebuilt:
        async with started(self._clients.journal_reader(), CONNECT_DEADLINE_S) as consumer:
            witness = await witness_of(consumer, self._shard, self._partitions, CONNECT_DEADLINE_S, self._told)
            fields = await self._begun(consumer, witness)
            log = InputLog(consumer, self._shard)
            await log.open(fields)
            for topic in log.made_anew(witness):
                witness.disregard(topic)
            machine = Refold(
                self._settings.application,
                self._shard,
                self._partitions,
                self._settings.key,
                Room(self._settings.shard.cache_accounts, self._settings.shard.cache_bytes),
                witness,
                await log.horizon_ms(),
            )
            machine.restore(fields)
            machine.taken = dict(log.first)
            log.alignment.restore(log.first, clocks_of(fields), int(fields.get(keys.TICK_MS, str(MISSING))))
            log.offer_ends()
            inputs, records = await self._take_all(machine, log, witness)
            if machine.policy is None and witness.changes:
                raise EngineError("limit-control has no policy that was activated", where=self._where, cure="restore a backup of Redis")
            tick_ms = max(log.alignment.tick_ms, witness.tick_ms)
            standings, more = await self._finish(machine, witness, tick_ms)
            await self._commit(machine.close(tick_ms, self._closing_fields(machine, witness)))
            return Rebuilt(self._shard, records + more + 1, inputs, standings)

    async def _begun(self, consumer: Any, witness: Witness) -> dict[str, bytes]:
        """The shard's fields behind a beginning: that of a rebuild that was broken off, or a new one."""
        fields = await self._store.shard_fields()
        if fields.get(keys.UNFINISHED) == FROM_INPUTS:
            await self._catch_up()
            fields = await self._store.shard_fields()
            if fields.get(keys.UNFINISHED) == FROM_INPUTS:
                return fields
        partition = TopicPartition(JOURNAL.name, self._shard)
        consumer.assign([partition])
        last = await last_message(consumer, partition, *await bounds(consumer, partition, CONNECT_DEADLINE_S), CONNECT_DEADLINE_S)
        newest = 0 if last is None else JournalRecord.decode(last.value).sequence
        told = {
            keys.BEGINNING: FROM_INPUTS,
            keys.UNFINISHED: FROM_INPUTS,
            keys.PARTITIONS: b"%d" % self._partitions,
            keys.OUTPUTS: b"%d" % witness.outputs,
            **{keys.topic_id(name): own_id.encode() for name, own_id in self._topic_ids.items()},
        }
        sequence = max(newest, applied_of(fields)) + 1
        await self._commit(beginning(self._settings.application, self._shard, sequence, MISSING, told))
        return await self._store.shard_fields()

    async def _take_all(self, machine: Refold, log: InputLog, witness: Witness) -> tuple[int, int]:
        """Take the inputs up to where something was said; how many records, and in how many batches."""
        inputs, batches = 0, 0
        most = self._settings.shard.batch_records
        while True:
            batch = self._next(machine, log, most)
            if batch is None:
                if log.is_read:
                    return inputs, batches
                await log.fill()
                continue
            certain = certainly_taken(batch, machine.taken, witness)
            if certain == 0:
                return inputs, batches
            if certain < len(batch):
                batch = self._next(machine, log, certain)
                assert batch is not None
            prepared = machine.prepare(batch)
            if prepared.missing:
                machine.admit((await self._store.load(prepared.missing)).values)
            is_first_policy = Topic.CONTROL in batch.chunks and log.alignment.tick_ms == MISSING
            tick_ms = MISSING if is_first_policy else max(log.alignment.tick_ms, batch.watermark_ms)
            record = machine.execute(prepared, tick_ms)
            if not machine.fits(record, len(record.encode())):
                machine.take_back()
                most = max(1, len(batch) // 4)
                continue
            await self._commit(record)
            log.alignment.settle(batch, tick_ms)
            machine.taken |= {topic: cut[1] for topic, cut in batch.cuts.items()}
            inputs, batches, most = inputs + len(batch), batches + 1, self._settings.shard.batch_records
            self._told(log.taken(machine.taken), log.total)

    @staticmethod
    def _next(machine: Refold, log: InputLog, most: int) -> Batch | None:
        most = min(most, machine.records_per_batch)
        return log.alignment.take(most, machine.accounts_per_batch, BATCH_BYTES_MAX, has_policy=machine.policy is not None)

    async def _finish(self, machine: Refold, witness: Witness, tick_ms: int) -> tuple[int, int]:
        """Put what was announced last in force where no input said so; of how many accounts, and in how many records."""
        accounts, standings, records = sorted(witness.changes), 0, 0
        at_once = min(FINISHED_AT_ONCE, machine.accounts_per_batch)
        for first in range(0, len(accounts), at_once):
            some = accounts[first : first + at_once]
            missing = machine.missing(some)
            machine.admit((await self._store.load(missing)).values)
            record = machine.finish(some, tick_ms)
            if record is not None:
                await self._commit(record)
                standings, records = standings + len(record.accounts), records + 1
            self._told(first + len(some), len(accounts))
        return standings, records

    @staticmethod
    def _closing_fields(machine: Refold, witness: Witness) -> dict[str, bytes]:
        """That it is done; and the breakers that were told to be tripped and not released since."""
        tripped = {name: Counts(is_tripped=True) for name, (at_ms, _) in witness.tripped.items() if at_ms > machine.released_ms(name)}
        fields = {keys.UNFINISHED: b""}
        if tripped and machine.policy is not None:
            fields[keys.BRAKES] = Brakes({**machine.brakes.by_segment, **tripped}).encode()
        return fields

    async def _commit(self, record: JournalRecord) -> None:
        assert self._producer is not None
        offset = await self._producer.commit(record.encode())
        await self._apply(record, offset)


def beginning(application: str, shard: int, sequence: int, tick_ms: int, fields: Mapping[str, bytes]) -> JournalRecord:
    """The record that a shard's state begins with anew."""
    told = tuple(sorted(fields.items()))
    return JournalRecord(application, shard, sequence, __version__, "", tick_ms, 0, (), NO_STATES, told, NO_OUTPUTS, (), ())


def clocks_of(fields: Mapping[str, bytes]) -> dict[Topic, int]:
    """The topics' clocks in a shard's hash."""
    held = {topic: fields.get(keys.topic_clock(spec.name)) for topic, spec in zip(Topic, INPUTS, strict=True)}
    return {topic: int(clock) for topic, clock in held.items() if clock is not None}
