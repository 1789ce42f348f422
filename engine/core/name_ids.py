"""Name-based UUIDs (RFC 9562, version 5) of many names at once, by SHA-1 (FIPS 180-4), compiled."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.forms import LETTERS, ZERO_DIGIT
from engine.core.jit import compiled
from engine.core.packed import PADDING, Bytes, Packed
from engine.core.tables import Ints

ID_BYTES: Final = 36
BLOCK: Final = 64  # bytes
MASK: Final = 0xFFFFFFFF


@compiled
def turned(word: int, bits: int) -> int:
    """A word of 32 bits rotated left."""
    return ((word << bits) | (word >> (32 - bits))) & MASK


@compiled
def byte_of(space: Bytes, name: Bytes, begin: int, end: int, place: int) -> int:
    """The byte at a place of the padded message that is a namespace and, behind it, the name ``begin`` to ``end``."""
    size = space.shape[0] + end - begin
    if place < space.shape[0]:
        return int(space[place])
    if place < size:
        return int(name[begin + place - space.shape[0]])
    if place == size:
        return 0x80
    from_end = (size + 8) // BLOCK * BLOCK + BLOCK - 1 - place
    return (size * 8) >> (8 * from_end) & 0xFF if from_end < 8 else 0


@compiled
def hash_name(space: Bytes, name: Bytes, begin: int, end: int, words: Ints, state: Ints) -> None:
    """Write the SHA-1 of a name in its namespace to ``state`` (5,), as words of 32 bits. ``words`` (80,) is scratch."""
    state[0], state[1], state[2], state[3], state[4] = 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0
    for block in range((space.shape[0] + end - begin + 8) // BLOCK + 1):
        for t in range(16):
            at = BLOCK * block + 4 * t
            words[t] = 0
            for place in range(at, at + 4):
                words[t] = words[t] << 8 | byte_of(space, name, begin, end, place)
        for t in range(16, 80):
            words[t] = turned(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 1)
        a, b, c, d, e = state[0], state[1], state[2], state[3], state[4]
        for t in range(80):
            if t < 20:
                mixed = ((b & c) | (~b & d)) + 0x5A827999
            elif t < 40:
                mixed = (b ^ c ^ d) + 0x6ED9EBA1
            elif t < 60:
                mixed = ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
            else:
                mixed = (b ^ c ^ d) + 0xCA62C1D6
            mixed = (mixed + turned(a, 5) + e + words[t]) & MASK
            a, b, c, d, e = mixed, a, turned(b, 30), c, d
        state[0], state[1], state[2] = (state[0] + a) & MASK, (state[1] + b) & MASK, (state[2] + c) & MASK
        state[3], state[4] = (state[3] + d) & MASK, (state[4] + e) & MASK


@compiled
def write_ids(space: Bytes, names: Bytes, begins: Ints, ends: Ints, scratch: Ints, out: Bytes) -> None:
    """Write the UUID of each name in a namespace to ``out``, ``ID_BYTES`` each. ``scratch`` has 85 numbers."""
    words, state = scratch[:80], scratch[80:]
    for i in range(begins.shape[0]):
        hash_name(space, names, begins[i], ends[i], words, state)
        state[1] = (state[1] & 0xFFFF0FFF) | 0x5000  # the version
        state[2] = (state[2] & 0x3FFFFFFF) | 0x80000000  # the variant
        nibble = 0
        for place in range(ID_BYTES):
            at = ID_BYTES * i + place
            if place == 8 or place == 13 or place == 18 or place == 23:
                out[at] = 0x2D
                continue
            digit = state[nibble >> 3] >> (28 - 4 * (nibble & 7)) & 0xF
            out[at] = digit + (ZERO_DIGIT if digit < 10 else LETTERS)
            nibble += 1


def name_ids(space: bytes, names: Packed) -> Packed:
    """The UUID of each name in a namespace, in its usual form."""
    out = np.zeros(ID_BYTES * len(names) + PADDING, np.uint8)
    write_ids(np.frombuffer(space, np.uint8), names.data, names.begins, names.ends, np.zeros(85, np.int64), out)
    begins = ID_BYTES * np.arange(len(names), dtype=np.int64)
    return Packed(out, begins, begins + ID_BYTES)
