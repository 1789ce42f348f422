"""Reading a journal that cannot be read."""

from __future__ import annotations

import gc

import pytest
from aiokafka.errors import KafkaError

from engine.local.ports import LOOPBACK, choose_port
from engine.settings import Kafka
from engine.stream.clients import KafkaClients
from engine.stream.journal import read_journal


async def test_a_reader_that_finds_no_broker_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Else its sockets would stay until it is collected, and asyncio would log an error of the program."""
    nobody = f"{LOOPBACK}:{choose_port(0, service='kafka', option='port')}"
    reader = KafkaClients(Kafka(bootstrap=nobody)).journal_reader()
    with pytest.raises(KafkaError):
        await anext(read_journal(reader, "limits", 0, 0, 1, 5.0))
    assert reader._closed
    del reader
    gc.collect()
    assert "Unclosed" not in caplog.text
