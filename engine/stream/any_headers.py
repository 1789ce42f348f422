"""Records whose headers' names are no UTF-8, which aiokafka takes for a corrupt batch: it would stop at them for ever.

Kafka's protocol says that a header's name is text, and Kafka itself does not look; a producer in C can write any bytes. Here a batch that
cannot be read is read once more, by aiokafka's reader in Python, with the wrong bytes of a name in hexadecimal. A batch that is really corrupt
fails again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

SIZE: Final = struct.Struct(">qi")  # base offset, bytes behind it
MAGIC_AT: Final = 16  # the format's number, in all formats
MAGIC: Final = 2


class _AnyNames(bytearray):
    """Bytes whose slices are decoded whatever they hold."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _AnyNames(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class _Batch:
    """One of aiokafka's batches, and the bytes that it lies in."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        told = -1
        try:
            for record in self._batch:
                told = record.offset
                yield record
        except (CorruptRecordException, UnicodeDecodeError):
            again = _DefaultRecordBatchPy(self._raw)
            again._maybe_uncompress()
            again._buffer = _AnyNames(again._buffer)
            for record in again:
                if record.offset > told:
                    yield record


class AnyHeaders:
    """In the place of aiokafka's ``MemoryRecords``: the batches of a fetched partition."""

    def __init__(self, raw: bytes) -> None:
        self._records = MemoryRecords(raw)
        self._raw = memoryview(raw)
        self._at = 0

    def has_next(self) -> bool:
        """Whether there is one more batch."""
        return bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        """Of all batches."""
        return int(self._records.size_in_bytes())

    def next_batch(self) -> Any:
        """The next batch."""
        batch, raw = self.next_as_it_is()
        return batch if raw[MAGIC_AT] < MAGIC or batch.is_control_batch else _Batch(batch, raw)

    def next_as_it_is(self) -> tuple[Any, memoryview]:
        """The next batch as aiokafka has it, and the bytes that it lies in."""
        begins = self._at
        self._at = begins + SIZE.size + SIZE.unpack_from(self._raw, begins)[1]
        return self._records.next_batch(), self._raw[begins : self._at]
