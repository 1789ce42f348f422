"""Reading a shard's journal: to catch up (PROTOCOL step 2), to replay, to follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from engine.state.record import JournalRecord
from schemas.topics import JOURNAL

# Behind the last record lies its transaction's marker. Passing it brings nothing, and so aiokafka waits for as long as it may.
ASK_MS: Final = 50


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A committed record and where it lies."""

    offset: int
    record: JournalRecord


class JournalMismatchError(Exception):
    """The journal and what the store has applied of it do not belong together. ``cure`` is what the operator can do."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.cure = cure


class JournalEndsError(JournalMismatchError):
    """The journal ends before what the store has applied. For a moment that is also so where another owner has committed and applied, and the
    end of its transaction is still to be written to the journal."""


async def read_journal(
    consumer: AIOKafkaConsumer, application: str, shard: int, first: int, sequence: int, deadline_s: float
) -> AsyncIterator[JournalEntry]:
    """The committed records from offset ``first`` to the end that the journal has now; the first one must have this sequence, and all must be
    of this application. ``consumer`` was not started yet, and is stopped in the end, also when it
    could not be started.

    Raises JournalMismatchError, KafkaError, TimeoutError.
    """
    partition = TopicPartition(JOURNAL.name, shard)
    try:
        async with asyncio.timeout(deadline_s):
            await consumer.start()
        consumer.assign([partition])
        async with asyncio.timeout(deadline_s):
            begins = (await consumer.beginning_offsets([partition]))[partition]
            end = (await consumer.end_offsets([partition]))[partition]
        if first > end:
            raise JournalEndsError(
                f"Redis has applied the journal up to offset {first - 1}, and the journal ends at {end}",
                "this Redis belongs to another journal, or the journal was cut: restore the one or the other",
            )
        expected = sequence
        consumer.seek(partition, max(first, begins))
        while await consumer.position(partition) < end:
            async with asyncio.timeout(deadline_s):
                fetched = await consumer.getmany(partition, timeout_ms=ASK_MS)
            for message in fetched.get(partition, []):
                record = JournalRecord.decode(message.value)
                if record.application != application:
                    raise JournalMismatchError(
                        f"the journal is application {record.application!r}'s, and this worker is of {application!r}",
                        f"set LIMITS_APPLICATION={record.application}; two applications cannot share topics",
                    )
                if record.sequence != expected:
                    raise _gap(expected, f"with sequence {record.sequence} at offset {message.offset}")
                expected += 1
                yield JournalEntry(message.offset, record)
        if expected == sequence and begins > first + 1:  # one offset may be the last commit's marker
            raise _gap(expected, f"at offset {begins}, without a record")
    finally:
        try:
            await consumer.stop()
        except asyncio.CancelledError:
            # A fetch that aiokafka cancels while it waits out an error cancels the stopping, which nobody asked for.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise


def _gap(expected: int, found: str) -> JournalMismatchError:
    return JournalMismatchError(
        f"Redis needs the journal from sequence {expected} on, and the journal goes on {found}",
        "restore a newer backup of Redis, or rebuild the shard",
    )
