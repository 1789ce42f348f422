"""The commit: one Kafka transaction with the journal record and the outputs (PROTOCOL steps 1 and 6). Which of them is written first does not
matter: nobody reads any of them before the transaction is committed.

Theory of operation. A producer with the shard's transactional id fences its predecessor when it starts. A commit either succeeds, or is in
doubt: then nobody here may assume anything, the producer is dropped without waiting for it, and a new one finds out from the journal what
happened. One thing must never be done: to send a commit request (EndTxn) again in the same epoch when it got no answer, because the late first
copy could commit half of the *next* transaction. aiokafka repeats it; ``_OnceEndTxn`` does not. And aiokafka commits a transaction of which a
send has failed; so every send is awaited before the commit.

Nor is anything begun behind a connection that broke: a broker that dies may lose the end of the transaction before, which the fence finds
(``engine.stream.hanging``). Until the next one's first partitions are added nothing can touch what hangs; so they are not asked for again
either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import (
    IllegalOperation,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from aiokafka.producer.sender import AddPartitionsToTxnHandler, EndTxnHandler, Sender
from aiokafka.structs import RecordMetadata

from engine.connections import forbidden
from engine.state.outputs import Output, Outputs
from engine.stream.written_batches import written_batches
from schemas import cloudevents as ce
from schemas.topics import ADVISORIES, CHANGES, JOURNAL

STAMPED: Final = frozenset({CHANGES.name, ADVISORIES.name})  # what gets a time; a dead letter keeps the one it came with
BROKEN: Final = (CloseReason.CONNECTION_BROKEN, CloseReason.CONNECTION_TIMEOUT, CloseReason.OUT_OF_SYNC)


class CommitInDoubtError(Exception):
    """The transaction may or may not have been committed: start again from the journal."""


class FencedError(CommitInDoubtError):
    """Another owner of the shard has taken over (or this one has, again), or may have: the group knows."""


class CommitRefusedError(CommitInDoubtError):
    """Kafka finds too large what must be written to a topic. That it was not committed is certain; that it is so again next time is not."""

    cure: Final = "raise the topic's max.message.bytes to what `limit-engine topics create` gives it"

    def __init__(self, topic: str, error: MessageSizeTooLargeError) -> None:
        super().__init__(f"Kafka does not take what is written to {topic}: {error!r}")


class DroppableSender(Sender):  # type: ignore[misc]
    """aiokafka's sender, which can be dropped. Cancelled alone it waits for the requests under way; and these wait for metadata that nobody
    brings any more, until they are destroyed."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._is_dropped = False
        self._under_way: set[asyncio.Task[Any]] = set()

    def drop(self) -> None:
        """Cancel it and every request under way, those that it has not begun yet too."""
        self._is_dropped = True
        for task in (self._sender_task, *self._under_way):
            if task is not None:
                task.cancel()

    def _maybe_do_transactional_request(self) -> asyncio.Task[Any] | None:
        task: asyncio.Task[Any] | None = super()._maybe_do_transactional_request()
        self._note(task)
        return task

    async def _send_produce_req(self, node_id: int, batches: Any) -> None:
        if not self._is_dropped:
            self._note(asyncio.current_task())
            await super()._send_produce_req(node_id, batches)

    def _note(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None:
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            task.add_done_callback(see_failure)


class _Once:
    """A request of a transaction that is sent once; without an answer the producer's transaction is over for good."""

    async def do(self: Any, node_id: int) -> bool:
        request, sender = self.create_request(), self._sender
        try:
            answer = await sender.client.send(node_id, request, group=self.group)
        except KafkaError as error:
            sender._txn_manager.fatal_error(CommitInDoubtError(f"{type(request).__name__} got no answer: {error!r}"))
            return True
        backoff = self.handle_response(answer)
        if backoff is not None:  # an answer that says it was not done: it may be asked again
            await asyncio.sleep(backoff)
        return backoff is None


class _OnceEndTxn(_Once, EndTxnHandler):  # type: ignore[misc]
    """Ends a transaction."""


class _OnceAddPartitions(_Once, AddPartitionsToTxnHandler):  # type: ignore[misc]
    """Adds partitions to one."""


class _OnceSender(DroppableSender):
    """A sender that asks once for the first partitions of a transaction, and for its end."""

    async def _do_add_partitions_to_txn(self, tps: Any) -> bool:
        node_id = await self._find_coordinator(CoordinationType.TRANSACTION, self._txn_manager.transactional_id)
        return await _OnceAddPartitions(self, tps).do(node_id)

    async def _do_txn_commit(self, commit_result: Any) -> None:
        await self._message_accumulator.flush_for_commit()
        if self._txn_manager.is_empty_transaction():
            self._txn_manager.complete_transaction()
            return
        node_id = await self._find_coordinator(CoordinationType.TRANSACTION, self._txn_manager.transactional_id)
        await _OnceEndTxn(self, commit_result).do(node_id)


def see_failure(future: asyncio.Future[Any]) -> None:
    """Take note of how a future ends that perhaps nobody waits for any more: asyncio would log a fenced producer's last failures as errors of
    the program."""
    if not future.cancelled():
        future.exception()


def see_failures(producer: AIOKafkaProducer) -> None:
    """Take note of how a producer's transactions and batches end, likewise."""
    manager, accumulator = producer._txn_manager, producer._message_accumulator
    fail, fail_all, append = manager.fatal_error, accumulator.fail_all, accumulator._append_batch

    def seen(error: Exception) -> None:
        fail(error)
        see_failure(manager._transaction_waiter)

    def all_seen(error: Exception) -> None:
        batches = [*chain.from_iterable(accumulator._batches.values()), *accumulator._pending_batches]
        fail_all(error)
        for batch in batches:
            see_failure(batch._drain_waiter)

    def appended(builder: BatchBuilder, partition: TopicPartition) -> MessageBatch:
        batch = append(builder, partition)
        batch.future.add_done_callback(see_failure)
        return batch

    manager.fatal_error, accumulator.fail_all, accumulator._append_batch = seen, all_seen, appended


class ShardProducer:
    """The producer of one shard's owner, from ``start`` until ``drop``."""

    def __init__(self, producer: AIOKafkaProducer, shard: int, deadline_s: float) -> None:
        """``producer`` is transactional and was not started yet."""
        self._shard = shard
        self._deadline_s = deadline_s
        self._producer = producer
        self.was_cut = False  # whether a connection to Kafka has broken: then nothing more is begun
        self._note_cuts()
        see_failures(self._producer)
        sender = self._producer._sender
        self._producer._sender = _OnceSender(
            self._producer.client,
            acks=-1,
            txn_manager=self._producer._txn_manager,
            message_accumulator=self._producer._message_accumulator,
            retry_backoff_ms=int(sender._retry_backoff * 1000),
            request_timeout_ms=int(deadline_s * 1000),
        )

    @property
    def client(self) -> AIOKafkaClient:
        """What it is connected by, for requests that belong to no transaction."""
        return self._producer.client

    def _note_cuts(self) -> None:
        client = self.client
        inner = client._on_connection_closed

        def closed(connection: AIOKafkaConnection, reason: CloseReason | None) -> None:
            self.was_cut |= reason in BROKEN
            inner(connection, reason)

        client._on_connection_closed = closed

    async def start(self) -> None:
        """Connect and fence every predecessor. Raises CommitInDoubtError without an answer in time, EngineError where it is not allowed."""
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._producer.start()
        except (KafkaError, OSError) as error:
            self.drop()
            if isinstance(error, TransactionalIdAuthorizationFailed):
                raise forbidden("Write", error) from error
            raise CommitInDoubtError(f"no producer: {error!r}") from error

    async def commit(self, journal: bytes, *outputs: Outputs) -> int:
        """Commit a journal record and its outputs; returns the record's offset. Raises CommitInDoubtError; then ``drop`` is the only way on.
        EngineError: it is not allowed, and was not done."""
        if self.was_cut:
            raise CommitInDoubtError("a connection to Kafka broke: the transaction before may have no end")
        async with self._in_time():
            return await self._commit(journal, outputs)

    async def announce(self, outputs: Outputs) -> None:
        """Commit outputs that the journal says already. Raises as ``commit``."""
        async with self._in_time():
            await self._producer.begin_transaction()
            await self._hand_all_over([outputs], int(time.time() * 1000))

    async def abort(self, topics: Iterable[str]) -> None:
        """Abort what hangs of this transactional id in the shard's partitions of topics (``engine.stream.hanging``), by a transaction without
        records. Its markers follow. Raises as ``commit``."""
        async with self._in_time():
            await self._producer.begin_transaction()
            for topic in topics:
                self._producer._txn_manager.maybe_add_partition_to_txn(TopicPartition(topic, self._shard))
            await self._producer.abort_transaction()

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_s):
                yield
        except ProducerFenced as error:
            raise FencedError("another owner has fenced this one") from error
        except (TopicAuthorizationFailedError, TransactionalIdAuthorizationFailed) as error:
            raise forbidden("Write", error) from error
        except TimeoutError as error:  # this process may have stood still for as long, and have a fenced one's answer that it has not read
            raise FencedError(f"Kafka has not answered for {self._deadline_s:g} s: another owner may work") from error
        except (KafkaError, IllegalOperation, AssertionError, OSError) as error:
            raise CommitInDoubtError(repr(error)) from error

    def drop(self) -> None:
        """Close the sockets and cancel; never waits, since what it would wait for may never come."""
        producer = self._producer
        producer._closed = True
        producer._sender.drop()
        if producer.client._sync_task is not None:
            producer.client._sync_task.cancel()
        for connection in list(producer.client._conns.values()):
            connection.close()

    async def _commit(self, journal: bytes, outputs: Sequence[Outputs]) -> int:
        record = Outputs.of([Output(JOURNAL.name, None, journal, ())])  # type: ignore[arg-type]
        await self._producer.begin_transaction()
        taken = await self._hand_all_over([record, *outputs], int(time.time() * 1000))
        return int(taken[JOURNAL.name][0].offset)

    async def _hand_all_over(self, parts: Sequence[Outputs], now_ms: int) -> dict[str, list[RecordMetadata]]:
        """Write outputs, of other topics in each part, and commit when all of them are taken; returns where each topic has its batches. All is
        handed over before anything is awaited, so that one request adds the partitions to the transaction, and one brings the batches: a request
        costs broker and worker a millisecond each."""
        by_topic = [own for part in parts for own in part.by_topic()]
        handed_over = {topic: await self._hand_over(topic, own, now_ms) for topic, own in by_topic}
        taken = {topic: await self._all_taken(topic, batches) for topic, batches in handed_over.items()}
        await self._producer.commit_transaction()
        return taken

    async def _all_taken(self, topic: str, sent: Iterable[asyncio.Future[RecordMetadata]]) -> list[RecordMetadata]:
        """Return when Kafka has taken what was sent to a topic. Raises KafkaError, CommitRefusedError."""
        taken, failed = asyncio.gather(*sent), self._producer._txn_manager.wait_for_transaction_end()
        taken.add_done_callback(see_failure)
        # Where a partition may not be added to the transaction, it is the transaction that fails, and the batches get no answer.
        await asyncio.wait([taken, failed], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
        try:
            return taken.result()
        except MessageSizeTooLargeError as error:
            raise CommitRefusedError(topic, error) from error

    async def _hand_over(self, topic: str, outputs: Outputs, now_ms: int) -> list[asyncio.Future[RecordMetadata]]:
        """Hand outputs of one topic over in as few batches as possible; what must still be awaited."""
        decided_at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ms / 1000)) + f".{now_ms % 1000:03}Z"
        headers = ((ce.TIME, decided_at.encode()),) if topic in STAMPED else ()
        handed_over: list[asyncio.Future[RecordMetadata]] = []
        for batch in written_batches(outputs, headers, now_ms):
            future = await self._producer.send_batch(batch, topic, partition=self._shard)
            future.add_done_callback(see_failure)
            handed_over.append(future)
        return handed_over
