"""Kafka's record batches (message format 2) as columns: the layout of the records, read by compiled code.

The body of a batch is, for each record: length, attributes, time and offset as differences to the batch's first, key, value, headers; lengths and
differences are variable-length integers in zigzag coding (Apache Kafka documentation, "Message format"; Protocol Buffers' encoding).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from engine.core.jit import compiled
from engine.core.packed import Bytes
from engine.core.tables import Ints

DAMAGED: Final = -1
VARINT_BYTES_MAX: Final = 10


class Part(IntEnum):
    """Rows of what is found of each record: where its parts lie in the body (a null ends before it begins)."""

    OFFSET = 0  # less the batch's first
    TIME = 1  # less the batch's first, ms
    KEY = 2
    KEY_END = 3
    VALUE = 4
    VALUE_END = 5
    HEADERS = 6
    HEADER_COUNT = 7


@compiled
def varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """The integer at a place, and the place behind it: ``end`` + 1 if it does not end before ``end``."""
    value, shift = 0, 0
    while at < end and shift < 7 * VARINT_BYTES_MAX:
        byte = int(data[at])
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) & 0x7FFFFFFFFFFFFFFF ^ -(value & 1), at
        shift += 7
    return 0, end + 1


@compiled
def skip_bytes(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """Where the string behind its length begins and ends, and the place behind it: beyond ``end`` if it does not fit."""
    length, at = varint(data, at, end)
    if at > end or length > end - at:
        return 0, 0, end + 1
    return at, at + max(length, -1), at + max(length, 0)


@compiled
def split_record(data: Bytes, at: int, end: int, found: Ints) -> int:
    """Write where the parts of the record at a place lie to ``found`` (len(Part),). Returns the place behind it, DAMAGED if it does not end
    before ``end`` or is none."""
    length, at = varint(data, at, end)
    last = at + length
    if length < 0 or last > end:
        return DAMAGED
    at += 1  # attributes, which mean nothing
    found[Part.TIME], at = varint(data, at, last)
    found[Part.OFFSET], at = varint(data, at, last)
    found[Part.KEY], found[Part.KEY_END], at = skip_bytes(data, at, last)
    found[Part.VALUE], found[Part.VALUE_END], at = skip_bytes(data, at, last)
    count, at = varint(data, at, last)
    if at > last or count < 0:
        return DAMAGED
    found[Part.HEADERS], found[Part.HEADER_COUNT] = at, count
    for _ in range(count):
        begin, name_end, at = skip_bytes(data, at, last)
        _, _, at = skip_bytes(data, at, last)
        if at > last or name_end < begin:
            return DAMAGED
    return last if at == last else DAMAGED


@compiled
def split_records(data: Bytes, ends: Ints, counts: Ints, found: Ints) -> int:
    """Write where the parts of records lie to ``found`` (len(Part), n): those of bodies that lie one behind the other in ``data``, each up to
    one of ``ends`` and with so many records as ``counts`` say. Returns the place of the first body that is no such records, -1 if all are."""
    at = i = 0
    for body in range(ends.shape[0]):
        for _ in range(counts[body]):
            at = split_record(data, at, ends[body], found[:, i])
            if at == DAMAGED:
                return body
            i += 1
        if at != ends[body]:
            return body
    return -1
