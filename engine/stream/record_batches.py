"""What a fetch brought of one partition as columns, without an object for each record.

aiokafka makes an object of each record, and with it a few more: for a record of 250 bytes that costs more than to decide it. Here the batches
of a fetched partition are looked at one by one (checksum, transactions that were aborted, codec: as aiokafka does, by its own means), and
their records all at once by compiled code (``engine.core.record_batch``). Headers are few or none; they are read in Python, and their names may
be any bytes (``engine.stream.any_headers`` says why).
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

import numpy as np
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError

from engine.core.layout import MISSING, Topic
from engine.core.packed import Bytes, Packed, padded
from engine.core.record_batch import Part, split_records
from engine.core.tables import Ints
from engine.state.headers import read_headers
from engine.stream.any_headers import MAGIC, MAGIC_AT
from engine.stream.fetched import NoRecordsError, WholeRecords
from engine.stream.records import TOPICS, Chunk, Headers, chunk_of

HEADER: Final = struct.Struct(">qiibIhiqqqhii")
PART_BYTES: Final = 512 * 1024
CODEC_MASK: Final = 0x07
APPEND_TIME_MASK: Final = 0x08
CODECS: Final[dict[int, Callable[[bytes], bytes]]] = {0: bytes, 1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}


class Body(NamedTuple):
    """The records of a batch, decompressed, and what their differences are from. ``appended_ms`` is when the broker took them, where the topic
    goes by that, else None."""

    raw: bytes
    records: int
    first_offset: int
    first_ms: int
    appended_ms: int | None


def body_of(batch: memoryview) -> Body:
    """The records of a batch as it lies in the log. Raises UnsupportedCodecError."""
    first_offset, _, _, _, _, attributes, _, first_ms, newest_ms, _, _, _, count = HEADER.unpack_from(batch)
    codec = attributes & CODEC_MASK
    if codec not in CODECS:
        raise UnsupportedCodecError(f"codec {codec} is not known")
    raw = CODECS[codec](batch[HEADER.size :].tobytes())
    return Body(raw, count, first_offset, first_ms, newest_ms if attributes & APPEND_TIME_MASK else None)


def columns_of(topic: Topic, bodies: Sequence[Body]) -> Chunk:
    """The records of some batches of a partition. Raises NoRecordsError."""
    counts = np.array([body.records for body in bodies], np.int64)
    sizes = np.array([len(body.raw) for body in bodies], np.int64)
    wrong = np.flatnonzero((counts < 0) | (counts > sizes))  # perhaps so many that there is no memory for them
    if len(wrong):
        raise NoRecordsError(int(wrong[0]))
    ends = np.cumsum(sizes)
    data, found = padded(*(body.raw for body in bodies)), np.zeros((len(Part), int(counts.sum())), np.int64)
    damaged = split_records(data, ends, counts, found)
    if damaged >= 0:
        raise NoRecordsError(damaged)
    first_offset = np.array([body.first_offset for body in bodies], np.int64)
    first_ms = np.array([body.first_ms for body in bodies], np.int64)
    appended_ms = np.array([MISSING if body.appended_ms is None else body.appended_ms for body in bodies], np.int64)
    times_ms = found[Part.TIME] + np.repeat(first_ms, counts)
    times_ms = np.where(np.repeat(appended_ms, counts) == MISSING, times_ms, np.repeat(appended_ms, counts))
    offsets = found[Part.OFFSET] + np.repeat(first_offset, counts)
    headers = headers_of(data, found) if found[Part.HEADER_COUNT].any() else None
    keys, values = Packed(data, found[Part.KEY], found[Part.KEY_END]), Packed(data, found[Part.VALUE], found[Part.VALUE_END])
    return Chunk(topic, offsets, times_ms, keys, values, headers)


def headers_of(data: Bytes, found: Ints) -> list[Headers]:
    """The headers of each record."""
    raw = data.tobytes()
    return [
        tuple(read_headers(data, raw, at, count))
        for at, count in zip(found[Part.HEADERS].tolist(), found[Part.HEADER_COUNT].tolist(), strict=True)
    ]


class PartitionColumns(WholeRecords):
    """In the place of aiokafka's iterator over the records of a fetched partition: over chunks of them, of some ``PART_BYTES`` each. What is not
    asked for stays as it came, compressed.

    aiokafka drops what a paused partition has left, and reads it again. So the generator must not refer back to what holds it: a megabyte or two
    would stay each time, until garbage is collected.
    """

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Chunk]:
        """Raises CorruptRecordException behind what lies before a damaged batch."""
        return unpacked(cast("PartitionColumns", weakref.proxy(self)))

    def _is_aborted(self, batch: Any) -> bool:
        """Whether a batch is of a transaction that was aborted."""
        if batch.producer_id is None:
            return False
        self._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and self._contains_abort_marker(batch):
            self._aborted_producers.discard(batch.producer_id)
        return batch.is_transactional and batch.producer_id in self._aborted_producers


def unpacked(own: PartitionColumns) -> Iterator[Chunk]:
    """The chunks of a fetched partition. Raises CorruptRecordException."""
    topic, records, first = TOPICS[own._tp.topic], own._records, own.next_fetch_offset
    bodies: list[Body] = []
    position, size = first, 0
    while records.has_next():
        batch, raw = records.next_as_it_is()
        if own._check_crcs and not batch.validate_crc():
            yield from unpacked_until(own, topic, bodies, first, position)
            raise CorruptRecordException("the checksum is wrong")
        position, is_aborted = batch.next_offset, own._is_aborted(batch)
        if batch.is_control_batch or is_aborted:
            continue
        if raw[MAGIC_AT] < MAGIC:
            yield chunk_of(topic, [record for record in batch if record.offset >= first])
        else:
            bodies.append(body_of(raw))
            size += len(bodies[-1].raw)
        if size >= PART_BYTES:
            yield from unpacked_until(own, topic, bodies, first, position)
            bodies, size = [], 0
    yield from unpacked_until(own, topic, bodies, first, position)


def unpacked_until(own: PartitionColumns, topic: Topic, bodies: Sequence[Body], first: int, position: int) -> Iterator[Chunk]:
    """The records of some batches from offset ``first`` on, if there are any; the next fetch begins at ``position``. Raises NoRecordsError."""
    damage: NoRecordsError | None = None
    try:
        chunk = columns_of(topic, bodies)
    except NoRecordsError as error:
        position, damage = bodies[error.place].first_offset, error
        chunk = columns_of(topic, bodies[: error.place])
    own.next_fetch_offset = position
    chunk = chunk.slice(int(np.searchsorted(chunk.offsets, first)), len(chunk))
    if len(chunk):
        yield chunk
    if damage is not None:
        raise damage


def as_columns(value: bytes) -> bytes:
    """Given to a consumer as ``value_deserializer``, it says that the consumer takes chunks instead of records; it is never called."""
    return value


def _partition_records(tp: Any, records: Any, aborted: Any, offset: int, keys: Any, values: Any, *more: Any) -> WholeRecords:
    kind = PartitionColumns if values is as_columns else WholeRecords
    return kind(tp, records, aborted, offset, keys, values, *more)


fetcher.PartitionRecords = _partition_records  # the fetcher finds it there, and has no other place for it
