"""MessagePack's integers and the heads of its arrays and maps, read and written by compiled code. Nil stands for MISSING.

Compiled code checks no bounds, and a value from outside may be damaged: every reader here refuses a place from which the longest integer would
reach behind the data, so whoever reads appends PADDING bytes. A refused place stays refused: reading at -1 gives -1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.core.jit import compiled
from engine.core.layout import MISSING

Bytes = npt.NDArray[np.uint8]
INTEGER_BYTES_MAX: Final = 9
PADDING: Final = INTEGER_BYTES_MAX


@compiled
def put_bytes(out: Bytes, at: int, value: int, count: int) -> int:
    """Write the low ``count`` bytes of a value, most significant first."""
    for i in range(count):
        out[at + i] = (value >> (8 * (count - 1 - i))) & 0xFF
    return at + count


@compiled
def put_integer(out: Bytes, at: int, value: int) -> int:
    """Write an integer in its shortest form, nil for MISSING. Returns the place behind it."""
    if value == MISSING:
        out[at] = 0xC0
        return at + 1
    if -32 <= value < 128:
        out[at] = value & 0xFF
        return at + 1
    if value >= 0:
        width = 0 if value < 1 << 8 else 1 if value < 1 << 16 else 2 if value < 1 << 32 else 3
        out[at] = 0xCC + width
    else:
        width = 0 if value >= -(1 << 7) else 1 if value >= -(1 << 15) else 2 if value >= -(1 << 31) else 3
        out[at] = 0xD0 + width
    return put_bytes(out, at + 1, value, 1 << width)


@compiled
def put_length(out: Bytes, at: int, length: int, short: int, long: int) -> int:
    """Write the head of an array (short 0x90, long 0xdc) or map (0x80, 0xde)."""
    if length < 16:
        out[at] = short | length
        return at + 1
    out[at] = long
    return put_bytes(out, at + 1, length, 2)


@compiled
def get_integer(data: Bytes, at: int) -> tuple[int, int]:
    """Read an integer or nil (MISSING) and the place behind it; place -1 if it is neither or not inside the data."""
    if at < 0 or at + INTEGER_BYTES_MAX > data.shape[0]:
        return 0, -1
    head = np.int64(data[at])
    if head < 0x80:
        return head, at + 1
    if head >= 0xE0:
        return head - 256, at + 1
    if head == 0xC0:
        return MISSING, at + 1
    if not (0xCC <= head <= 0xCF or 0xD0 <= head <= 0xD3):
        return 0, -1
    width = 1 << ((head - 0xCC) & 3)
    value = np.int64(0)
    for i in range(width):
        value = (value << 8) | np.int64(data[at + 1 + i])
    if head >= 0xD0 and width < 8 and value >> (8 * width - 1) == 1:
        value -= np.int64(1) << (8 * width)
    return value, at + 1 + width


@compiled
def get_length(data: Bytes, at: int, short: int, long: int) -> tuple[int, int]:
    """Read the head of an array or map: its length and the place behind it; place -1 if it is none or not inside the data."""
    if at < 0 or at + INTEGER_BYTES_MAX > data.shape[0]:
        return 0, -1
    head = np.int64(data[at])
    if head & 0xF0 == short:
        return head & 0x0F, at + 1
    if head == long:
        return (np.int64(data[at + 1]) << 8) | np.int64(data[at + 2]), at + 3
    return 0, -1
