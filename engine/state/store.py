"""What a shard's store is: the interface that the in-memory store and Redis both pass the same contract suite for.

A store holds a prefix of the shard's journal. ``apply`` is idempotent and needs no owner; nothing else writes. Two deployments of one name on
different clusters would count to the same sequences; so a state says which journal it was made from (by ``keys.topic_id`` of the journal, a
field that the first record brings), and to who comes from another one a store answers ``OTHER_JOURNAL`` instead of a sequence.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from engine.core.packed import Packed
from engine.state import keys
from engine.state.record import JournalRecord
from engine.state.states import States

OTHER_JOURNAL: Final = -1


@dataclass(frozen=True, slots=True)
class Loaded:
    """Encoded states in the order asked for (absent: the account is new), and the sequence that the store had applied at that moment."""

    applied: int
    values: Packed


@dataclass(frozen=True, slots=True)
class Slice:
    """Accounts in the order of a sweep, with the applied sequence of that moment: the rest of a first bucket and ``buckets`` - 1 whole ones or
    a part of the next, of which ``after`` is the last id (empty: none)."""

    applied: int
    accounts: States
    buckets: int
    after: bytes


class ShardStore(Protocol):
    """The state of one shard. Any method of a remote store may raise OSError: the store is away, nothing is known about the call."""

    async def shard_fields(self) -> dict[str, bytes]:
        """Every field of the shard hash (see ``keys``); empty for a shard that has never applied anything."""

    async def load(self, accounts: Packed) -> Loaded:
        """The states of ``accounts``, atomically with the applied sequence."""

    async def apply(self, record: JournalRecord, journal_offset: int) -> int:
        """Apply ``record`` if the applied sequence is the one before it, else do nothing. Returns the applied sequence afterwards: equal to
        ``record.sequence`` when done (now or before), lower when the store lacks earlier records (or holds another journal's state), higher when
        it is further.

        A beginning (``record.is_beginning``) needs no earlier records: all accounts and fields make room for its own, also another journal's."""

    async def slice(self, bucket: int, after: bytes, buckets: int, most: int) -> Slice:
        """At most ``most`` accounts of ``buckets`` buckets from ``bucket`` on (after 255 comes 0), of the first one those with ids above
        ``after``; atomically with the applied sequence."""

    async def problem(self) -> str | None:
        """Why this store may not hold limits, None if it may."""

    def accounts(self, bucket: int) -> AsyncIterator[tuple[bytes, bytes]]:
        """The (account id, encoded state) pairs of one of the 256 buckets, in ascending order of id."""


def applied_of(fields: Mapping[str, bytes]) -> int:
    """The applied sequence that a shard hash tells; 0 before the first record."""
    return int(fields.get(keys.SEQUENCE, b"0"))


def cut_slice(applied: int, held: Sequence[Mapping[bytes, bytes]], after: bytes, most: int) -> Slice:
    """The slice of these buckets' encoded states by account id."""
    ids: list[bytes] = []
    values: list[bytes] = []
    finished, last = len(held), b""
    for place, bucket in enumerate(held):
        rest = sorted(account for account in bucket if account > after)
        taken = rest[: most - len(ids)]
        ids += taken
        values += map(bucket.__getitem__, taken)
        if len(rest) > len(taken):
            finished, last = place, taken[-1] if taken else b""
            break
        after = b""
    return Slice(applied, States(Packed.of(ids), Packed.of(values)), finished, last)


def fields_of(record: JournalRecord, journal_offset: int) -> dict[str, bytes]:
    """What a record writes to the shard hash."""
    fields = {
        keys.FORMAT: b"%d" % keys.STATE_FORMAT,
        keys.SEQUENCE: b"%d" % record.sequence,
        keys.JOURNAL_OFFSET: b"%d" % journal_offset,
        keys.TICK_MS: b"%d" % record.tick_ms,
        keys.ENGINE: record.engine_version.encode(),
    }
    for cut in record.cuts:
        fields[keys.next_offset(cut.topic)] = b"%d" % cut.next
        fields[keys.topic_clock(cut.topic)] = b"%d" % cut.clock_ms
    fields.update(record.fields)
    return fields
