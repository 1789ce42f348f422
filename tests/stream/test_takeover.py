"""What a shard makes of a journal that does not go as far as its store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from aiokafka import AIOKafkaProducer

from engine.settings import Settings
from engine.state import keys
from engine.state.memory_store import MemoryStore
from engine.stream import shard as shard_module
from engine.stream.journal import JournalEntry
from engine.stream.producer import FencedError
from engine.stream.refusals import ShardStoppedError
from engine.stream.shard import Shard
from tests.stream.made_up_journal import Reader, record_of
from tests.stream.test_worker import Transport


class Journal:
    """Ends here at the first look, there at the next; at offset 22 it has a record with a sequence."""

    def __init__(self, *ends: int, sequence: int = 11) -> None:
        self._ends = list(ends)
        self._sequence = sequence

    def producer(self, transactional_id: str) -> AIOKafkaProducer:
        raise NotImplementedError

    def journal_reader(self) -> Any:
        return Reader({22: self._sequence}, self._ends.pop(0))

    def uncommitted_reader(self) -> Any:
        return Reader({22: self._sequence}, 24)


def shard_with(journal: Journal) -> Shard:
    """A shard whose store has applied the record at offset 22."""
    store = MemoryStore()
    store._fields = {keys.SEQUENCE: b"11", keys.JOURNAL_OFFSET: b"22"}
    return Shard(0, Settings(), store, Transport(), journal)


async def test_a_journal_whose_end_is_still_to_be_marked_is_looked_at_again() -> None:
    """The last transaction is decided and applied by another owner; its marker reaches the journal a moment later."""
    shard = shard_with(Journal(22, 24))
    with pytest.raises(FencedError, match="another owner may work"):
        await shard._catch_up()
    assert keys.SEQUENCE in await shard._catch_up()


async def test_a_journal_that_ends_too_early_twice_stops_the_shard() -> None:
    shard = shard_with(Journal(22, 22))
    with pytest.raises(FencedError):
        await shard._catch_up()
    with pytest.raises(ShardStoppedError, match="the journal ends at 22"):
        await shard._catch_up()


async def test_what_redis_has_applied_last_must_be_in_the_journal() -> None:
    with pytest.raises(ShardStoppedError, match="applied as sequence 11, at offset 22 of the journal, is not committed there"):
        await shard_with(Journal(24, sequence=10))._catch_up()


async def test_a_long_way_to_the_journals_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty store, a journal from the first record on: how many were applied, and of about how many."""

    async def journal(*_: Any) -> AsyncIterator[JournalEntry]:
        for sequence in range(fields_applied(store) + 1, 6):
            yield JournalEntry(2 * (sequence - 1), record_of(sequence), end=10)

    store = MemoryStore()
    monkeypatch.setattr(shard_module, "read_journal", journal)
    monkeypatch.setattr(shard_module, "CATCHING_UP_TOLD_S", -1.0)
    shard = Shard(0, Settings(), store, Transport(), Journal(0, 0))
    with structlog.testing.capture_logs() as logs:
        shard.progress.log = structlog.get_logger()
        fields = await shard._catch_up()
    assert fields[keys.SEQUENCE] == b"5"
    told = [(line["records"], line["of_about"]) for line in logs if line["event"] == "catching up"]
    assert told == [(n, 5) for n in range(1, 6)]
    assert [line["records"] for line in logs if line["event"] == "caught up"] == [5]


def fields_applied(store: MemoryStore) -> int:
    return int(store._fields.get(keys.SEQUENCE, b"0"))
