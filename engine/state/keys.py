"""Every Redis key of the engine, and every field of a shard's hash.

All keys of shard p share the hash tag ``{p}``, so they live on one node of a cluster. An application id in front keeps two deployments apart.
"""

from __future__ import annotations

import zlib
from typing import Final

BUCKETS: Final = 256

# Fields of the shard hash that every journal record brings up to date.
FORMAT: Final = "format"
SEQUENCE: Final = "sequence"
JOURNAL_OFFSET: Final = "journal_offset"
TICK_MS: Final = "tick_ms"
ENGINE: Final = "engine"
# Fields that a record brings when they change.
POLICY: Final = "policy"
OUTPUTS: Final = "outputs"
PARTITIONS: Final = "partitions"
SWEEP: Final = "sweep"
APPETITES: Final = "appetites"
BRAKES: Final = "brakes"
BEGINNING: Final = "beginning"  # what the shard's state was made anew by; a record that brings it voids all before it
UNFINISHED: Final = "unfinished"  # what a worker must not go on from; empty: nothing
BY_RESHARD: Final = b"limit-engine reshard"
FROM_REDIS: Final = b"limit-engine rebuild --from redis"
TOGETHER: Final = (BY_RESHARD, FROM_REDIS)  # what a beginning says of commands by which all shards begin anew together, or none does

STATE_FORMAT: Final = 1


def next_offset(topic: str) -> str:
    """Field: the offset of an input topic from which to continue."""
    return f"next:{topic}"


def topic_clock(topic: str) -> str:
    """Field: the largest record time of an input topic so far."""
    return f"clock:{topic}"


def topic_id(topic: str) -> str:
    """Field: Kafka's own id of an input topic or the journal, which another topic of that name does not have."""
    return f"topic_id:{topic}"


def bucket_of(account: bytes) -> int:
    """The bucket that an account lies in, for ever: CRC-32 of its id modulo 256."""
    return zlib.crc32(account) & (BUCKETS - 1)


class ShardKeys:
    """The keys of one shard."""

    def __init__(self, application: str, shard: int) -> None:
        prefix = f"{application}:{{{shard}}}"
        self.shard = f"{prefix}:shard".encode()
        self._buckets = tuple(f"{prefix}:a:{bucket}".encode() for bucket in range(BUCKETS))

    def accounts(self, bucket: int) -> bytes:
        """The hash of a bucket: account id -> encoded state."""
        return self._buckets[bucket]
