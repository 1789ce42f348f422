"""Fetched batches as columns are the records that aiokafka reads from them, in every codec, with nulls, headers and aborted transactions."""

from __future__ import annotations

import gc
import struct
import weakref
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from engine.core.layout import Topic
from engine.stream import record_batches
from engine.stream.any_headers import AnyHeaders
from engine.stream.fetched import DamagedBatchError
from engine.stream.record_batches import PartitionColumns, as_columns
from engine.stream.records import Chunk

CHECKED = "their checksum is wrong"
UNCHECKED = "they are not those that their batch says"
PLACE = TopicPartition("purchases", 3)
TEXTS = st.none() | st.binary(max_size=300)
HEADERS = st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=40)), max_size=3)
RECORDS = st.lists(st.tuples(TEXTS, TEXTS, HEADERS, st.integers(0, 2**41)), min_size=1, max_size=6)
BATCHES = st.lists(st.tuples(st.integers(0, 4), RECORDS, st.sampled_from([None, 7, 8])), max_size=6)


def batch(codec: int, records: Sequence[tuple[Any, Any, Any, int]], producer: int | None = None) -> bytearray:
    """A batch from offset 0 on; with a ``producer`` it is of a transaction."""
    builder = DefaultRecordBatchBuilder(2, codec, producer is not None, -1 if producer is None else producer, 0, 0, 1 << 20)
    for offset, (key, value, headers, at_ms) in enumerate(records):
        assert builder.append(offset, at_ms, key, value, headers)
    return bytearray(builder.build())


def at(offset: int, raw: bytearray) -> bytes:
    """The batch where a log has it: neither its offset nor its leader's epoch is in its checksum."""
    return struct.pack(">q", offset) + bytes(raw[8:])


def test_the_format_before_batches_is_read_too() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    for offset in range(3):
        builder.append(offset, 1_000 + offset, b"key", b"value %d" % offset)
    chunk, position = read(bytes(builder.build()), [], 1)
    told = list(zip(chunk.offsets.tolist(), chunk.times_ms.tolist(), chunk.keys, chunk.values, strict=True))
    assert told == [(1, 1_001, b"key", b"value 1"), (2, 1_002, b"key", b"value 2")]
    assert position == 3


def read(raw: bytes, aborted: list[tuple[int, int]], first: int) -> tuple[Chunk, int]:
    """The columns, and where the next fetch begins."""
    found = PartitionColumns(PLACE, AnyHeaders(raw), aborted, first, None, as_columns, True, READ_COMMITTED)
    return Chunk.joined(Topic.PURCHASE, list(found)), found.next_fetch_offset


@pytest.mark.parametrize("part_bytes", [1, record_batches.PART_BYTES])
@given(BATCHES, st.integers(0, 20), st.integers(0, 5))
def test_they_are_what_aiokafka_reads(part_bytes: int, batches: list[tuple[int, Any, int | None]], gap: int, skipped: int) -> None:
    log, offset = b"", 100
    for codec, records, producer in batches:
        log += at(offset, batch(codec, records, producer))
        offset += len(records) + gap
    first = 100 + min(skipped, len(batches[0][1]) - 1 if batches else 0)  # a log is fetched from the batch on that has the position
    aborted = [(7, 100)]
    plain = PartitionRecords(PLACE, AnyHeaders(log), list(aborted), first, None, None, True, READ_COMMITTED)
    records = list(plain)
    with mock.patch.object(record_batches, "PART_BYTES", part_bytes):
        chunk, position = read(log, list(aborted), first)
    told = zip(chunk.offsets.tolist(), chunk.times_ms.tolist(), chunk.keys, chunk.values, strict=True)
    assert list(told) == [(r.offset, r.timestamp, r.key, r.value) for r in records]
    assert [tuple(r.headers) for r in records] == (chunk.headers if chunk.headers is not None else [()] * len(chunk))
    assert position == plain.next_fetch_offset


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize("place", range(61, 75))
def test_what_is_before_a_damaged_batch_is_whole(place: int, is_checked: bool) -> None:
    good = batch(0, [(b"k", b"value", [("n", b"v")], 5)])
    bad = bytearray(at(1, good))
    bad[place] ^= 0x55
    found = PartitionColumns(PLACE, AnyHeaders(at(0, good) + bytes(bad)), [], 0, None, as_columns, is_checked, READ_COMMITTED)
    offsets = [offset for chunk in found for offset in chunk.offsets.tolist()]
    if is_checked or found.next_fetch_offset == 1:  # unchecked it may be a byte of a string, of a number, or of what means nothing
        assert (found.next_fetch_offset, offsets) == (1, [0])
        again = PartitionColumns(PLACE, AnyHeaders(bytes(bad)), [], 1, None, as_columns, is_checked, READ_COMMITTED)
        with pytest.raises(
            DamagedBatchError, match=f"purchases, partition 3, are damaged at offset 1: {CHECKED if is_checked else UNCHECKED}"
        ):
            next(again)


@pytest.mark.parametrize("count", [-1, 2**31 - 1])
def test_a_batch_that_says_too_much_is_damaged(count: int) -> None:
    bad = bytearray(at(0, batch(0, [(b"k", b"value", [], 5)])))
    bad[57:61] = struct.pack(">i", count)
    with pytest.raises(DamagedBatchError, match=f"at offset 0: {UNCHECKED}"):
        next(PartitionColumns(PLACE, AnyHeaders(bytes(bad)), [], 0, None, as_columns, False, READ_COMMITTED))


def test_what_is_dropped_half_read_leaves_nothing() -> None:
    log = b"".join(at(offset, batch(0, [(b"k", bytes(1_000), [], 5)])) for offset in range(4))
    with mock.patch.object(record_batches, "PART_BYTES", 1):
        found = PartitionColumns(PLACE, AnyHeaders(log), [], 0, None, as_columns, True, READ_COMMITTED)
        assert len(next(found)) == 1
    gone = weakref.ref(found)
    gc.disable()
    try:
        del found
        assert gone() is None
    finally:
        gc.enable()
