"""What a shard's store is: the interface that the in-memory store and Redis both pass the same contract suite for.

A store holds a prefix of the shard's journal. ``apply`` is idempotent and needs no owner; nothing else writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.state.record import JournalRecord


@dataclass(frozen=True, slots=True)
class Loaded:
    """Encoded states in the order asked for (None: the account is new), and the sequence that the store had applied at that moment."""

    applied: int
    values: list[bytes | None]


class ShardStore(Protocol):
    """The state of one shard."""

    async def shard_fields(self) -> dict[str, bytes]:
        """Every field of the shard hash (see ``keys``); empty for a shard that has never applied anything."""

    async def load(self, accounts: Sequence[bytes]) -> Loaded:
        """The states of ``accounts``, atomically with the applied sequence."""

    async def apply(self, record: JournalRecord, journal_offset: int) -> int:
        """Apply ``record`` if the applied sequence is the one before it, else do nothing. Returns the applied sequence afterwards: equal to
        ``record.sequence`` when done (now or before), lower when the store lacks earlier records, higher when it is further."""

    def accounts(self, bucket: int) -> AsyncIterator[tuple[bytes, bytes]]:
        """The (account id, encoded state) pairs of one of the 256 buckets, in ascending order of id."""
