"""The encoded states of the accounts that were written last, in a bounded number of bytes.

Theory of operation. ``ring`` holds *entries* one behind the other, from the oldest to the front and then round again: a head (``En``), the
account's id, its state, each up to a whole word. What comes is written at the front, and the oldest entries make room for it. An account that
is written again takes its old place if the state fits there and the place is not in the older half; else its old entry is nobody's and it
moves to the front. So who is busy stays, the others go in the order in which they were written last, and nothing is ever sorted, or moved to
make room.

Which entry is an account's is said by a table as in ``engine.state.index``; a slot is there the word at which an entry begins.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from engine.core.jit import compiled
from engine.core.packed import PADDING, WORD, Packed, Words, are_same, copy, hash_of, words_of
from engine.core.tables import Ints
from engine.state.index import remove

GROWTH: Final = 8  # of so many words of an entry one more is left free: states grow
NOBODYS: Final = -1


class En(IntEnum):
    """The words of an entry's head."""

    WORDS = 0  # of all of it, and what is free behind the state: a multiple of the head's
    HASH = 1
    ID_BYTES = 2  # NOBODYS: it only takes room
    STATE_BYTES = 3


class At(IntEnum):
    """Where the ring stands."""

    FRONT = 0  # the word at which the next entry is written
    TAKEN = 1  # how many words before it are
    HELD = 2  # how many accounts


HEAD: Final = len(En)
ENTRY_WORDS_MIN: Final = 4 * HEAD  # few are shorter, and the table need not be longer for them


@compiled
def whole(size: int) -> int:
    """How many words so many bytes take."""
    return (size + WORD - 1) // WORD


@compiled
def place_of(table: Ints, ring: Ints, data: Words, ids: Words, begin: int, end: int, own: np.uint64) -> np.int64:
    """The place in the table where an account with this hash stands, or would."""
    last = table.shape[0] - 1
    place = np.int64(own & np.uint64(last))
    while table[place] != 0:
        entry = table[place] - 1
        is_as_long = ring[entry + En.ID_BYTES] == end - begin
        if is_as_long and np.uint64(ring[entry + En.HASH]) == own and are_same(data, WORD * (entry + HEAD), ids, begin, end - begin):
            return place
        place = np.int64((place + 1) & last)
    return place


@compiled
def leave(table: Ints, ring: Ints, hashes: Words, at: Ints, entry: int) -> None:
    """Let an entry be nobody's."""
    if ring[entry + En.ID_BYTES] != NOBODYS:
        remove(table, hashes, entry)
        ring[entry + En.ID_BYTES] = NOBODYS
        at[At.HELD] -= 1


@compiled
def make_room(table: Ints, ring: Ints, hashes: Words, at: Ints, count: int) -> None:
    """Let the oldest entries go until so many words at the front are free."""
    while ring.shape[0] - at[At.TAKEN] < count:
        oldest = (at[At.FRONT] - at[At.TAKEN]) % ring.shape[0]
        leave(table, ring, hashes, at, oldest)
        at[At.TAKEN] -= ring[oldest + En.WORDS]


@compiled
def add(table: Ints, ring: Ints, hashes: Words, at: Ints, count: int) -> int:
    """Add an entry of so many words, which is nobody's yet, at the front. Returns where."""
    make_room(table, ring, hashes, at, count)
    entry = int(at[At.FRONT])
    ring[entry + En.WORDS], ring[entry + En.ID_BYTES] = count, NOBODYS
    at[At.FRONT] = (entry + count) % ring.shape[0]
    at[At.TAKEN] += count
    return entry


@compiled
def keep(
    table: Ints,
    ring: Ints,
    hashes: Words,
    data: Words,
    at: Ints,
    ids: Words,
    id_begins: Ints,
    id_ends: Ints,
    states: Words,
    state_begins: Ints,
    state_ends: Ints,
) -> None:
    """Hold the states of accounts; one that is absent, or as large as half of the ring, is not held any more. ``data`` are the ring's words as
    ``words_of`` has them, ``hashes`` what lies at HASH."""
    for i in range(id_begins.shape[0]):
        id_bytes, state_bytes = id_ends[i] - id_begins[i], state_ends[i] - state_begins[i]
        own = hash_of(ids, id_begins[i], id_ends[i])
        entry = table[place_of(table, ring, data, ids, id_begins[i], id_ends[i], own)] - 1
        state_at = HEAD + whole(id_bytes)
        needed = state_at + whole(max(0, state_bytes))
        is_kept = state_bytes >= 0 and 2 * max(needed, ENTRY_WORDS_MIN) < ring.shape[0]
        if entry >= 0 and not (is_kept and needed <= ring[entry + En.WORDS] and 2 * written_since(ring, at, entry) <= ring.shape[0]):
            leave(table, ring, hashes, at, entry)
            entry = -1
        if not is_kept:
            continue
        if entry < 0:
            count = max(ENTRY_WORDS_MIN, -(-(needed + needed // GROWTH) // HEAD) * HEAD)
            if ring.shape[0] - at[At.FRONT] < count:  # an entry lies in one piece
                add(table, ring, hashes, at, ring.shape[0] - at[At.FRONT])
            entry = add(table, ring, hashes, at, count)
            ring[entry + En.HASH], ring[entry + En.ID_BYTES] = np.int64(own), id_bytes
            copy(ids, id_begins[i], id_bytes, data, WORD * (entry + HEAD))
            table[place_of(table, ring, data, ids, id_begins[i], id_ends[i], own)] = entry + 1
            at[At.HELD] += 1
        ring[entry + En.STATE_BYTES] = state_bytes
        copy(states, state_begins[i], state_bytes, data, WORD * (entry + state_at))


@compiled
def written_since(ring: Ints, at: Ints, entry: int) -> int:
    """How many words were written since an entry was begun."""
    return int((at[At.FRONT] - entry - 1) % ring.shape[0]) + 1


@compiled
def recall(table: Ints, ring: Ints, data: Words, ids: Words, begins: Ints, ends: Ints, state_begins: Ints, state_ends: Ints) -> None:
    """Write where the states of accounts lie, in bytes; of one that is not held an end before its beginning."""
    for i in range(begins.shape[0]):
        own = hash_of(ids, begins[i], ends[i])
        entry = table[place_of(table, ring, data, ids, begins[i], ends[i], own)] - 1
        state_begins[i], state_ends[i] = 0, -1
        if entry >= 0:
            state_begins[i] = WORD * (entry + HEAD + whole(ends[i] - begins[i]))
            state_ends[i] = state_begins[i] + ring[entry + En.STATE_BYTES]


class StateCache:
    """Encoded states of accounts in about ``size`` bytes."""

    def __init__(self, size: int) -> None:
        words = size // (WORD * HEAD) * HEAD
        self._data = np.zeros(WORD * words + PADDING, np.uint8)
        self._ring: Ints = self._data[: WORD * words].view(np.int64)
        self._hashes: Words = self._data[WORD * En.HASH : WORD * (words + En.HASH)].view(np.uint64)
        self._table = np.zeros(1 << (1 + 2 * words // ENTRY_WORDS_MIN).bit_length(), np.int64)
        self._at = np.zeros(len(At), np.int64)

    def __len__(self) -> int:
        return int(self._at[At.HELD])

    def forget(self) -> None:
        """Forget every account."""
        self._table[:] = 0
        self._at[:] = 0

    def keep(self, accounts: Packed, states: Packed) -> None:
        """Hold these states of accounts; one that is absent is not held any more."""
        columns = accounts.words, accounts.begins, accounts.ends, states.words, states.begins, states.ends
        keep(self._table, self._ring, self._hashes, words_of(self._data), self._at, *columns)

    def recall(self, accounts: Packed) -> Packed:
        """(n,) the states of accounts, absent where none is held; until the next one is."""
        begins, ends = (np.zeros(len(accounts), np.int64) for _ in range(2))
        recall(self._table, self._ring, words_of(self._data), accounts.words, accounts.begins, accounts.ends, begins, ends)
        return Packed(self._data, begins, ends)
