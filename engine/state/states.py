"""The accounts that a commit has touched, with their encoded states: as columns, and as the bytes that the journal and Redis take of them.

Theory of operation. A batch touches thousands of accounts, and each would be some ten Python objects on its way from the kernel's rows to the
journal (MessagePack) and to Redis (RESP, grouped by bucket). Here compiled code writes both from the two columns. The bytes are those that
the libraries write: what reads them needs to know nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Self, overload

import numpy as np

from engine.core.forms import digits_in, put_digits
from engine.core.jit import compiled
from engine.core.packed import PADDING, Bytes, Packed, Words, copy, words_of
from engine.core.tables import Ints
from engine.state.keys import BUCKETS
from engine.state.packing import Arguments

MSGPACK_MAX: Final = 5  # bytes before an array's items or a string's bytes
RESP_MAX: Final = 16  # bytes around a string's
CRC_32: Final = 0xEDB88320  # the polynomial's bits, low ones first (ISO 3309)


def _crc_table() -> Words:
    table = np.arange(256, dtype=np.uint64)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ CRC_32, table >> 1).astype(np.uint64)
    return table


_TABLE: Final = _crc_table()


@compiled
def write_buckets(data: Bytes, begins: Ints, ends: Ints, table: Words, found: Ints) -> None:
    """Write the bucket of each account to ``found`` (n,): ``engine.state.keys.bucket_of``."""
    for i in range(begins.shape[0]):
        crc = np.int64(0xFFFFFFFF)
        for at in range(begins[i], ends[i]):
            crc = np.int64(table[(crc ^ data[at]) & 0xFF]) ^ (crc >> 8)
        found[i] = (crc ^ 0xFFFFFFFF) & (BUCKETS - 1)


@compiled
def put_size(out: Bytes, at: int, size: int, tag: int) -> int:
    """Write a big-endian size behind the tag for two bytes, or behind the next one, for four."""
    width = 2 if size < 1 << 16 else 4
    out[at] = tag + (width == 4)
    for i in range(width):
        out[at + 1 + i] = (size >> (8 * (width - 1 - i))) & 0xFF
    return at + 1 + width


@compiled
def put_binary(out: Bytes, out_words: Words, at: int, words: Words, begin: int, end: int) -> int:
    """Write a byte string as MessagePack; nil for one that is absent."""
    if end < begin:
        out[at] = 0xC0
        return at + 1
    if end - begin < 1 << 8:
        out[at], out[at + 1] = 0xC4, end - begin
        at += 2
    else:
        at = put_size(out, at, end - begin, 0xC5)
    return copy(words, begin, end - begin, out_words, at)


@compiled
def put_pairs(
    out: Bytes, out_words: Words, ids: Words, id_begins: Ints, id_ends: Ints, values: Words, value_begins: Ints, value_ends: Ints
) -> int:
    """Write an array of pairs as MessagePack. Returns the place behind it."""
    at = 0
    count = id_begins.shape[0]
    if count < 16:
        out[at] = 0x90 | count
        at += 1
    else:
        at = put_size(out, at, count, 0xDC)
    for i in range(count):
        out[at] = 0x92
        at = put_binary(out, out_words, at + 1, ids, id_begins[i], id_ends[i])
        at = put_binary(out, out_words, at, values, value_begins[i], value_ends[i])
    return at


@compiled
def put_number(out: Bytes, at: int, number: int) -> int:
    """Write a number in decimal digits, and the end of the line."""
    at = put_digits(out, at, number)
    out[at], out[at + 1] = 0x0D, 0x0A
    return at + 2


@compiled
def put_bulk(out: Bytes, out_words: Words, at: int, words: Words, begin: int, end: int) -> int:
    """Write a byte string as RESP."""
    out[at] = 0x24
    at = copy(words, begin, end - begin, out_words, put_number(out, at + 1, end - begin))
    out[at], out[at + 1] = 0x0D, 0x0A
    return at + 2


@compiled
def put_count(out: Bytes, at: int, count: int) -> int:
    """Write a number as RESP string."""
    out[at] = 0x24
    return put_number(out, put_number(out, at + 1, digits_in(np.uint64(count))), count)


@compiled
def put_asked(out: Bytes, out_words: Words, order: Ints, buckets: Ints, ids: Words, begins: Ints, ends: Ints) -> int:
    """Write for each bucket, in the order given, how many accounts are asked for, and they. Returns the place behind it."""
    at = first = 0
    while first < order.shape[0]:
        stop = bucket_end(order, buckets, first)
        at = put_count(out, at, stop - first)
        for i in order[first:stop]:
            at = put_bulk(out, out_words, at, ids, begins[i], ends[i])
        first = stop
    return at


@compiled
def bucket_end(order: Ints, buckets: Ints, first: int) -> int:
    """Where in the order the bucket that begins at ``first`` ends."""
    stop = first + 1
    while stop < order.shape[0] and buckets[order[stop]] == buckets[order[first]]:
        stop += 1
    return stop


@compiled
def put_buckets(
    out: Bytes,
    out_words: Words,
    order: Ints,
    buckets: Ints,
    ids: Words,
    id_begins: Ints,
    id_ends: Ints,
    values: Words,
    value_begins: Ints,
    value_ends: Ints,
) -> tuple[int, int]:
    """Write for each bucket, in the order given: how many strings follow and they, as account, state, ...; then how many accounts are to be
    removed, and they. Returns the place behind it, and how many strings were written."""
    at = first = strings = 0
    while first < order.shape[0]:
        stop, kept = bucket_end(order, buckets, first), 0
        for i in order[first:stop]:
            kept += value_ends[i] >= value_begins[i]
        at = put_count(out, at, 2 * kept)
        for i in order[first:stop]:
            if value_ends[i] >= value_begins[i]:
                at = put_bulk(out, out_words, at, ids, id_begins[i], id_ends[i])
                at = put_bulk(out, out_words, at, values, value_begins[i], value_ends[i])
        at = put_count(out, at, stop - first - kept)
        for i in order[first:stop]:
            if value_ends[i] < value_begins[i]:
                at = put_bulk(out, out_words, at, ids, id_begins[i], id_ends[i])
        strings += 2 + stop - first + kept
        first = stop
    return at, strings


def in_buckets(accounts: Packed) -> tuple[list[int], Ints, Ints]:
    """The buckets of accounts: each once, ascending; of each account; and the accounts' order by them."""
    buckets = np.zeros(len(accounts), np.int64)
    write_buckets(accounts.data, accounts.begins, accounts.ends, _TABLE, buckets)
    return np.unique(buckets).tolist(), buckets, np.argsort(buckets, kind="stable")


def asked_for(accounts: Packed) -> tuple[list[int], Ints, Arguments]:
    """The buckets of accounts, the order in which these are asked for, and what ``load.lua`` asks for."""
    touched, buckets, order = in_buckets(accounts)
    strings = len(accounts) + len(touched)
    out = np.empty(accounts.size() + RESP_MAX * strings + PADDING, np.uint8)
    end = put_asked(out, words_of(out), order, buckets, accounts.words, accounts.begins, accounts.ends)
    return touched, order, Arguments(strings, out[:end].tobytes())


class States(Sequence[tuple[bytes, bytes | None]]):
    """Accounts with their encoded states: in a record in ascending order of id, and None of one that is to be removed."""

    def __init__(self, ids: Packed, values: Packed) -> None:
        self.ids = ids
        self.values = values

    @classmethod
    def of(cls, pairs: Iterable[tuple[bytes, bytes | None]]) -> Self:
        """What is given one by one."""
        listed = list(pairs)
        return cls(Packed.of(account for account, _ in listed), Packed.of(value for _, value in listed))

    def held(self) -> list[tuple[bytes, bytes]]:
        """The accounts that have a state, with it."""
        return [(account, value) for account, value in self if value is not None]

    def as_msgpack(self) -> bytes:
        """An array of [id, value]."""
        ids, values = self.ids, self.values
        out = np.empty(ids.size() + values.size() + (1 + 2 * MSGPACK_MAX) * len(self) + MSGPACK_MAX + PADDING, np.uint8)
        end = put_pairs(out, words_of(out), ids.words, ids.begins, ids.ends, values.words, values.begins, values.ends)
        return out[:end].tobytes()

    def by_bucket(self) -> tuple[list[int], Arguments]:
        """The buckets that are touched, and for each of them what ``apply.lua`` asks for."""
        ids, values = self.ids, self.values
        touched, buckets, order = in_buckets(ids)
        strings_max = 2 * (len(self) + len(touched))
        out = np.empty(ids.size() + values.size() + RESP_MAX * strings_max + PADDING, np.uint8)
        columns = ids.words, ids.begins, ids.ends, values.words, values.begins, values.ends
        end, strings = put_buckets(out, words_of(out), order, buckets, *columns)
        return touched, Arguments(strings, out[:end].tobytes())

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> tuple[bytes, bytes | None]: ...

    @overload
    def __getitem__(self, place: slice) -> States: ...

    def __getitem__(self, place: int | slice) -> tuple[bytes, bytes | None] | States:
        if isinstance(place, slice):
            return States(self.ids[place], self.values[place])
        return self.ids[place] or b"", self.values[place]

    def __iter__(self) -> Iterator[tuple[bytes, bytes | None]]:
        return ((account or b"", value) for account, value in zip(self.ids, self.values, strict=True))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, States) else NotImplemented

    def __repr__(self) -> str:
        return f"States.of({list(self)!r})"

    __hash__ = None  # type: ignore[assignment]


NO_STATES: Final = States.of(())
