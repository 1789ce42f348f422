"""What is known of a transaction without an end, and what is made of it where nothing may be written behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.errors import EngineError
from engine.settings import Settings
from engine.state import keys
from engine.state.memory_store import MemoryStore
from engine.state.outputs import NO_OUTPUTS, OutputRef
from engine.state.record import DeadLetterRef, JournalRecord
from engine.state.states import NO_STATES
from engine.stream import rebuild as rebuild_module
from engine.stream.clients import KafkaClients
from engine.stream.hanging import WRITTEN, Ends, Left, Told
from engine.stream.producer import ShardProducer
from engine.stream.rebuild import Rebuild
from engine.stream.topics import Identity
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, INPUTS, JOURNAL, TOPICS


@pytest.mark.parametrize(
    ("rebuild", "hanging", "told", "cure"),
    [
        (Rebuild.from_inputs, {JOURNAL.name, CHANGES.name}, "a transaction has no end in limit-changes, limit-journal", "start a worker"),
        (Rebuild.from_inputs, {DEAD_LETTERS.name}, "the inputs are taken again", "stop here"),  # others write there, too
        (Rebuild.fence, {ADVISORIES.name}, "a transaction has no end in limit-advisories", "kafka-transactions.sh abort"),
    ],
)
async def test_a_rebuild_refuses_it(
    monkeypatch: pytest.MonkeyPatch, rebuild: Callable[[Rebuild], Awaitable[Any]], hanging: set[str], told: str, cure: str
) -> None:
    async def ends_of(*_: Any) -> Ends:
        return Ends({topic: 5 - (topic in hanging) for topic in WRITTEN}, dict.fromkeys(WRITTEN, 5))

    async def fenced(_: Rebuild) -> None:
        return

    async def refolded(_: Rebuild) -> None:
        raise EngineError("the inputs are taken again", where="here", cure="stop here")

    monkeypatch.setattr(rebuild_module, "ends_of", ends_of)
    monkeypatch.setattr(Rebuild, "_fence", fenced)
    monkeypatch.setattr(Rebuild, "_refolded", refolded)
    with pytest.raises(EngineError, match=told) as refusal:
        await rebuild(rebuild_with(MemoryStore()))
    assert cure in (refusal.value.cure or "")


INPUT = INPUTS[1].name
SAID = JournalRecord(
    *("limits", 0, 8, "0", "", 0, 0, (), NO_STATES, ((keys.OUTPUTS, b"12"),), NO_OUTPUTS),
    (DeadLetterRef(INPUT, 30, "invalid", ""),),
    (),
    tuple(OutputRef(topic, b"a", b"") for topic in (CHANGES.name, ADVISORIES.name, CHANGES.name)),
)


@pytest.mark.parametrize(
    ("change", "advisory", "letter", "lacks"),
    [
        (9, 3, 20, [(CHANGES.name, 10), (ADVISORIES.name, 11), (CHANGES.name, 12), (INPUT, 30)]),
        (12, 3, 20, [(ADVISORIES.name, 11), (INPUT, 30)]),
        (9, 11, 20, [(CHANGES.name, 10), (CHANGES.name, 12), (INPUT, 30)]),
        (9, 3, 30, [(CHANGES.name, 10), (ADVISORIES.name, 11), (CHANGES.name, 12)]),
        (12, 11, 30, []),
    ],
)
def test_what_is_there_of_a_record(change: int, advisory: int, letter: int, lacks: list[tuple[str, int]]) -> None:
    told = Told({CHANGES.name: (change, 0), ADVISORIES.name: (advisory, 0)}, frozenset({(INPUT, letter)}), is_complete=True)
    assert told.announced == max(change, advisory)
    assert told.lacks(SAID) == lacks


@pytest.mark.parametrize(("advisory", "counted", "is_refused"), [(11, 12, False), (3, 12, True), (11, 11, True)])
async def test_a_reshard_refuses_what_is_still_to_be_told(
    monkeypatch: pytest.MonkeyPatch, advisory: int, counted: int, *, is_refused: bool
) -> None:
    async def ends_of(*_: Any) -> Ends:
        return Ends(dict.fromkeys(WRITTEN, 5), dict.fromkeys(WRITTEN, 5))

    async def behind(*_: Any) -> Left:
        told = Told({CHANGES.name: (12, 0), ADVISORIES.name: (advisory, 0)}, frozenset({(INPUT, 30)}), is_complete=True)
        return Left(SAID, [], told)

    async def fenced(_: Rebuild) -> None:
        return

    async def caught_up(_: Rebuild) -> int:
        return 7

    monkeypatch.setattr(rebuild_module, "ends_of", ends_of)
    monkeypatch.setattr(rebuild_module, "left", behind)
    monkeypatch.setattr(Rebuild, "_fence", fenced)
    monkeypatch.setattr(Rebuild, "_catch_up", caught_up)
    store: Any = MemoryStore()
    store._fields = {keys.SEQUENCE: b"8", keys.JOURNAL_OFFSET: b"20", keys.OUTPUTS: b"%d" % counted}
    work = rebuild_with(store)
    if is_refused:
        with pytest.raises(EngineError, match="does not have what limit-journal says"):
            await work.catch_up()
    else:
        assert await work.catch_up() == 7


def rebuild_with(store: Any) -> Rebuild:
    """Work on a shard that is fenced."""
    settings, topics = Settings(), Identity({spec.name: 1 for spec in TOPICS}, {spec.name: spec.name for spec in TOPICS})
    work = Rebuild(settings, 0, topics, store, KafkaClients(settings.kafka), lambda *_: None)
    work._producer = ShardProducer(KafkaClients(settings.kafka).producer("limits-0"), 0, 1.0)
    return work
