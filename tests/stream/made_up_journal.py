"""A journal whose records are made up, as a consumer gives them."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from engine.state.outputs import NO_OUTPUTS
from engine.state.record import JournalRecord
from engine.state.states import NO_STATES
from schemas.topics import JOURNAL


def record_of(sequence: int) -> JournalRecord:
    return JournalRecord("limits", 0, sequence, "0", "", 0, 0, (), NO_STATES, (), NO_OUTPUTS, (), ())


class Reader:
    """A consumer of shard 0's journal, which has records of these sequences by offset, and ends somewhere."""

    def __init__(self, sequences: Mapping[int, int], end: int) -> None:
        self._end = end
        self._position = 0
        self._records = [SimpleNamespace(offset=offset, value=record_of(sequence).encode()) for offset, sequence in sequences.items()]

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    def assign(self, partitions: list[TopicPartition]) -> None:
        return

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {partitions[0]: 0}

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {partitions[0]: self._end}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._position = offset

    async def position(self, partition: TopicPartition) -> int:
        return self._position

    async def getmany(self, *_: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        before, self._position = self._position, self._end
        return {TopicPartition(JOURNAL.name, 0): [record for record in self._records if before <= record.offset < self._end]}
