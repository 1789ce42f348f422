"""Reading a shard's journal: to catch up (PROTOCOL step 2), to replay, to follow, to rebuild.

Theory of operation. Records are missed if and only if the next one that can be read does not have the next sequence. Offsets tell nothing:
between two records lie markers, and whatever was aborted. A beginning (``JournalRecord.is_beginning``) voids what was before it, so behind one
nothing is missed; who lacks records reads on until one comes.

Where retention has deleted everything up to the journal's end, or the journal was lost together with the store, no sequence is left to tell. Then
what was announced does: an output that the store does not count yet was decided in a record that it has not applied. If there is none, nothing
was said since that could be contradicted, and the inputs themselves say whether they reach back to where the store is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from engine.state.record import JournalRecord
from engine.stream.render import OUTPUT_SEQUENCE_HEADER
from schemas.topics import ADVISORIES, CHANGES, JOURNAL

LOOK_BACK: Final = 64  # offsets, at first
REBUILD: Final = "restore a newer backup of Redis, or stop the workers and run `limit-engine rebuild`"
OTHER_JOURNAL: Final = (
    "this Redis belongs to another journal, or the journal was cut: restore the one or the other, or run `limit-engine rebuild`"
)

# Behind the last record lies its transaction's marker. Passing it brings nothing, and so aiokafka waits for as long as it may.
ASK_MS: Final = 50


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A committed record and where it lies; ``end`` is where the journal ended when reading began."""

    offset: int
    record: JournalRecord
    end: int = 0

    @property
    def behind(self) -> int:
        """How many records come after it, at most: a transaction that was aborted is not told from another."""
        return max(0, self.end - self.offset - 1) // 2


class JournalMismatchError(Exception):
    """The journal and what the store has applied of it do not belong together. ``cure`` is what the operator can do."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.cure = cure


class JournalEndsError(JournalMismatchError):
    """The journal ends before what the store has applied, or what was announced. For a moment that is also so where another owner has committed,
    and the end of its transaction is still to be written to the journal."""


class UnrecordedError(JournalEndsError):
    """The journal has no record of something that was announced."""


class NotCommittedError(JournalMismatchError):
    """What the store has applied last is not committed in the journal where it was written, nor further on."""


class Chain:
    """Which records of a shard's journal lead on from a sequence. ``next`` is that of the record that comes next."""

    def __init__(self, application: str, sequence: int) -> None:
        self.next = sequence
        self._application = application
        self._gap: JournalMismatchError | None = None

    def leads(self, record: JournalRecord, offset: int) -> bool:
        """Whether the record at an offset is the next one. Raises JournalMismatchError."""
        if record.application != self._application:
            raise JournalMismatchError(
                f"the journal is application {record.application!r}'s, and this worker is of {self._application!r}",
                f"set LIMITS_APPLICATION={record.application}; two applications cannot share topics",
            )
        if record.sequence != self.next and not (record.is_beginning and record.sequence > self.next):
            self._gap = self._gap or gap(self.next, f"with sequence {record.sequence} at offset {offset}")
            if record.sequence < self.next:
                raise self._gap
            return False
        if self._gap is not None and not record.is_beginning:
            return False
        self._gap, self.next = None, record.sequence + 1
        return True

    def end(self) -> None:
        """No more records come for now. Raises JournalMismatchError if some are missed."""
        if self._gap is not None:
            raise self._gap


async def read_journal(
    consumer: AIOKafkaConsumer, application: str, shard: int, first: int, sequence: int, outputs: int, deadline_s: float
) -> AsyncIterator[JournalEntry]:
    """The committed records from offset ``first`` to the end that the journal has now, for a store that is about to apply this sequence and
    counts so many outputs: those that lead on from there, all of this application. What the store has applied last must lie before, unless it
    is deleted; where it was written again (``engine.stream.hanging``) it comes first, to be applied again.
    ``consumer`` was not started yet, and is stopped in the end, also when it could not be started.

    Raises JournalMismatchError, DamagedBatchError, KafkaError, TimeoutError.
    """
    partition = TopicPartition(JOURNAL.name, shard)
    async with started(consumer, deadline_s):
        consumer.assign([partition])
        begins, end = await bounds(consumer, partition, deadline_s)
        if first > end:
            raise JournalEndsError(
                f"Redis has applied the journal up to offset {first - 1}, and the journal ends at {end}",
                OTHER_JOURNAL,
            )
        chain, is_silent, before = Chain(application, sequence), True, first - 1
        is_before_there = first == 0 or before < begins
        async for message in messages(consumer, partition, max(before, begins), end, deadline_s):
            record = JournalRecord.decode(message.value)
            if is_silent and record.sequence == sequence - 1:
                is_before_there = True
                if message.offset > before:  # it was written again
                    yield JournalEntry(message.offset, record, end)
                continue
            if not is_before_there:
                break
            is_silent = False
            if chain.leads(record, message.offset):
                yield JournalEntry(message.offset, record, end)
        if not is_before_there:
            raise NotCommittedError(
                f"what Redis has applied as sequence {sequence - 1}, at offset {before} of the journal, is not committed there", REBUILD
            )
        chain.end()
        if is_silent and (begins > first + 1 or sequence == 1):  # one offset may be the last commit's marker
            await check_announced(consumer, shard, sequence, outputs, begins, deadline_s)


async def check_announced(consumer: AIOKafkaConsumer, shard: int, sequence: int, outputs: int, begins: int, deadline_s: float) -> None:
    """Look, where the journal has nothing from offset ``begins`` on, whether more was announced than a store counts. Raises UnrecordedError,
    KafkaError, TimeoutError. What the consumer was assigned it is not any more."""
    announced = await newest_output(consumer, shard, deadline_s)
    if announced > outputs:
        raise unrecorded(sequence, announced, outputs)


async def newest_output(consumer: AIOKafkaConsumer, shard: int, deadline_s: float) -> int:
    """The ``output_sequence`` of what a shard has announced last; 0 if nothing."""
    newest = 0
    for topic in (CHANGES.name, ADVISORIES.name):
        partition = TopicPartition(topic, shard)
        consumer.assign([partition])
        begins, end = await bounds(consumer, partition, deadline_s)
        message = await last_message(consumer, partition, begins, end, deadline_s)
        if message is not None:
            newest = max(newest, int(dict(message.headers)[OUTPUT_SEQUENCE_HEADER]))
    return newest


async def bounds(consumer: AIOKafkaConsumer, partition: TopicPartition, deadline_s: float) -> tuple[int, int]:
    """Where a partition begins, and up to where it can be read now."""
    async with asyncio.timeout(deadline_s):
        begins = (await consumer.beginning_offsets([partition]))[partition]
        return begins, (await consumer.end_offsets([partition]))[partition]


async def messages(consumer: AIOKafkaConsumer, partition: TopicPartition, first: int, end: int, deadline_s: float) -> AsyncIterator[Any]:
    """The committed messages between two offsets of a partition that the consumer is assigned."""
    consumer.seek(partition, first)
    while await consumer.position(partition) < end:
        async with asyncio.timeout(deadline_s):
            fetched = await consumer.getmany(partition, timeout_ms=ASK_MS)
        for message in fetched.get(partition, []):
            if message.offset < end:
                yield message


async def last_message(consumer: AIOKafkaConsumer, partition: TopicPartition, begins: int, end: int, deadline_s: float) -> Any:
    """The last committed message between two offsets, None if there is none."""
    first, step, last = end, LOOK_BACK, None
    while last is None and first > begins:
        first, behind, step = max(begins, first - step), first, 4 * step
        async for message in messages(consumer, partition, first, behind, deadline_s):
            last = message
    return last


@asynccontextmanager
async def started(consumer: AIOKafkaConsumer, deadline_s: float) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer while it is started; it is stopped in any case, also when it could not be started: else its sockets would stay. Raises
    KafkaError, TimeoutError."""
    try:
        async with asyncio.timeout(deadline_s):
            await consumer.start()
        yield consumer
    finally:
        await stop(consumer)


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer."""
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        # A fetch that aiokafka cancels while it waits out an error cancels the stopping, which nobody asked for.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise


def unrecorded(sequence: int, announced: int, counted: int) -> UnrecordedError:
    """That more was announced than a store counts, and the journal does not have the record of this sequence."""
    return UnrecordedError(
        f"Redis needs the journal from sequence {sequence} on, of which it has no record; and {announced} outputs were announced, of which "
        f"Redis counts {counted}",
        REBUILD,
    )


def gap(expected: int, found: str) -> JournalMismatchError:
    """That records are missed."""
    return JournalMismatchError(f"Redis needs the journal from sequence {expected} on, and the journal goes on {found}", REBUILD)
