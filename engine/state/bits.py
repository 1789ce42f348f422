"""Integers as bits in a row of 64-bit words, written and read by compiled code.

Theory of operation. Bit i of the data is bit i % 64 of word i // 64, so on a little-endian machine bit i % 8 of byte i // 8; a machine of the
other kind would have to swap. Compiled code checks no bounds, and a value from outside may be damaged: every reader here is told where the data
ends, and gives the place -1 for what would reach behind it. A refused place stays refused: reading at -1 gives -1.

A *number* is any int64 in as few bits as it has: 6 bits that say how many follow, then that many, sign last (zigzag: 0, -1, 1, -2 ... are 0, 1,
2, 3 ...). It may have 64 bits, said as 63. A *count* is 0 or more and mostly small: groups of three bits, low ones first, each behind a bit that
says whether another group follows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.core.bit_counts import ONE, ZERO, bits_of
from engine.core.jit import compiled
from engine.core.tables import Ints

Words = npt.NDArray[np.uint64]
WIDTH_BITS: Final = 6
WIDTH_MAX: Final = 63  # what it says for 64
AT_ONCE: Final = 64 - WIDTH_BITS  # a number of so many bits at most is one word with what says how many
NUMBER_BITS_MAX: Final = WIDTH_BITS + 64
COUNT_GROUP: Final = 8
COUNT_GROUP_BITS: Final = 4
COUNT_MAX: Final = 1 << 20


@compiled
def put_bits(out: Words, at: int, value: np.uint64, width: int) -> int:
    """Write the ``width`` (0 to 64) low bits of a value that has no others. The bits of the word behind ``at`` must be 0, and the word that the
    next bit falls into is made so. Returns the place behind them."""
    word, shift = at >> 6, at & 63
    out[word] |= value << np.uint64(shift)
    room = 64 - shift
    if width >= room:
        out[word + 1] = value >> np.uint64(room) if room < 64 else ZERO
    return at + width


@compiled
def get_bits(data: Words, at: int, width: int, end: int) -> tuple[np.uint64, int]:
    """Read ``width`` (0 to 64) bits and the place behind them; place -1 if they are not all before ``end``."""
    if at < 0 or at + width > end:
        return ZERO, -1
    if width == 0:
        return ZERO, at
    word, shift = at >> 6, at & 63
    value = data[word] >> np.uint64(shift)
    if shift + width > 64:
        value |= data[word + 1] << np.uint64(64 - shift)
    return (value if width == 64 else value & ((ONE << np.uint64(width)) - ONE)), at + width


@compiled
def signed(value: np.uint64) -> int:
    """The same 64 bits as an int64, for reckoning: with one of either kind compiled code falls back on floating point."""
    return np.int64(value)


@compiled
def folded(value: int) -> np.uint64:
    """Zigzag: small numbers of either sign as small numbers."""
    return np.uint64(value << 1) ^ np.uint64(value >> 63)


@compiled
def unfolded(value: np.uint64) -> int:
    """Inverse of ``folded``."""
    return signed(value >> ONE) ^ -signed(value & ONE)


@compiled
def put_number(out: Words, at: int, value: int) -> int:
    """Write a number. Returns the place behind it."""
    held = folded(value)
    width = bits_of(held)
    if width <= AT_ONCE:
        return put_bits(out, at, held << np.uint64(WIDTH_BITS) | np.uint64(width), WIDTH_BITS + width)
    said = min(width, WIDTH_MAX)
    return put_bits(out, put_bits(out, at, np.uint64(said), WIDTH_BITS), held, 64 if said == WIDTH_MAX else width)


@compiled
def get_number(data: Words, at: int, end: int) -> tuple[int, int]:
    """Read a number and the place behind it; place -1 if it is not all before ``end``."""
    if 0 <= at and at + 64 <= end:  # mostly all of it lies in the next 64 bits
        both, _ = get_bits(data, at, 64, end)
        width = signed(both & np.uint64(WIDTH_MAX))
        if width <= AT_ONCE:
            return unfolded(both >> np.uint64(WIDTH_BITS) & ((ONE << np.uint64(width)) - ONE)), at + WIDTH_BITS + width
    said, at = get_bits(data, at, WIDTH_BITS, end)
    width = signed(said)
    held, at = get_bits(data, at, 64 if width == WIDTH_MAX else width, end)
    return unfolded(held), at


@compiled
def put_count(out: Words, at: int, value: int) -> int:
    """Write a count. Returns the place behind it."""
    while value >= COUNT_GROUP:
        at = put_bits(out, at, np.uint64(1 | value % COUNT_GROUP << 1), COUNT_GROUP_BITS)
        value //= COUNT_GROUP
    return put_bits(out, at, np.uint64(value << 1), COUNT_GROUP_BITS)


@compiled
def get_count(data: Words, at: int, end: int) -> tuple[int, int]:
    """Read a count and the place behind it; place -1 if it is not all before ``end``, or above COUNT_MAX."""
    value, factor = 0, 1
    while True:
        held, at = get_bits(data, at, COUNT_GROUP_BITS, end)
        value += factor * signed(held >> ONE)
        factor *= COUNT_GROUP
        if not held & ONE:
            return value, at if value <= COUNT_MAX else -1
        if factor > COUNT_MAX:
            return value, -1


# Series: many numbers of the same kind, each in as many bits as the longest of them needs.


@compiled
def width_of(values: Ints, first: int, step: int, count: int) -> int:
    """How many bits the longest of ``count`` numbers, ``values[first::step]``, has as it is; 64 if any is negative."""
    together = ZERO
    for i in range(count):
        together |= np.uint64(values[first + i * step])
    return bits_of(together)


@compiled
def folded_width_of(values: Ints, first: int, step: int, count: int) -> int:
    """How many bits the longest of ``count`` numbers has when folded."""
    together = ZERO
    for i in range(count):
        together |= folded(values[first + i * step])
    return bits_of(together)
