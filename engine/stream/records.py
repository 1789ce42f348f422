"""Records as they come from one partition, and the batch that a shard takes from its topics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.core.layout import Topic
from engine.core.packed import Packed
from engine.core.tables import Ints
from engine.stream.fetched import DamagedBatchError
from schemas.topics import INPUTS

TOPICS: Final = {spec.name: Topic(rank) for rank, spec in enumerate(INPUTS)}  # the input topics by name

RECORD_BYTES: Final = 130  # a record's memory besides its value's bytes: its key, its head on the wire, and where it and its parts are

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one topic partition, as columns of equal length, in offset order (offsets may have gaps: transaction markers):
    ``offsets`` and ``times_ms`` (n,) int64, ``keys`` and ``values`` packed.

    ``headers`` is None when no record of the chunk has any.
    """

    topic: Topic
    offsets: Ints
    times_ms: Ints
    keys: Packed
    values: Packed
    headers: list[Headers] | None

    @classmethod
    def of(
        cls,
        topic: Topic,
        offsets: Sequence[int] = (),
        times_ms: Sequence[int] = (),
        keys: Iterable[bytes | None] = (),
        values: Iterable[bytes | None] = (),
        headers: list[Headers] | None = None,
    ) -> Chunk:
        """A chunk of what is given one by one."""
        return cls(topic, np.array(offsets, np.int64), np.array(times_ms, np.int64), Packed.of(keys), Packed.of(values), headers)

    @classmethod
    def joined(cls, topic: Topic, parts: Sequence[Chunk]) -> Chunk:
        """Chunks of a topic that continue each other as one."""
        if len(parts) == 1:
            return parts[0]
        headers: list[Headers] | None = None
        if any(part.headers is not None for part in parts):
            headers = [own for part in parts for own in (part.headers if part.headers is not None else [()] * len(part))]
        return cls(
            topic,
            np.concatenate([np.zeros(0, np.int64), *(part.offsets for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.times_ms for part in parts)]),
            Packed.joined([part.keys for part in parts]),
            Packed.joined([part.values for part in parts]),
            headers,
        )

    def __len__(self) -> int:
        return len(self.offsets)

    def memory_bytes(self) -> int:
        """About as much memory as the records take."""
        return self.values.size() + RECORD_BYTES * len(self)

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
    of what could have been read at that moment (``stable``, the last stable offset). ``is_gone``: the log does not have ``first`` (any more), or
    has it damaged, and nothing was read."""

    chunk: Chunk
    first: int
    next: int
    stable: int
    is_gone: bool = False
    damage: DamagedBatchError | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What a shard takes at once: a chunk per topic that gives something, and the order in which their records are taken.

    ``order_topic`` (n,) int64 is the Topic of each record in merged order, ``order_index`` (n,) int64 its index in that topic's chunk, and
    ``clock_ms`` (n,) int64 the shard's clock at it. A control record makes a batch of its own. ``cuts`` has (first offset, next offset, topic's
    clock) of each chunk. ``watermark_ms`` is the shard's clock at the end, ``caught_up`` whether nothing more can be read now.
    """

    chunks: dict[Topic, Chunk]
    order_topic: Ints
    order_index: Ints
    clock_ms: Ints
    cuts: dict[Topic, tuple[int, int, int]]
    watermark_ms: int
    caught_up: bool

    def __len__(self) -> int:
        return len(self.order_index)


def chunk_of(topic: Topic, records: Sequence[Any]) -> Chunk:
    """Aiokafka's records as columns."""
    headers = [tuple(record.headers) for record in records]
    return Chunk.of(
        topic,
        [record.offset for record in records],
        [record.timestamp for record in records],
        (record.key for record in records),
        (record.value for record in records),
        headers if any(headers) else None,
    )
