"""Fetched records as every consumer of aiokafka in this process gives them; whoever imports this module has it so.

``PartitionRecords`` gives what lies before a damaged batch like anything else, and then the batch's offset instead of only its partition.
``MemoryRecords`` reads headers' names of any bytes (``engine.stream.any_headers``).

Kafka does not look at its own files again after it was stopped in good order, and gives a batch whose bytes have changed on disk to whoever asks.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException

from engine.errors import EngineError
from engine.stream.any_headers import AnyHeaders

WHOLE: Final = (
    "let a replica whose copy is whole lead this partition (stop the broker, delete its directory of the partition, start it again), "
    "or restore a copy of the topic; then start again what has stopped"
)


class DamagedBatchError(EngineError):
    """A batch of a partition is not what was written. What lies before ``offset`` is whole."""

    def __init__(self, partition: TopicPartition, offset: int, why: str) -> None:
        what = f"the records of {partition.topic}, partition {partition.partition}, are damaged at offset {offset}: {why}"
        super().__init__(what, where="Kafka", cure=WHOLE)
        self.partition = partition
        self.offset = offset


class NoRecordsError(CorruptRecordException):  # type: ignore[misc]
    """The body at ``place`` has the right checksum, and is not the records that its batch says."""

    def __init__(self, place: int) -> None:
        super().__init__(f"batch {place} is not the records that it says")
        self.place = place


class WholeRecords(PartitionRecords):  # type: ignore[misc]
    """The records of a fetched partition, up to the first batch that is damaged."""

    _has_given = False

    def __next__(self) -> Any:
        try:
            record = super().__next__()
        except CorruptRecordException as error:
            if self._has_given:  # these are taken; the next fetch begins with the batch
                raise StopIteration from error
            why = "they are not those that their batch says" if isinstance(error, NoRecordsError) else "their checksum is wrong"
            raise DamagedBatchError(self._tp, self.next_fetch_offset, why) from error
        self._has_given = True
        return record


fetcher.PartitionRecords = WholeRecords  # the fetcher finds it there, and has no other place for it
fetcher.MemoryRecords = AnyHeaders
