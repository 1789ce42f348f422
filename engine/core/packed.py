"""Byte strings as a column: many of them in one buffer, so that compiled code reads them and no Python object stands for each.

``begins`` and ``ends`` say where each string lies in ``data``, in any order and with anything between; one that is absent (Kafka's null) ends
before it begins. Behind the last string ``data`` has at least ``PADDING`` bytes, since compiled code looks at strings a word at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from engine.core.jit import compiled
from engine.core.tables import Ints

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

PADDING: Final = 16
WORD: Final = 8
ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio (Knuth, The Art of Computer Programming 3, 6.4)
HALF: Final = np.uint64(32)


@compiled
def masked(words: Words, at: int, length: int) -> np.uint64:
    """The first ``length`` (1 to 8) bytes from ``at`` on, the others zero."""
    return words[at] & (ALL >> np.uint64(64 - 8 * length))


@compiled
def are_same(words: Words, begin: int, others: Words, other: int, length: int) -> bool:
    """Whether so many bytes are the same in two buffers."""
    for step in range(0, length, WORD):
        count = min(WORD, length - step)
        if masked(words, begin + step, count) != masked(others, other + step, count):
            return False
    return True


@compiled
def hash_of(words: Words, begin: int, end: int) -> np.uint64:
    """A hash of the bytes ``begin`` to ``end``, for tables in memory only."""
    found = np.uint64(end - begin) * SPREAD
    at = begin
    while at < end:
        found = (found ^ masked(words, at, min(WORD, end - at))) * SPREAD
        found ^= found >> HALF
        at += WORD
    return found


@compiled
def write_hashes(words: Words, begins: Ints, ends: Ints, found: Words) -> None:
    """Write the hash of each string to ``found`` (n,)."""
    for i in range(begins.shape[0]):
        found[i] = hash_of(words, begins[i], ends[i])


@compiled
def within_distinct(hashes: Words, most: int, table: Words) -> int:
    """How many of the first have at most ``most`` different hashes. ``table`` is zeros, a power of two of them that is above ``most``."""
    last, found = table.shape[0] - 1, 0
    for i in range(hashes.shape[0]):
        own = hashes[i] | np.uint64(1)  # 0 is where nothing stands
        place = np.int64((own >> HALF) & np.uint64(last))
        while table[place] != 0 and table[place] != own:
            place = (place + 1) & last
        if table[place] == 0:
            if found == most:
                return i
            table[place] = own
            found += 1
    return hashes.shape[0]


@compiled
def copy(words: Words, begin: int, length: int, out: Words, at: int) -> int:
    """Copy a string to byte ``at`` of a buffer, a word at a time: up to 7 bytes behind it are written, too. Returns the place behind it; of one
    with a negative length ``at``."""
    for step in range(0, length, WORD):
        out[at + step] = words[begin + step]
    return at + max(length, 0)


@compiled
def gather(words: Words, begins: Ints, ends: Ints, out: Words, at: int, out_begins: Ints, out_ends: Ints) -> int:
    """Copy strings behind each other into a buffer from byte ``at`` on, a word at a time, and say where they lie. ``words`` and ``out`` are the
    words of both buffers; the other one has at least 7 bytes more than is needed. Returns the place behind the last string."""
    for i in range(begins.shape[0]):
        length = ends[i] - begins[i]
        out_begins[i], out_ends[i] = at, at + length
        at = copy(words, begins[i], length, out, at)
    return at


@compiled
def total(begins: Ints, ends: Ints) -> int:
    """Bytes of all strings that are there."""
    found = 0
    for i in range(begins.shape[0]):
        found += max(ends[i] - begins[i], 0)
    return found


def words_of(data: Bytes) -> Words:
    """The little-endian 64-bit word that begins at each byte of a buffer."""
    return np.ndarray((len(data) - WORD + 1,), np.uint64, data, strides=(1,))


def padded(*parts: bytes | memoryview) -> Bytes:
    """A buffer with these bytes, one behind the other, and the padding."""
    data = np.empty(sum(map(len, parts)) + PADDING, np.uint8)
    at = 0
    for part in parts:
        data[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)
    data[at:] = 0
    return data


@dataclass(frozen=True, slots=True)
class Packed(Sequence[bytes | None]):
    """A column of byte strings, some of which may be absent: ``data`` (bytes,) uint8, ``begins`` and ``ends`` (n,) int64."""

    data: Bytes
    begins: Ints
    ends: Ints

    @classmethod
    def of(cls, strings: Iterable[bytes | None]) -> Packed:
        """A column of these strings."""
        listed = list(strings)
        data = padded(b"".join(string for string in listed if string is not None))
        lengths = np.fromiter((-1 if string is None else len(string) for string in listed), np.int64, len(listed))
        begins = np.zeros(len(listed), np.int64)
        np.cumsum(np.maximum(lengths[:-1], 0), out=begins[1:])
        return cls(data, begins, begins + lengths)

    @classmethod
    def empty(cls, count: int) -> Packed:
        """A column of ``count`` strings without a byte."""
        return cls(padded(), np.zeros(count, np.int64), np.zeros(count, np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Packed]) -> Packed:
        """The strings of these columns one behind the other."""
        return parts[0] if len(parts) == 1 else cls.copied(parts)

    @classmethod
    def copied(cls, parts: Sequence[Packed]) -> Packed:
        """Likewise, in a buffer of its own that holds nothing else."""
        out = np.zeros(sum(part.size() for part in parts) + PADDING, np.uint8)
        begins, ends = (np.zeros(sum(map(len, parts)), np.int64) for _ in range(2))
        at = first = 0
        for part in parts:
            last = first + len(part)
            at = gather(part.words, part.begins, part.ends, words_of(out), at, begins[first:last], ends[first:last])
            first = last
        return cls(out, begins, ends)

    @property
    def words(self) -> Words:
        """``words_of`` the data."""
        return words_of(self.data)

    def at(self, places: npt.NDArray[Any]) -> Packed:
        """The strings at these places, or where this mask is true."""
        return Packed(self.data, self.begins[places], self.ends[places])

    def lengths(self) -> Ints:
        """(n,) the bytes of each string; -1 of one that is absent."""
        return self.ends - self.begins

    def is_present(self) -> npt.NDArray[np.bool_]:
        """(n,) whether each string is there."""
        return self.ends >= self.begins

    def present(self) -> list[bytes]:
        """The strings that are there."""
        return [string for string in self if string is not None]

    def size(self) -> int:
        """Bytes of all strings."""
        return total(self.begins, self.ends)

    def without_empty(self) -> Packed:
        """The column with what is empty absent."""
        return Packed(self.data, self.begins, np.where(self.begins == self.ends, self.begins - 1, self.ends))

    def hashes(self) -> Words:
        """(n,) the hash of each string, for tables in memory only."""
        found = np.zeros(len(self), np.uint64)
        write_hashes(self.words, self.begins, self.ends, found)
        return found

    def __len__(self) -> int:
        return len(self.begins)

    @overload
    def __getitem__(self, place: int) -> bytes | None: ...

    @overload
    def __getitem__(self, place: slice) -> Packed: ...

    def __getitem__(self, place: int | slice) -> bytes | Packed | None:
        if isinstance(place, slice):
            return Packed(self.data, self.begins[place], self.ends[place])
        begin, end = self.begins[place], self.ends[place]
        return None if end < begin else self.data[begin:end].tobytes()

    def __iter__(self) -> Iterator[bytes | None]:
        first = int(self.begins.min(initial=len(self.data)))
        raw = self.data[first : int(self.ends.max(initial=0))].tobytes()
        for begin, end in zip((self.begins - first).tolist(), (self.ends - first).tolist(), strict=True):
            yield None if end < begin else raw[begin:end]

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Packed) else NotImplemented

    __hash__ = None  # type: ignore[assignment]
