"""Where a key belongs: Kafka's own partitioner, so that every fact about an account is in one partition of every topic.

The Java client, and whoever says ``partitioner=murmur2_random``, sends a key to ``(murmur2(key) & 0x7fffffff) % partitions``; librdkafka's
default is another hash (CRC32). A record elsewhere would be a second, half-blind account, so it becomes a dead letter.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.jit import compiled
from engine.core.packed import Bytes
from engine.core.tables import Ints

SEED: Final = np.uint32(0x9747B28C)
MULTIPLIER: Final = np.uint32(0x5BD1E995)
POSITIVE: Final = np.uint32(0x7FFFFFFF)


@compiled
def murmur2(data: Bytes, start: int, end: int) -> np.uint32:
    """MurmurHash2 (Appleby) of ``data[start:end]`` with Kafka's seed."""
    h = SEED ^ np.uint32(end - start)
    at = start
    while at + 4 <= end:
        k = np.uint32(data[at]) | np.uint32(data[at + 1]) << np.uint32(8)
        k |= np.uint32(data[at + 2]) << np.uint32(16) | np.uint32(data[at + 3]) << np.uint32(24)
        k = np.uint32(k * MULTIPLIER)
        k ^= k >> np.uint32(24)
        k = np.uint32(k * MULTIPLIER)
        h = np.uint32(h * MULTIPLIER) ^ k
        at += 4
    if at < end:
        tail = np.uint32(0)
        for i in range(end - at):
            tail |= np.uint32(data[at + i]) << np.uint32(8 * i)
        h = np.uint32((h ^ tail) * MULTIPLIER)
    h ^= h >> np.uint32(13)
    h = np.uint32(h * MULTIPLIER)
    return h ^ (h >> np.uint32(15))


@compiled
def partitions_of(data: Bytes, begins: Ints, ends: Ints, partitions: int, found: Ints) -> None:
    """Write to ``found`` (n,) the partition of each key: key i is ``data[begins[i]:ends[i]]``."""
    for i in range(found.shape[0]):
        found[i] = np.int64(murmur2(data, begins[i], max(begins[i], ends[i])) & POSITIVE) % partitions


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of one key."""
    return int(murmur2(np.frombuffer(key, np.uint8), 0, len(key)) & POSITIVE) % partitions
