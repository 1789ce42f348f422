"""All shards' journals begun anew in one Kafka transaction, while no worker works: ``reshard`` and ``rebuild --from redis`` do.

Theory of operation. What a shard gets is its *part*: a beginning that names the command, and behind it all of its accounts. Either all parts are
committed or none is. Redis has what was before until it follows.

A broker that dies may lose the end of a transaction in some partitions (``engine.stream.hanging``): some parts could be read then, others
never, and the accounts that have moved to these would be lost. So before anything is read, and behind the commit, what the run before has left
is *settled*. A part that hangs is aborted, by a transaction that has no records, only partitions. One that is not committed, with nothing
committed behind it, while another shard's part of the same transaction is, has lost its end or was aborted for that: it is written again by the
very bytes, which still lie there. Killed anywhere in between, the next run finds what is left to do.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from engine.connections import kafka_options
from engine.errors import EngineError
from engine.settings import Settings
from engine.state import keys
from engine.state.record import JournalRecord
from engine.state.store import ShardStore, applied_of
from engine.stream.clients import CONNECT_DEADLINE_S, Clients
from engine.stream.decode.misrouting import partition_of
from engine.stream.hanging import await_ends, ends_of
from engine.stream.journal import bounds, last_message, messages, started
from engine.stream.rebuild import AGAIN, BY_WORKER
from engine.stream.reshard import Account, Layout
from schemas.topics import JOURNAL

RECORD_BYTES: Final = 4_000_000
HELD_BYTES: Final = 256_000_000
SLICE_ACCOUNTS: Final = 2_000
TRANSACTION_MS: Final = 900_000  # the longest that a broker allows if nobody has told it otherwise
WRITTEN_WITHIN_MS: Final = 60_000  # the beginnings of one transaction are written first, one behind the other
IN_FLIGHT: Final = 8

Told = Callable[[int, int], None]


class Part(NamedTuple):
    """A shard's part that is not committed: what its beginning says, from which offset to which (exclusive) it lies, the sequence of its last
    record, how many accounts it has, and when it was begun."""

    shard: int
    beginning: bytes
    first: int
    behind: int
    sequence: int
    accounts: int
    at_ms: int


class Sending:
    """Records on their way to the journal, some at once."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._flying: set[asyncio.Future[Any]] = set()

    async def send(self, shard: int, record: bytes) -> None:
        """Raises KafkaError, also for a record before."""
        if len(self._flying) >= IN_FLIGHT:
            done, self._flying = await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()
        self._flying.add(await self._producer.send(JOURNAL.name, record, partition=shard))

    async def all_taken(self) -> None:
        """Return when Kafka has all of them. Raises KafkaError."""
        await asyncio.gather(*self._flying)


class Move:
    """Writes a layout to the journal in one transaction."""

    def __init__(self, settings: Settings, layout: Layout, stores: Sequence[ShardStore], fields: Sequence[Mapping[str, bytes]]) -> None:
        """``stores`` and ``fields`` are those of the shards that there are."""
        self._settings = settings
        self._layout = layout
        self._stores = stores
        self._fields = fields
        self._held: dict[int, list[Account]] = {}
        self._sizes: dict[int, int] = {}
        self.moved = 0
        self.stayed = 0

    async def write(self, clients: Clients, told: Told) -> None:
        """All or nothing. Raises EngineError, OSError."""
        async with mover(self._settings) as producer, producer.transaction():
            sending = Sending(producer)
            await self._write(sending, told)
            await sending.all_taken()
        await settle(self._settings, clients, self._layout.after)
        await self._check_written(clients)

    async def _check_written(self, clients: Clients) -> None:
        """That each shard's part can be read. Where the transaction's end was lost in all of them, nobody knows what it was. Raises EngineError,
        TimeoutError."""
        async with started(clients.journal_reader(), CONNECT_DEADLINE_S) as reader:
            for shard in range(self._layout.after):
                last = await _last(reader, shard)
                if last is None or JournalRecord.decode(last.value).sequence != self._layout.sequence(shard):
                    raise EngineError("Kafka has lost what was committed", where=f"{JOURNAL.name}, shard {shard}", cure=AGAIN)

    async def _write(self, sending: Sending, told: Told) -> None:
        for shard in range(self._layout.after):
            await sending.send(shard, self._layout.first(shard).encode())
        for shard, (store, fields) in enumerate(zip(self._stores, self._fields, strict=True)):
            async for accounts in accounts_of(store, fields):
                for account, value in accounts:
                    self._keep(shard, account, value)
                await self._flush(sending, RECORD_BYTES)
            told(shard + 1, len(self._stores))
        await self._flush(sending, 1)

    def _keep(self, shard: int, account: bytes, value: bytes) -> None:
        to = partition_of(account, self._layout.after)
        self.stayed, self.moved = self.stayed + (to == shard), self.moved + (to != shard)
        self._held.setdefault(to, []).append((account, value))
        self._sizes[to] = self._sizes.get(to, 0) + len(account) + len(value)

    async def _flush(self, sending: Sending, least: int) -> None:
        """Send what is held of shards that have so many bytes, and of the largest ones while it is too much in all."""
        full = [shard for shard, size in self._sizes.items() if size >= least]
        too_much = sum(self._sizes.values()) - HELD_BYTES
        for shard in heapq.nlargest(len(self._sizes), self._sizes, key=self._sizes.__getitem__) if too_much > 0 else ():
            if too_much > 0 and shard not in full:
                full.append(shard)
            too_much -= self._sizes[shard]
        for shard in full:
            await sending.send(shard, self._layout.more(shard, self._held.pop(shard)).encode())
            del self._sizes[shard]


async def accounts_of(store: ShardStore, fields: Mapping[str, bytes]) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    """All accounts of a shard, some at once. Raises EngineError if somebody writes to it meanwhile, OSError."""
    bucket, after, left = 0, b"", keys.BUCKETS
    while left:
        part = await store.slice(bucket % keys.BUCKETS, after, min(16, left), SLICE_ACCOUNTS)
        if part.applied != applied_of(fields):
            raise EngineError("somebody writes to Redis", where="reshard", cure="stop every worker and follower, then run this again")
        yield part.accounts.held()
        bucket, after, left = bucket + part.buckets, part.after, left - part.buckets


async def settle(settings: Settings, clients: Clients, shards: int) -> None:
    """Let the transaction of the run before be over, in every one of so many shards: what it has committed can be read then, in all of them, and
    nothing else ever. Raises EngineError, TimeoutError."""
    async with mover(settings) as producer:
        hanging = await hanging_in(producer.client, range(shards))
        if hanging:
            await _abort(producer, hanging)
            await _check_ends(producer.client, hanging)
    lost = await lost_parts(clients, shards)
    if lost:
        async with mover(settings) as producer:  # of another epoch: a request to abort that comes late must not end this
            async with producer.transaction():
                await _write_again(producer, clients, lost)
            await _check_ends(producer.client, [part.shard for part in lost])


@asynccontextmanager
async def mover(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """The producer of parts, which has fenced the run before. Raises EngineError where Kafka does not answer, now or within."""
    producer = AIOKafkaProducer(
        **kafka_options(settings.kafka),
        transactional_id=f"{settings.application}-reshard",
        transaction_timeout_ms=TRANSACTION_MS,
        max_request_size=JOURNAL.bytes_max,
        max_batch_size=JOURNAL.bytes_max,
        compression_type="zstd",
    )
    try:
        await producer.start()
        yield producer
    except (KafkaError, TimeoutError) as error:
        raise EngineError(f"the shards could not be begun anew: {error!r}", where=JOURNAL.name, cure=AGAIN) from error
    finally:
        await producer.stop()


async def hanging_in(client: AIOKafkaClient, shards: Iterable[int]) -> list[int]:
    """The shards in whose journal a transaction has no end, when its marker should have come. Raises KafkaError, TimeoutError."""
    topics = (JOURNAL.name,)
    found = [shard for shard in shards if (await ends_of(client, shard, topics)).hanging]
    ends = await asyncio.gather(*(await_ends(client, shard, topics) for shard in found))
    return [shard for shard, mine in zip(found, ends, strict=True) if mine.hanging]


async def lost_parts(clients: Clients, shards: int) -> list[Part]:
    """The parts that lie there and are not committed while another shard's is. Raises KafkaError, TimeoutError, ValueError for a record that
    cannot be read."""
    async with (
        started(clients.journal_reader(), CONNECT_DEADLINE_S) as committed,
        started(clients.uncommitted_reader(), CONNECT_DEADLINE_S) as written,
    ):
        parts = [part for shard in range(shards) if (part := await _uncommitted(committed, written, shard)) is not None]
        others = sorted(set(range(shards)) - {part.shard for part in parts})
        return [part for part in parts if await _is_committed(committed, others, part)]


async def _uncommitted(committed: AIOKafkaConsumer, written: AIOKafkaConsumer, shard: int) -> Part | None:
    """The part behind a shard's last committed record; of several the whole one, which has the most accounts: who writes one may be killed."""
    last, parts, is_open = await _last(committed, shard), list[Part](), False
    async for message in _messages(written, shard, 0 if last is None else last.offset + 1):
        record, behind = JournalRecord.decode(message.value), message.offset + 1
        if record.begun_together:
            is_open = True
            at_ms = min([message.timestamp, *(part.at_ms for part in parts if part.beginning == record.begun_together)])
            parts.append(Part(shard, record.begun_together, message.offset, behind, record.sequence, len(record.accounts), at_ms))
            continue
        is_open = is_open and record.sequence == parts[-1].sequence + 1 and not record.is_beginning
        if is_open:
            accounts = parts[-1].accounts + len(record.accounts)
            parts[-1] = parts[-1]._replace(behind=behind, sequence=record.sequence, accounts=accounts)
    return max(parts, key=lambda part: (part.accounts, part.first), default=None)


async def _last(reader: AIOKafkaConsumer, shard: int) -> Any:
    """The last committed message of a shard's journal, None if there is none."""
    place = TopicPartition(JOURNAL.name, shard)
    reader.assign([place])
    return await last_message(reader, place, *await bounds(reader, place, CONNECT_DEADLINE_S), CONNECT_DEADLINE_S)


async def _is_committed(reader: AIOKafkaConsumer, shards: Sequence[int], part: Part) -> bool:
    """Whether one of the shards has a part of the same transaction, which is committed."""
    for shard in shards:
        place = TopicPartition(JOURNAL.name, shard)
        reader.assign([place])
        first = (await reader.offsets_for_times({place: part.at_ms - WRITTEN_WITHIN_MS}))[place]
        if first is None:
            continue
        async for message in _messages(reader, shard, first.offset):
            if JournalRecord.decode(message.value).begun_together == part.beginning:
                return True
    return False


async def _messages(reader: AIOKafkaConsumer, shard: int, first: int, behind: int | None = None) -> AsyncIterator[Any]:
    """The messages of a shard's journal from one offset to another, or to its end."""
    place = TopicPartition(JOURNAL.name, shard)
    reader.assign([place])
    begins, end = await bounds(reader, place, CONNECT_DEADLINE_S)
    async for message in messages(reader, place, max(begins, first), end if behind is None else behind, CONNECT_DEADLINE_S):
        yield message


async def _abort(producer: AIOKafkaProducer, shards: Iterable[int]) -> None:
    """Abort what hangs of this producer's in the journal of shards."""
    await producer.begin_transaction()
    for shard in shards:
        producer._txn_manager.maybe_add_partition_to_txn(TopicPartition(JOURNAL.name, shard))
    await producer.abort_transaction()


async def _write_again(producer: AIOKafkaProducer, clients: Clients, parts: Iterable[Part]) -> None:
    """Write parts again by the bytes that lie there."""
    sending = Sending(producer)
    async with started(clients.uncommitted_reader(), CONNECT_DEADLINE_S) as reader:
        for part in parts:
            async for message in _messages(reader, part.shard, part.first, part.behind):
                await sending.send(part.shard, message.value)
    await sending.all_taken()


async def _check_ends(client: AIOKafkaClient, shards: Iterable[int]) -> None:
    """That nothing hangs in the journal of shards any more. Raises EngineError: it is a worker's, or has lost its end again."""
    for shard in await hanging_in(client, shards):
        what = f"a transaction has no end in {JOURNAL.name}"
        raise EngineError(what, where=f"shard {shard}", cure=f"run this again in a minute; if it is so still, {BY_WORKER}")
