"""Which records of a journal lead on, what is missed, and a journal that cannot be read."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from aiokafka.errors import KafkaError

from engine.local.ports import LOOPBACK, choose_port
from engine.settings import Kafka
from engine.state import keys
from engine.state.outputs import NO_OUTPUTS
from engine.state.record import JournalRecord
from engine.state.states import NO_STATES
from engine.stream.clients import KafkaClients
from engine.stream.journal import Chain, JournalMismatchError, read_journal


def record(sequence: int, *, is_beginning: bool = False) -> JournalRecord:
    fields = ((keys.BEGINNING, b"a test"),) if is_beginning else ()
    return JournalRecord("limits", 0, sequence, "0", "", 0, 0, (), NO_STATES, fields, NO_OUTPUTS, (), ())


def led(first: int, *records: JournalRecord) -> list[int]:
    """The sequences of those that lead on, to the end."""
    chain = Chain("limits", first)
    found = [each.sequence for offset, each in enumerate(records) if chain.leads(each, offset)]
    chain.end()
    return found


def test_records_lead_on_in_sequence() -> None:
    assert led(3, record(3), record(4), record(5)) == [3, 4, 5]
    assert led(3) == []


@pytest.mark.parametrize("found", [(record(4),), (record(3), record(5)), (record(3), record(5), record(6))])
def test_a_missed_record_shows_by_the_next_one(found: tuple[JournalRecord, ...]) -> None:
    with pytest.raises(
        JournalMismatchError, match=r"needs the journal from sequence \d on, and the journal goes on with sequence \d at offset"
    ):
        led(3, *found)


def test_behind_a_beginning_nothing_is_missed() -> None:
    assert led(1, record(7), record(8), record(9, is_beginning=True), record(10)) == [9, 10]
    assert led(9, record(9, is_beginning=True), record(10)) == [9, 10]
    assert led(1, record(1), record(20, is_beginning=True)) == [1, 20]


def test_a_gap_behind_a_beginning_is_one() -> None:
    with pytest.raises(JournalMismatchError, match="from sequence 10 on"):
        led(1, record(9, is_beginning=True), record(11))


def test_a_journal_never_goes_back() -> None:
    with pytest.raises(JournalMismatchError, match="goes on with sequence 2"):
        led(5, record(2), record(3))
    with pytest.raises(JournalMismatchError, match="goes on with sequence 4"):
        led(5, record(4, is_beginning=True))


def test_another_applications_journal() -> None:
    with pytest.raises(JournalMismatchError, match="the journal is application 'others'"):
        led(1, replace(record(1), application="others"))


async def test_a_reader_that_finds_no_broker_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Else its sockets would stay until it is collected, and asyncio would log an error of the program."""
    nobody = f"{LOOPBACK}:{choose_port(0, service='kafka', option='port')}"
    reader = KafkaClients(Kafka(bootstrap=nobody)).journal_reader()
    with pytest.raises(KafkaError):
        await anext(read_journal(reader, "limits", 0, 0, 1, 0, 5.0))
    assert reader._closed
    del reader
    gc.collect()
    assert "Unclosed" not in caplog.text
