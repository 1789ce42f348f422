"""Another store follows the journal: every shard's committed records, in sequence, by the same apply script as the owner's.

Theory of operation. Applying needs no owner, so a follower asks nobody, fences nobody and writes nothing to Kafka. It goes on from what its store
has applied, so it may be stopped and started, and its store may come back older, as an owner's may; and a worker that is pointed at the store
takes over from there. Only what is missing stops it: then it says so, as a worker does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from engine.errors import EngineError
from engine.state import keys
from engine.state.record import JournalRecord
from engine.state.redis_store import StoreAway
from engine.state.store import ShardStore, applied_of
from engine.stream.clients import CONNECT_DEADLINE_S, KafkaClients
from engine.stream.journal import Chain, JournalMismatchError, check_announced, gap, started, stop
from engine.stream.refusals import refuse_to_apply
from schemas.topics import JOURNAL

T = TypeVar("T")
log = structlog.get_logger("follow")
AGAIN_S: Final = 1.0
FETCH_MS: Final = 1_000
COPY: Final = (
    "put a newer copy of the workers' Redis into this one, or empty it if the journal still has its first records, and follow again"
)


@dataclass(slots=True)
class Followed:
    """How far a shard is: the sequence applied, the offset read up to, where the journal ended when it was last asked, and how many records
    were applied here."""

    shard: int
    store: ShardStore
    chain: Chain
    outputs: int
    sequence: int
    position: int
    end: int
    records: int = 0
    is_checked: bool = True  # that nothing is missed where the journal has no record to tell

    @property
    def behind(self) -> int:
        """How many records are still to come, at most: a transaction that was aborted is not told from another."""
        return (max(0, self.end - self.position) + 1) // 2

    def plain(self) -> dict[str, int]:
        """As JSON tells it."""
        return {"shard": self.shard, "sequence": self.sequence, "behind": self.behind, "applied": self.records}


class Follower:
    """Brings stores to the end of the journal. ``is_patient``: a store that is away is waited for."""

    def __init__(
        self,
        application: str,
        partitions: int,
        journal_id: str,
        clients: KafkaClients,
        store: Callable[[int], ShardStore],
        *,
        is_patient: bool,
    ) -> None:
        self.shards: dict[int, Followed] = {}
        self._application = application
        self._partitions = [TopicPartition(JOURNAL.name, number) for number in range(partitions)]
        self._journal_id = journal_id
        self._clients = clients
        self._store = store
        self._is_patient = is_patient
        self._consumer: Any = None

    @property
    def behind(self) -> int:
        """How many records of all shards are still to come, at most."""
        return sum(at.behind for at in self.shards.values())

    async def begin(self) -> None:
        """Connect, and look where every store is. Raises EngineError, KafkaError, OSError."""
        self._consumer = self._clients.journal_reader()
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            await self._consumer.start()
        self._consumer.assign(self._partitions)
        for partition in self._partitions:
            await self._open(partition)

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await stop(self._consumer)

    async def step(self) -> None:
        """Read some more of the journal, and apply it. Raises EngineError, KafkaError, OSError."""
        try:
            fetched = await self._consumer.getmany(timeout_ms=FETCH_MS)
        except OffsetOutOfRangeError as error:
            partition, offset = next(iter(error.args[0].items()))
            at = self.shards[partition.partition]
            with telling(at.shard):
                raise gap(at.chain.next, f"behind offset {offset}, which it does not have any more") from error
        await asyncio.gather(*(self._take(partition, found) for partition, found in fetched.items()))
        ends = await self._consumer.end_offsets(self._partitions)
        for partition in self._partitions:
            at = self.shards[partition.partition]
            at.position, at.end = await self._consumer.position(partition), ends[partition]
            if at.position >= at.end:
                await self._check(at)

    async def _open(self, partition: TopicPartition) -> None:
        shard, store = partition.partition, self._store(partition.partition)
        fields = await self._patiently(store.shard_fields)
        begins = (await self._consumer.beginning_offsets([partition]))[partition]
        end = (await self._consumer.end_offsets([partition]))[partition]
        applied, outputs = applied_of(fields), int(fields.get(keys.OUTPUTS, b"0"))
        first = int(fields.get(keys.JOURNAL_OFFSET, b"-1")) + 1
        refuse_to_apply(f"shard {shard}", fields, {JOURNAL.name: self._journal_id}, COPY)
        if first > end:
            what = f"this Redis has applied the journal up to offset {first - 1}, and the journal ends at {end}"
            raise EngineError(what, where=f"shard {shard}", cure=COPY)
        at = max(first, begins)
        self._consumer.seek(partition, at)
        chain = Chain(self._application, applied + 1)
        self.shards[shard] = Followed(shard, store, chain, outputs, applied, at, end, is_checked=begins <= first + 1)

    async def _check(self, at: Followed) -> None:
        """That nothing is missed of a journal that was read to its end."""
        with telling(at.shard):
            at.chain.end()
            if at.is_checked:
                return
            async with started(self._clients.journal_reader(), CONNECT_DEADLINE_S) as reader:
                await check_announced(reader, at.shard, at.chain.next, at.outputs, at.position, CONNECT_DEADLINE_S)
            at.is_checked = True

    async def _take(self, partition: TopicPartition, found: list[Any]) -> None:
        """Apply some messages of a partition."""
        at = self.shards[partition.partition]
        for message in found:
            with telling(at.shard):
                record = JournalRecord.decode(message.value)
                if at.records == 0 and record.sequence == at.sequence:  # what was applied last was written again
                    await self._applied(at.store, record, message.offset)
                    continue
                is_next = at.chain.leads(record, message.offset)
            if not is_next:
                continue
            at.is_checked = True
            at.sequence = await self._applied(at.store, record, message.offset)
            if at.sequence != record.sequence:
                log.warning("this Redis is not where it was; goes on from where it is", shard=at.shard, sequence=at.sequence)
                await self._open(partition)
                return
            at.records += 1
            made_with = int(dict(record.fields).get(keys.PARTITIONS, str(len(self._partitions))))
            if made_with != len(self._partitions):
                raise EngineError(
                    f"the deployment has {made_with} shards from here on, and {len(self._partitions)} are followed",
                    where=f"shard {at.shard}",
                    cure="follow again: all of them are followed then",
                )

    async def _applied(self, store: ShardStore, record: JournalRecord, offset: int) -> int:
        return await self._patiently(lambda: store.apply(record, offset))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        is_told = False
        while True:
            try:
                return await call()
            except StoreAway as away:
                if not self._is_patient:
                    raise
                if not is_told:
                    log.warning("waiting", reason=str(away))
                is_told = True
                await asyncio.sleep(AGAIN_S)


@contextmanager
def telling(shard: int) -> Iterator[None]:
    """What does not belong together, as an error that names the shard and what to do with a store that follows."""
    where = f"shard {shard}"
    try:
        yield
    except JournalMismatchError as mismatch:
        is_about_names = mismatch.cure.startswith("set ")
        raise EngineError(str(mismatch), where=where, cure=mismatch.cure if is_about_names else COPY) from mismatch
    except ValueError as error:
        raise EngineError(str(error), where=where) from error
