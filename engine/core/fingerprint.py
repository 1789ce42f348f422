"""Keyed 64-bit fingerprints of identifiers and words: SipHash-2-4 (Aumasson and Bernstein, 2012), the same in every language.

Keyed, because identifiers come from outside: who does not know the key cannot craft two event ids that collide.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.core.jit import compiled

MASK: Final = 2**64 - 1
BAND_MASK: Final = 2**40 - 1


class FingerprintKey(NamedTuple):
    """The two halves of a 128-bit key, little-endian."""

    low: np.uint64
    high: np.uint64

    @classmethod
    def from_hex(cls, text: str) -> FingerprintKey:
        """From 32 hexadecimal digits. Raises ValueError."""
        raw = bytes.fromhex(text)
        if len(raw) != 16:
            raise ValueError(f"a fingerprint key has 32 hexadecimal digits, not {len(text)}")
        return cls(np.uint64(int.from_bytes(raw[:8], "little")), np.uint64(int.from_bytes(raw[8:], "little")))


@compiled
def rotate(x: np.uint64, bits: int) -> np.uint64:
    """Rotate left."""
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@compiled
def sip_round(v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """One SipRound."""
    v0 += v1
    v1 = rotate(v1, 13) ^ v0
    v0 = rotate(v0, 32)
    v2 += v3
    v3 = rotate(v3, 16) ^ v2
    v0 += v3
    v3 = rotate(v3, 21) ^ v0
    v2 += v1
    v1 = rotate(v1, 17) ^ v2
    v2 = rotate(v2, 32)
    return v0, v1, v2, v3


@compiled
def siphash(data: npt.NDArray[np.uint8], start: int, end: int, low: np.uint64, high: np.uint64) -> np.int64:
    """SipHash-2-4 of ``data[start:end]`` under the key (low, high), as a signed 64-bit integer."""
    v0 = low ^ np.uint64(0x736F6D6570736575)
    v1 = high ^ np.uint64(0x646F72616E646F6D)
    v2 = low ^ np.uint64(0x6C7967656E657261)
    v3 = high ^ np.uint64(0x7465646279746573)
    length = end - start
    at = start
    for _ in range(length // 8):
        word = np.uint64(0)
        for i in range(8):
            word |= np.uint64(data[at + i]) << np.uint64(8 * i)
        at += 8
        v3 ^= word
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
        v0 ^= word
    word = np.uint64(length & 0xFF) << np.uint64(56)
    for i in range(end - at):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    v3 ^= word
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= np.uint64(0xFF)
    for _ in range(4):
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    return np.int64(v0 ^ v1 ^ v2 ^ v3)


def fingerprint(data: bytes, key: FingerprintKey) -> int:
    """``siphash`` of some bytes."""
    return int(siphash(np.frombuffer(data, np.uint8), 0, len(data), key.low, key.high))


def event_fingerprint(topic: str, source: str | None, event_id: str, key: FingerprintKey) -> int:
    """What recognises a repeated record: topic, CloudEvents source if given, id. Source and id are told apart by their fingerprints."""
    parts = fingerprint(event_id.encode(), key) ^ fingerprint(topic.encode(), key)
    if source is not None:
        parts ^= fingerprint(b"source\x00" + source.encode(), key)
    return parts


def band_code(name: str) -> int:
    """The number that stands for a band's name in an account's row, the same under every policy version and key."""
    return fingerprint(name.encode(), FingerprintKey(np.uint64(0), np.uint64(0))) & BAND_MASK


def jurisdiction_code(name: str) -> int:
    """The number that stands for a jurisdiction (at most six characters) in an account's row, the same under every policy version and key."""
    return int.from_bytes(name.encode(), "big")
