"""Records as they come from one partition, and the batch that a shard takes from its topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.core.layout import Topic
from schemas.topics import INPUTS

TOPICS: Final = {spec.name: Topic(rank) for rank, spec in enumerate(INPUTS)}  # the input topics by name

RECORD_BYTES: Final = 250  # a record's memory besides its value's bytes: the objects of its key, value, offset and time, and their places

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one topic partition, as columns of equal length, in offset order (offsets may have gaps: transaction markers).

    ``headers`` is None when no record of the chunk has any.
    """

    topic: Topic
    offsets: list[int]
    times_ms: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers] | None

    def __len__(self) -> int:
        return len(self.offsets)

    def value_bytes(self) -> int:
        """Bytes of the values."""
        return sum(len(value) for value in self.values if value is not None)

    def memory_bytes(self) -> int:
        """About as much memory as the records take."""
        return self.value_bytes() + RECORD_BYTES * len(self)

    def slice(self, start: int, stop: int) -> Chunk:
        """Records ``start`` (inclusive) to ``stop`` (exclusive)."""
        return Chunk(
            self.topic,
            self.offsets[start:stop],
            self.times_ms[start:stop],
            self.keys[start:stop],
            self.values[start:stop],
            self.headers[start:stop] if self.headers is not None else None,
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a fetch brought of one topic partition: the records between the positions ``first`` (inclusive) and ``next`` (exclusive), and the end
    of what could have been read at that moment (``stable``, the last stable offset). ``is_gone``: the log does not have ``first`` (any more), and
    nothing was read."""

    chunk: Chunk
    first: int
    next: int
    stable: int
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What a shard takes at once: a chunk per topic that gives something, and the order in which their records are taken.

    ``order_topic`` (n,) int64 is the Topic of each record in merged order, ``order_index`` (n,) int64 its index in that topic's chunk, and
    ``clock_ms`` (n,) int64 the shard's clock at it. A control record makes a batch of its own. ``cuts`` has (first offset, next offset, topic's
    clock) of each chunk. ``watermark_ms`` is the shard's clock at the end, ``caught_up`` whether nothing more can be read now.
    """

    chunks: dict[Topic, Chunk]
    order_topic: npt.NDArray[np.int64]
    order_index: npt.NDArray[np.int64]
    clock_ms: npt.NDArray[np.int64]
    cuts: dict[Topic, tuple[int, int, int]]
    watermark_ms: int
    caught_up: bool

    def __len__(self) -> int:
        return len(self.order_index)


def chunk_of(topic: Topic, records: Sequence[Any]) -> Chunk:
    """Aiokafka's records as columns."""
    headers = [record.headers for record in records]
    return Chunk(
        topic,
        [record.offset for record in records],
        [record.timestamp for record in records],
        [record.key for record in records],
        [record.value for record in records],
        [tuple(own) for own in headers] if any(headers) else None,
    )
