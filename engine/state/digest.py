"""A fingerprint of a shard's state: stores that have applied the same journal record have the same one, whatever order they hold their hashes in.

SHA-256 over the shard's fields in order of their names, then over the accounts bucket by bucket, in each by ascending id; every part with its
length before it. A store that is written to meanwhile is read again: parts of two moments would be nobody's state.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from engine.state.keys import BUCKETS
from engine.state.store import ShardStore, applied_of

BUCKETS_AT_ONCE: Final = 16
TIMES: Final = 5
ALL: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Digest:
    """What a shard is at a sequence: how many accounts, and the fingerprint in hexadecimal digits. None: it was written to all the while."""

    sequence: int
    accounts: int
    digest: str | None


async def digest_of(store: ShardStore) -> Digest:
    """Read all of a shard. Raises OSError."""
    for _ in range(TIMES):
        found = await _read(store)
        if found.digest is not None:
            break
    return found


async def _read(store: ShardStore) -> Digest:
    fields = await store.shard_fields()
    sequence, told, accounts = applied_of(fields), hashlib.sha256(), 0
    for name, value in sorted(fields.items()):
        _add(told, name.encode(), value)
    for bucket in range(0, BUCKETS, BUCKETS_AT_ONCE):
        part = await store.slice(bucket, b"", BUCKETS_AT_ONCE, ALL)
        if part.applied != sequence:
            return Digest(part.applied, accounts, None)
        accounts += len(part.accounts)
        for account, state in part.accounts.held():
            _add(told, account, state)
    return Digest(sequence, accounts, told.hexdigest())


def _add(told: hashlib._Hash, name: bytes, value: bytes) -> None:
    told.update(b"%d:%b%d:%b" % (len(name), name, len(value), value))
