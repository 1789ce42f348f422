"""Which records of a journal lead on, and what is missed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.state import keys
from engine.state.record import JournalRecord
from engine.stream.journal import Chain, JournalMismatchError


def record(sequence: int, *, is_beginning: bool = False) -> JournalRecord:
    fields = ((keys.BEGINNING, b"a test"),) if is_beginning else ()
    return JournalRecord("limits", 0, sequence, "0", "", 0, 0, (), (), fields, (), (), ())


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
