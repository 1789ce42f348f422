"""Strings and times inside a JSON text, eight bytes at a time.

``words`` is a view of the buffer in which ``words[at]`` is the little-endian 64-bit word that begins at byte ``at`` (``engine.core.packed``), so
that a string is searched, compared and hashed a word a step. Positions may lie up to eight bytes behind a record's end; callers compare with
it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.fingerprint import sip_round
from engine.core.jit import compiled
from engine.core.packed import Bytes, Words, masked

EACH: Final = np.uint64(0x0101010101010101)
HIGH: Final = np.uint64(0x8080808080808080)
QUOTES: Final = np.uint64(0x2222222222222222)
BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
SPACES: Final = np.uint64(0x2020202020202020)


@compiled
def first_special(words: Words, at: int) -> int:
    """Place of the first quote, backslash, control character or non-ASCII byte from ``at`` on."""
    while True:
        word = words[at]
        quote = word ^ QUOTES
        backslash = word ^ BACKSLASHES
        # A byte's high bit: it is zero, below a space, or non-ASCII. Borrows reach only upwards, so the lowest such bit is exact.
        found = (((quote - EACH) & ~quote) | ((backslash - EACH) & ~backslash) | ((word - SPACES) & ~word) | word) & HIGH
        if found != np.uint64(0):
            below = (found - np.uint64(1)) & ~found & EACH
            return at + np.int64((below * EACH) >> np.uint64(56)) - 1
        at += 8


@compiled
def continuation(byte: int) -> bool:
    """Whether a byte continues a UTF-8 sequence."""
    return (byte & 0xC0) == 0x80


@compiled
def sequence_length(data: Bytes, at: int) -> int:
    """Length of the non-ASCII UTF-8 sequence that begins at ``at`` (RFC 3629: shortest form, no surrogates); 0 if there is none."""
    lead, second = np.int64(data[at]), np.int64(data[at + 1])
    if not continuation(second):
        return 0
    if 0xC2 <= lead <= 0xDF:
        return 2
    third = np.int64(data[at + 2])
    if not continuation(third):
        return 0
    if lead & 0xF0 == 0xE0:
        if (lead == 0xE0 and second < 0xA0) or (lead == 0xED and second > 0x9F):
            return 0
        return 3
    if not 0xF0 <= lead <= 0xF4 or not continuation(np.int64(data[at + 3])):
        return 0
    if (lead == 0xF0 and second < 0x90) or (lead == 0xF4 and second > 0x8F):
        return 0
    return 4


@compiled
def string_end(data: Bytes, words: Words, at: int, limit: int, longest: int) -> int:
    """Place of the quote that ends the string whose first character is at ``at``; -1 unless the string lies before ``limit``, is valid UTF-8
    without escapes and control characters, and has 1 to ``longest`` characters."""
    first = at
    continuations = 0
    at = first_special(words, at)
    while at < limit and data[at] != 0x22:
        if data[at] < 0x80:
            return -1
        length = sequence_length(data, at)
        if length == 0:
            return -1
        continuations += length - 1
        at = first_special(words, at + length)
    if at >= limit or not 1 <= at - first - continuations <= longest:
        return -1
    return at


@compiled
def same(words: Words, at: int, other: Words, other_at: int, length: int) -> bool:
    """Whether ``length`` (at least 1) bytes are the same in both buffers."""
    while length > 8:
        if words[at] != other[other_at]:
            return False
        at, other_at, length = at + 8, other_at + 8, length - 8
    return masked(words, at, length) == masked(other, other_at, length)


@compiled
def siphash_words(words: Words, start: int, end: int, low: np.uint64, high: np.uint64) -> np.int64:
    """``fingerprint.siphash`` of the bytes ``start`` to ``end``, a word a step."""
    v0 = low ^ np.uint64(0x736F6D6570736575)
    v1 = high ^ np.uint64(0x646F72616E646F6D)
    v2 = low ^ np.uint64(0x6C7967656E657261)
    v3 = high ^ np.uint64(0x7465646279746573)
    length = end - start
    at = start
    while at + 8 <= end:
        word = words[at]
        at += 8
        v3 ^= word
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
        v0 ^= word
    word = np.uint64(length & 0xFF) << np.uint64(56)
    if at < end:
        word |= masked(words, at, end - at)
    v3 ^= word
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= np.uint64(0xFF)
    for _ in range(4):
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    return np.int64(v0 ^ v1 ^ v2 ^ v3)
