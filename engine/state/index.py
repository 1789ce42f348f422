"""Which row of a cache holds which account: a hash table in arrays, asked for a whole batch at once.

Theory of operation. ``table`` (a power of two, at least twice the slots) has slot + 1 at the account's place or behind it, 0 where nothing is
(open addressing with linear probing; Knuth, The Art of Computer Programming 3, 6.4). What is removed leaves no mark: those behind it that may
stand further ahead move up (ibid., algorithm R). The ids themselves lie in ``ids`` (slots, ID_WORDS) as little-endian words, the last one zero
behind its end, so two accounts are never taken for one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.core.jit import compiled
from engine.core.packed import WORD, Words, hash_of, masked
from engine.core.tables import Ints

ID_WORDS: Final = 32  # an id has at most 64 characters
UNKNOWN: Final = -1


@compiled
def is_id(ids: Words, lengths: Ints, slot: int, words: Words, begin: int, end: int) -> bool:
    """Whether the account in a slot is that of the bytes ``begin`` to ``end``."""
    if lengths[slot] != end - begin:
        return False
    for step in range(0, end - begin, WORD):
        if ids[slot, step // WORD] != masked(words, begin + step, min(WORD, end - begin - step)):
            return False
    return True


@compiled
def place_of(table: Ints, hashes: Words, ids: Words, lengths: Ints, words: Words, begin: int, end: int, own: np.uint64) -> np.int64:
    """The place in the table where an account with this hash stands, or would."""
    last = table.shape[0] - 1
    place = np.int64(own & np.uint64(last))
    while table[place] != 0:
        slot = table[place] - 1
        if hashes[slot] == own and is_id(ids, lengths, slot, words, begin, end):
            return place
        place = np.int64((place + 1) & last)
    return place


@compiled
def find(
    table: Ints,
    hashes: Words,
    ids: Words,
    lengths: Ints,
    words: Words,
    begins: Ints,
    ends: Ints,
    wanted: npt.NDArray[np.bool_],
    found: Ints,
) -> int:
    """Write to ``found`` (n,) the slots of the wanted accounts, UNKNOWN of those that are not held. Returns how many those are."""
    unknown = 0
    for i in range(found.shape[0]):
        if wanted[i]:
            own = hash_of(words, begins[i], ends[i])
            found[i] = table[place_of(table, hashes, ids, lengths, words, begins[i], ends[i], own)] - 1
            unknown += found[i] == UNKNOWN
    return unknown


@compiled
def remove(table: Ints, hashes: Words, slot: int) -> None:
    """Take the account in a slot out of the table, if it is there."""
    last = table.shape[0] - 1
    place = np.int64(hashes[slot] & np.uint64(last))
    while table[place] != slot + 1:
        if table[place] == 0:
            return
        place = np.int64((place + 1) & last)
    behind = np.int64((place + 1) & last)
    while table[behind] != 0:
        home = np.int64(hashes[table[behind] - 1] & np.uint64(last))
        if (behind - home) & last >= (behind - place) & last:
            table[place] = table[behind]
            place = behind
        behind = np.int64((behind + 1) & last)
    table[place] = 0


@compiled
def put(
    table: Ints,
    hashes: Words,
    ids: Words,
    lengths: Ints,
    words: Words,
    begins: Ints,
    ends: Ints,
    wanted: npt.NDArray[np.bool_],
    found: Ints,
    room: Ints,
) -> int:
    """Give the wanted accounts that are UNKNOWN the slots of ``room``, in their order; who was there goes. Returns how many were given, -1 if
    there was too little room."""
    given = 0
    for i in range(found.shape[0]):
        if not wanted[i] or found[i] != UNKNOWN:
            continue
        own = hash_of(words, begins[i], ends[i])
        place = place_of(table, hashes, ids, lengths, words, begins[i], ends[i], own)
        if table[place] == 0:
            if given == room.shape[0]:
                return -1
            slot = room[given]
            remove(table, hashes, slot)
            hashes[slot], lengths[slot] = own, ends[i] - begins[i]
            for step in range(0, lengths[slot], WORD):
                ids[slot, step // WORD] = masked(words, begins[i] + step, min(WORD, lengths[slot] - step))
            place = place_of(table, hashes, ids, lengths, words, begins[i], ends[i], own)
            table[place] = slot + 1
            given += 1
        found[i] = table[place] - 1
    return given


@compiled
def unused(queue: Ints, first: int, used: Ints, room: Ints) -> tuple[int, int]:
    """Write to ``room`` (n,) the next slots of the queue (2, m) that have not been used since they stood there: its second row says when each
    had been, ``used`` when it was. Returns the place of the first of them, from ``first`` on, and how many there are."""
    found = 0
    for place in range(first, queue.shape[1]):
        if found == room.shape[0]:
            break
        slot = queue[0, place]
        if used[slot] == queue[1, place]:
            room[found] = slot
            found += 1
        elif found == 0:
            first = place + 1
    return first, found


def ascending(ids: Words, lengths: Ints) -> Ints:
    """(n,) the order of ids (n, ID_WORDS) with these lengths by their bytes, which none has zeros among."""
    words = -(-int(lengths.max(initial=0)) // WORD)
    read = np.where(WORD * np.arange(words) < lengths[:, None], ids[:, :words], 0).astype(np.uint64).byteswap()
    return np.lexsort(read.T[::-1]) if words else np.arange(len(ids))
