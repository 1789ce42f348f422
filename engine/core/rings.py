"""Rings of tiles, most of whose cells are empty, and the index that says which are not.

Theory of operation. A windowed measure keeps its tiles in a ring, a run of cells of the account's row: tile k in cell ``k mod tiles``. An
account has something in few of them, and whoever goes through all (to store a row, to read a window, to clear it) would spend his time on
reading zeros from memory. So each ring has an index in front in the row, a bit for each cell: a cell whose bit is not set is 0. Whoever
writes a cell marks it; a marked cell may be 0.
"""

from __future__ import annotations

import numpy as np

from engine.core.bit_counts import ONE, ZERO, bits_set, lowest_bit
from engine.core.jit import compiled
from engine.core.tables import Ints


def index_words(tiles: int) -> int:
    """How many words the index of a ring has."""
    return (tiles + 63) >> 6


words_in_index = compiled(index_words)  # for compiled code; who lays out a row does not wait for a compiler


@compiled
def mark(row: Ints, index: int, place: int) -> None:
    """Say that a cell may be other than 0; ``index`` is the first word of the ring's index, ``place`` the cell's in the ring."""
    row[index + (place >> 6)] |= np.int64(1) << (place & 63)


@compiled
def is_marked(row: Ints, index: int, place: int) -> bool:
    """Whether a cell may be other than 0."""
    return (row[index + (place >> 6)] >> (place & 63)) & 1 == 1


@compiled
def cell_of(row: Ints, base: int, index: int, place: int) -> int:
    """What a cell holds."""
    return row[base + place] if is_marked(row, index, place) else 0


@compiled
def empty(row: Ints, base: int, index: int, place: int) -> None:
    """Empty a cell."""
    if is_marked(row, index, place):
        row[base + place] = 0
        row[index + (place >> 6)] &= ~(np.int64(1) << (place & 63))


@compiled
def cells_marked(row: Ints, index: int, tiles: int) -> int:
    """How many cells of a ring may be other than 0."""
    count = 0
    for word in range(index, index + words_in_index(tiles)):
        count += bits_set(row[word])
    return count


@compiled
def empty_ring(row: Ints, base: int, index: int, tiles: int) -> None:
    """Empty all cells of a ring."""
    for word in range(words_in_index(tiles)):
        left = np.uint64(row[index + word])
        while left != ZERO:
            row[base + 64 * word + lowest_bit(left)] = 0
            left &= left - ONE
        row[index + word] = 0
