"""A second Redis that follows the journal."""

from __future__ import annotations

import pytest

from engine.errors import EngineError
from engine.settings import Settings
from engine.state import keys
from engine.state.memory_store import MemoryStore
from engine.stream.clients import KafkaClients
from engine.stream.following import Follower
from tests.stream.made_up_journal import Reader


async def followed(monkeypatch: pytest.MonkeyPatch, records: dict[int, int]) -> dict[str, bytes]:
    """What a copy says, made when sequence 11 was applied from offset 22, that has followed such a journal."""
    store, clients = MemoryStore(), KafkaClients(Settings().kafka)
    store._fields = {keys.SEQUENCE: b"11", keys.JOURNAL_OFFSET: b"22"}
    monkeypatch.setattr(clients, "journal_reader", lambda: Reader(records, max(records) + 2))
    follower = Follower("limits", 1, "the journal", clients, lambda _: store, is_patient=False)
    await follower.begin()
    await follower.step()
    await follower.stop()
    return await store.shard_fields()


async def test_what_was_written_again_lies_where_it_was_written_last(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = await followed(monkeypatch, {25: 11})
    assert (fields[keys.SEQUENCE], fields[keys.JOURNAL_OFFSET]) == (b"11", b"25")


async def test_it_goes_on_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = await followed(monkeypatch, {25: 11, 27: 12})
    assert (fields[keys.SEQUENCE], fields[keys.JOURNAL_OFFSET]) == (b"12", b"27")


async def test_once_it_has_gone_on_nothing_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="goes on with sequence 12 at offset 26"):
        await followed(monkeypatch, {24: 12, 26: 12})
