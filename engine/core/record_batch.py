"""Kafka's record batches (message format 2) as columns: the layout of the records, read and written by compiled code.

The body of a batch is, for each record: length, attributes, time and offset as differences to the batch's first, key, value, headers; lengths and
differences are variable-length integers in zigzag coding (Apache Kafka documentation, "Message format"; Protocol Buffers' encoding).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from engine.core.jit import compiled
from engine.core.packed import Bytes, Words, copy
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


@compiled
def varint_size(number: int) -> int:
    """How many bytes an integer has in zigzag coding."""
    rest, size = (number << 1) ^ (number >> 63), 1
    while rest & ~0x7F != 0:
        rest = (rest >> 7) & 0x01FFFFFFFFFFFFFF
        size += 1
    return size


@compiled
def put_varint(out: Bytes, at: int, number: int) -> int:
    """Write an integer in zigzag coding. Returns the place behind it."""
    rest = (number << 1) ^ (number >> 63)
    while rest & ~0x7F != 0:
        out[at] = (rest & 0x7F) | 0x80
        rest = (rest >> 7) & 0x01FFFFFFFFFFFFFF
        at += 1
    out[at] = rest
    return at + 1


@compiled
def put_string(words: Words, begin: int, end: int, out: Bytes, out_words: Words, at: int) -> int:
    """Write a string, null if it ends before it begins, behind its length. Returns the place behind it."""
    return copy(words, begin, end - begin, out_words, put_varint(out, at, max(end - begin, -1)))


@compiled
def string_size(begin: int, end: int) -> int:
    """How many bytes ``put_string`` writes."""
    return varint_size(max(end - begin, -1)) + max(end - begin, 0)


@compiled
def write_records(
    keys: Words,
    key_begins: Ints,
    key_ends: Ints,
    told: Words,
    value_begins: Ints,
    value_ends: Ints,
    header_begins: Ints,
    header_ends: Ints,
    header_counts: Ints,
    more: Words,
    more_bytes: int,
    more_count: int,
    out: Bytes,
    out_words: Words,
) -> int:
    """Write records (n,) as the body of a batch that has the time of all of them; values and headers lie in ``told``. Behind each record's own
    headers come ``more_count`` others, the first ``more_bytes`` of ``more``. Returns how many bytes it are; ``out`` has 7 more at least."""
    at = 0
    for i in range(key_begins.shape[0]):
        own_bytes = header_ends[i] - header_begins[i]
        size = (
            2 + varint_size(i) + string_size(key_begins[i], key_ends[i]) + string_size(value_begins[i], value_ends[i])
        )  # attributes, time
        size += varint_size(header_counts[i] + more_count) + own_bytes + more_bytes
        at = put_varint(out, at, size)
        out[at] = out[at + 1] = 0
        at = put_varint(out, at + 2, i)
        at = put_string(keys, key_begins[i], key_ends[i], out, out_words, at)
        at = put_string(told, value_begins[i], value_ends[i], out, out_words, at)
        at = put_varint(out, at, header_counts[i] + more_count)
        at = copy(told, header_begins[i], own_bytes, out_words, at)
        at = copy(more, 0, more_bytes, out_words, at)
    return at
