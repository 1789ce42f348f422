"""What is known of a transaction without an end, and what is made of it where nothing may be written behind it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import EngineError
from engine.settings import Settings
from engine.state import keys
from engine.state.record import DeadLetterRef, JournalRecord, OutputRef
from engine.state.states import NO_STATES
from engine.stream import rebuild as rebuild_module
from engine.stream.clients import KafkaClients
from engine.stream.hanging import WRITTEN, Ends, Told
from engine.stream.producer import ShardProducer
from engine.stream.rebuild import Rebuild
from engine.stream.topics import Identity
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, INPUTS, JOURNAL, TOPICS


@pytest.mark.parametrize(
    ("hanging", "told"),
    [
        ({JOURNAL.name, CHANGES.name}, "a transaction has no end in limit-changes, limit-journal"),
        ({DEAD_LETTERS.name}, "the inputs are taken again"),  # others write there, too
    ],
)
async def test_a_rebuild_from_the_inputs_refuses_it(monkeypatch: pytest.MonkeyPatch, hanging: set[str], told: str) -> None:
    async def ends_of(*_: Any) -> Ends:
        return Ends({topic: 5 - (topic in hanging) for topic in WRITTEN}, dict.fromkeys(WRITTEN, 5))

    async def fenced(_: Rebuild) -> None:
        return

    async def refolded(_: Rebuild) -> None:
        raise EngineError("the inputs are taken again", where="here")

    monkeypatch.setattr(rebuild_module, "ends_of", ends_of)
    monkeypatch.setattr(Rebuild, "_fence", fenced)
    monkeypatch.setattr(Rebuild, "_refolded", refolded)
    settings, topics = Settings(), Identity({spec.name: 1 for spec in TOPICS}, {spec.name: spec.name for spec in TOPICS})
    no_store: Any = None
    work = Rebuild(settings, 0, topics, no_store, KafkaClients(settings.kafka), lambda *_: None)
    work._producer = ShardProducer(KafkaClients(settings.kafka).producer("limits-0"), 0, 1.0)
    with pytest.raises(EngineError, match=told):
        await work.from_inputs()


INPUT = INPUTS[1].name
SAID = JournalRecord(
    *("limits", 0, 8, "0", "", 0, 0, (), NO_STATES, ((keys.OUTPUTS, b"12"),), ()),
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
    told = Told({CHANGES.name: (change, 0), ADVISORIES.name: (advisory, 0)}, frozenset({(INPUT, letter)}), is_whole=True)
    assert told.announced == max(change, advisory)
    assert told.lacks(SAID) == lacks
