"""Batches of columns are read by aiokafka as the records that they are of."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from engine.state.outputs import TOPICS, Output, Outputs
from engine.stream import written_batches as module
from engine.stream.written_batches import WrittenBatch, written_batches

AT_MS: Final = 1_750_000_000_123
TEXTS: Final = st.none() | st.binary(max_size=300)
HEADERS: Final = st.lists(st.tuples(st.text(max_size=70), st.none() | st.binary(max_size=70)), max_size=3)
OUTPUTS: Final[st.SearchStrategy[list[Output]]] = st.lists(
    st.builds(Output, st.just(TOPICS[0]), TEXTS, TEXTS, HEADERS.map(tuple)), min_size=1, max_size=70
)


def read(batch: WrittenBatch) -> list[Output]:
    """The records of a batch, which aiokafka finds whole."""
    batch._set_producer_state(7, 3, 40)
    raw = bytes(batch._build())
    assert batch._build() == raw, "sent again it is the same"
    found = DefaultRecordBatch(bytearray(raw))
    assert found.validate_crc()
    assert (found.producer_id, found.producer_epoch, found.base_sequence, found.is_transactional) == (7, 3, 40, True)
    records = list(found)
    assert [record.offset for record in records] == list(range(batch.record_count()))
    assert {record.timestamp for record in records} == {AT_MS}
    assert found.next_offset == len(records)
    return [Output(TOPICS[0], record.key, record.value, tuple(record.headers)) for record in records]


@given(OUTPUTS, HEADERS)
def test_records(listed: list[Output], more: list[tuple[str, bytes | None]]) -> None:
    [batch] = written_batches(Outputs.of(listed), more, AT_MS)
    assert read(batch) == [Output(o.topic, o.key, o.value, (*o.headers, *more)) for o in listed]


def test_batches_are_of_a_size_and_a_larger_record_travels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 1_000)
    listed = [Output(TOPICS[0], b"a", b"v" * size, ()) for size in (100, 300, 5_000, 600, 600, 10)]
    batches = list(written_batches(Outputs.of(listed), (), AT_MS))
    assert [batch.record_count() for batch in batches] == [2, 1, 1, 2]
    assert [output for batch in batches for output in read(batch)] == listed


def test_what_stays_large_is_sent_in_more_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SENT_BYTES", 2_000)
    listed = [Output(TOPICS[0], b"a", Random(place).randbytes(900), ()) for place in range(5)]
    batches = list(written_batches(Outputs.of(listed), (), AT_MS))
    assert [batch.record_count() for batch in batches] == [2, 1, 2]
    assert [output for batch in batches for output in read(batch)] == listed
    [alike] = written_batches(Outputs.of([Output(TOPICS[0], b"a", b"v" * 900, ())] * 5), (), AT_MS)
    assert len(read(alike)) == 5


def test_what_does_not_become_smaller_goes_as_it_is() -> None:
    [batch] = written_batches(Outputs.of([Output(TOPICS[0], b"a", b"b", ())]), (), AT_MS)
    assert [output.value for output in read(batch)] == [b"b"]
    assert not batch._build()[22] & 0x07
