"""A shard's store in memory: for the offline commands and for tests. It keeps the same contract as Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine.core.packed import Packed
from engine.state.keys import BUCKETS, JOURNAL_OFFSET, bucket_of, topic_id
from engine.state.record import JournalRecord
from engine.state.store import OTHER_JOURNAL, Loaded, Slice, applied_of, cut_slice, fields_of
from schemas.topics import JOURNAL


class MemoryStore:
    """One shard's state in dictionaries, made from the journal whose topic has this id (empty: from any)."""

    def __init__(self, journal_id: str = "") -> None:
        self._journal_id = journal_id.encode()
        self._fields: dict[str, bytes] = {}
        self._buckets: list[dict[bytes, bytes]] = [{} for _ in range(BUCKETS)]

    async def shard_fields(self) -> dict[str, bytes]:
        """See ``ShardStore``."""
        return dict(self._fields)

    async def load(self, accounts: Packed) -> Loaded:
        """See ``ShardStore``."""
        return Loaded(self._applied(), Packed.of(self._buckets[bucket_of(account)].get(account) for account in accounts.present()))

    async def apply(self, record: JournalRecord, journal_offset: int) -> int:
        """See ``ShardStore``."""
        applied = self._applied()
        if applied == record.sequence:
            self._fields[JOURNAL_OFFSET] = max(self._fields[JOURNAL_OFFSET], b"%d" % journal_offset, key=int)
        if applied >= record.sequence or (applied != record.sequence - 1 and not record.is_beginning):
            return applied
        if record.is_beginning:
            self._fields.clear()
            for bucket in self._buckets:
                bucket.clear()
        for account, value in record.accounts:
            bucket = self._buckets[bucket_of(account)]
            if value is None:
                bucket.pop(account, None)
            else:
                bucket[account] = value
        self._fields.update(fields_of(record, journal_offset))
        return record.sequence

    async def slice(self, bucket: int, after: bytes, buckets: int, most: int) -> Slice:
        """See ``ShardStore``."""
        held = [self._buckets[(bucket + step) % BUCKETS] for step in range(buckets)]
        return cut_slice(self._applied(), held, after, most)

    async def problem(self) -> str | None:
        """See ``ShardStore``."""
        return None

    def _applied(self) -> int:
        is_ours = not self._journal_id or self._fields.get(topic_id(JOURNAL.name), self._journal_id) == self._journal_id
        return applied_of(self._fields) if is_ours else OTHER_JOURNAL

    async def accounts(self, bucket: int) -> AsyncIterator[tuple[bytes, bytes]]:
        """See ``ShardStore``."""
        for item in sorted(self._buckets[bucket].items()):
            yield item
