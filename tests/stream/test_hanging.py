"""What is made of a transaction without an end where nothing may be written behind it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import EngineError
from engine.settings import Settings
from engine.stream import rebuild as rebuild_module
from engine.stream.clients import KafkaClients
from engine.stream.hanging import Spans
from engine.stream.producer import ShardProducer
from engine.stream.rebuild import Rebuild
from engine.stream.topics import Identity
from schemas.topics import CHANGES, DEAD_LETTERS, JOURNAL, TOPICS


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        ({JOURNAL.name: (4, 5), CHANGES.name: (1, 3)}, "a transaction has no end in limit-changes, limit-journal"),
        ({DEAD_LETTERS.name: (7, 9)}, "the inputs are taken again"),  # others write there, too
    ],
)
async def test_a_rebuild_from_the_inputs_refuses_it(monkeypatch: pytest.MonkeyPatch, spans: Spans, told: str) -> None:
    async def hanging(*_: Any) -> Spans:
        return spans

    async def fenced(_: Rebuild) -> None:
        return

    async def refolded(_: Rebuild) -> None:
        raise EngineError("the inputs are taken again", where="here")

    monkeypatch.setattr(rebuild_module, "hanging", hanging)
    monkeypatch.setattr(Rebuild, "_fence", fenced)
    monkeypatch.setattr(Rebuild, "_refolded", refolded)
    settings, topics = Settings(), Identity({spec.name: 1 for spec in TOPICS}, {spec.name: spec.name for spec in TOPICS})
    no_store: Any = None
    work = Rebuild(settings, 0, topics, no_store, KafkaClients(settings.kafka), lambda *_: None)
    work._producer = ShardProducer(KafkaClients(settings.kafka).producer("limits-0"), 0, 1.0)
    with pytest.raises(EngineError, match=told):
        await work.from_inputs()
