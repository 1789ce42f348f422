"""Headers with any bytes as names, in batches of every codec."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from engine.stream.any_headers import AnyHeaders

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


class Name(str):
    """A name that is these bytes on the wire."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe" if self == "bad" else str(self).encode()


def batch(codec: int, names: list[str]) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 100_000)
    for offset, name in enumerate(names):
        assert builder.append(offset, 1_000 + offset, b"key", b"value" * 20, [(Name(name), b"told")])
    return bytes(builder.build())


def at(offset: int, raw: bytes) -> bytes:
    """The batch where a log has it: neither its offset nor its leader's epoch is in its checksum."""
    return struct.pack(">q", offset) + raw[8:]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_neighbours_are_read_as_they_are_and_each_once(codec: int) -> None:
    good, bad = batch(codec, ["a", "b"]), at(2, batch(codec, ["c", "bad", "d"]))
    after = at(5, batch(codec, ["e"]))
    with pytest.raises((CorruptRecordException, UnicodeDecodeError)):
        read(MemoryRecords(good + bad + after))
    found = read(AnyHeaders(good + bad + after))
    assert [record.offset for record in found] == [0, 1, 2, 3, 4, 5]
    assert [name for record in found for name, _ in record.headers] == ["a", "b", "c", r"\xff\xfe", "d", "e"]
    assert {(record.key, record.value, record.headers[0][1]) for record in found} == {(b"key", b"value" * 20, b"told")}


def test_a_corrupt_batch_stays_one() -> None:
    raw = bytearray(batch(0, ["a", "b"]))
    raw[61] = 0x7F  # the first record's length
    with pytest.raises(CorruptRecordException):
        read(AnyHeaders(bytes(raw)))


def test_a_batch_is_asked_as_before() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 1, 77, 3, 0, 100_000)
    builder.append(0, 1_000, b"key", b"value", [])
    (records,) = whole(AnyHeaders(bytes(builder.build())))
    assert (records.producer_id, records.is_transactional, records.is_control_batch) == (77, True, False)
    assert records.validate_crc()
    assert records.next_offset == 1


def read(records: Any) -> list[Any]:
    return [record for batch in whole(records) for record in batch]


def whole(records: Any) -> list[Any]:
    found = []
    while records.has_next():
        found.append(records.next_batch())
    return found


def test_every_reader_of_the_engine_reads_so() -> None:
    """Commands have no worker's transport, and read inputs too."""
    program = "import engine.stream.clients; from aiokafka.consumer import fetcher; print(fetcher.MemoryRecords.__name__)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "AnyHeaders\n"
