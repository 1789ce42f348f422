"""The encoded states of the accounts that were written last, in a bounded number of bytes.

Theory of operation. ``ring`` holds *entries* one behind the other, from the oldest to the front and then round again: a head (``En``), the
account's id, its state, each up to a whole word. What comes is written at the front, and the oldest entries make room for it. An account that
is written again takes its old place if the state fits there and the place is not in the older half; else its old entry is nobody's and it
moves to the front. So who is busy stays, the others go in the order in which they were written last, and nothing is ever sorted.

The ring begins short. Where it is full and could be longer, nobody goes: what is somebody's is moved to a new one, in its order, and that is as
long, or twice as long if more than half would be taken. So few accounts take few bytes, however often they are written.

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

FIRST_WORDS: Final = 1 << 12
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
    LIVE = 3  # in how many words
    WANTED = 4  # how many words there was no room for


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
        at[At.LIVE] -= ring[entry + En.WORDS]


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
    first: int,
    words_max: int,
) -> int:
    """Hold the states of accounts from one on; one that is absent, or as large as half of the longest ring, is not held any more. Returns up to
    which account it came: to all, unless there is no room and the ring may be longer. ``data`` are the ring's words as ``words_of`` has them,
    ``hashes`` what lies at HASH."""
    is_longest = ring.shape[0] >= words_max
    for i in range(first, id_begins.shape[0]):
        id_bytes, state_bytes = id_ends[i] - id_begins[i], state_ends[i] - state_begins[i]
        own = hash_of(ids, id_begins[i], id_ends[i])
        entry = table[place_of(table, ring, data, ids, id_begins[i], id_ends[i], own)] - 1
        state_at = HEAD + whole(id_bytes)
        needed = state_at + whole(max(0, state_bytes))
        count = max(ENTRY_WORDS_MIN, -(-(needed + needed // GROWTH) // HEAD) * HEAD)
        is_kept = state_bytes >= 0 and 2 * count < words_max
        is_old = is_longest and entry >= 0 and 2 * written_since(ring, at, entry) > ring.shape[0]
        if entry >= 0 and (is_old or not is_kept or needed > ring[entry + En.WORDS]):
            leave(table, ring, hashes, at, entry)
            entry = -1
        if not is_kept:
            continue
        if entry < 0:
            unfit = ring.shape[0] - at[At.FRONT] if ring.shape[0] - at[At.FRONT] < count else 0  # an entry lies in one piece
            if not is_longest and ring.shape[0] - at[At.TAKEN] < unfit + count:
                at[At.WANTED] = count
                return i
            if unfit:
                add(table, ring, hashes, at, unfit)
            entry = add(table, ring, hashes, at, count)
            ring[entry + En.HASH], ring[entry + En.ID_BYTES] = np.int64(own), id_bytes
            copy(ids, id_begins[i], id_bytes, data, WORD * (entry + HEAD))
            table[place_of(table, ring, data, ids, id_begins[i], id_ends[i], own)] = entry + 1
            at[At.HELD] += 1
            at[At.LIVE] += count
        ring[entry + En.STATE_BYTES] = state_bytes
        copy(states, state_begins[i], state_bytes, data, WORD * (entry + state_at))
    return len(id_begins)


@compiled
def move(ring: Ints, at: Ints, to_table: Ints, to_ring: Ints, to_at: Ints) -> None:
    """Take what is somebody's to another ring, in which nothing is."""
    entry, last = int((at[At.FRONT] - at[At.TAKEN]) % max(1, ring.shape[0])), to_table.shape[0] - 1
    left = at[At.TAKEN]
    while left > 0:
        count = ring[entry + En.WORDS]
        if ring[entry + En.ID_BYTES] != NOBODYS:
            front = to_at[At.FRONT]
            for word in range(count):
                to_ring[front + word] = ring[entry + word]
            place = np.int64(np.uint64(ring[entry + En.HASH]) & np.uint64(last))
            while to_table[place] != 0:
                place = np.int64((place + 1) & last)
            to_table[place] = front + 1
            to_at[At.FRONT] += count
        entry, left = int((entry + count) % ring.shape[0]), left - count
    to_at[At.TAKEN] = to_at[At.LIVE] = to_at[At.FRONT]
    to_at[At.HELD] = at[At.HELD]


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
    """Encoded states of accounts in about ``size`` bytes, when there are so many."""

    def __init__(self, size: int) -> None:
        self._words_max = size // (WORD * HEAD) * HEAD
        self._at = np.zeros(len(At), np.int64)
        self._lay(min(FIRST_WORDS, self._words_max))

    def _lay(self, words: int) -> None:
        """Have an empty ring."""
        self._data = np.zeros(WORD * words + PADDING, np.uint8)
        self._ring: Ints = self._data[: WORD * words].view(np.int64)
        self._hashes: Words = self._data[WORD * En.HASH : WORD * (words + En.HASH)].view(np.uint64)
        self._table = np.zeros(1 << (1 + 2 * words // ENTRY_WORDS_MIN).bit_length(), np.int64)

    def __len__(self) -> int:
        return int(self._at[At.HELD])

    @property
    def size(self) -> int:
        """How many bytes it has now, those of the table included."""
        return self._data.nbytes + self._table.nbytes

    def forget(self) -> None:
        """Forget every account."""
        self._table[:] = 0
        self._at[:] = 0

    def keep(self, accounts: Packed, states: Packed) -> None:
        """Hold these states of accounts; one that is absent is not held any more."""
        done = 0
        while (done := self._keep(accounts, states, done)) < len(accounts):
            self.make_room()

    def _keep(self, accounts: Packed, states: Packed, first: int) -> int:
        arrays = self._table, self._ring, self._hashes, words_of(self._data), self._at
        ids, values = (accounts.words, accounts.begins, accounts.ends), (states.words, states.begins, states.ends)
        return keep(*arrays, *ids, *values, first, self._words_max)

    def make_room(self) -> None:
        """Move to a ring in which at most half is taken, and what is wanted has room; or to the longest."""
        words, ring, at = len(self._ring), self._ring, self._at
        while words < self._words_max and 2 * (at[At.LIVE] + at[At.WANTED]) > words:
            words = min(2 * words, self._words_max)
        self._lay(words)
        self._at = np.zeros(len(At), np.int64)
        move(ring, at, self._table, self._ring, self._at)

    def recall(self, accounts: Packed) -> Packed:
        """(n,) the states of accounts, absent where none is held; until the next one is."""
        begins, ends = (np.zeros(len(accounts), np.int64) for _ in range(2))
        recall(self._table, self._ring, words_of(self._data), accounts.words, accounts.begins, accounts.ends, begins, ends)
        return Packed(self._data, begins, ends)
