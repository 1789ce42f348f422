"""The input topics of a shard as a rebuild reads them: from where its state is to where they end now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import TopicPartition

from engine.core.layout import MISSING, Topic
from engine.state import keys
from engine.stream.alignment import Alignment
from engine.stream.clients import CONNECT_DEADLINE_S
from engine.stream.journal import bounds
from engine.stream.records import Batch, Chunk, Delivery, chunk_of
from engine.stream.witness import Witness
from schemas.topics import INPUTS

FETCH_MS: Final = 500
FETCH_RECORDS: Final = 20_000
EVENTS: Final = (Topic.REPAYMENT, Topic.TRANSFER, Topic.PURCHASE)


def certainly_taken(batch: Batch, taken: Mapping[Topic, int], witness: Witness) -> int:
    """How many of a batch's records were taken for certain when the last thing was said."""
    is_beyond = any(
        newest >= (batch.cuts[topic][1] if topic in batch.cuts else taken.get(topic, 0)) for topic, newest in witness.taken.items()
    )
    if is_beyond:
        return len(batch)
    certain = 0
    order = zip(batch.order_topic.tolist(), batch.order_index.tolist(), batch.clock_ms.tolist(), strict=True)
    for place, (rank, index, clock_ms) in enumerate(order):
        topic = Topic(rank)
        if clock_ms <= witness.tick_ms or batch.chunks[topic].offsets[index] <= witness.taken.get(topic, -1):
            certain = place + 1
    return certain


class InputLog:
    """The input topics of a shard, from where its state is to where they end now."""

    def __init__(self, consumer: Any, shard: int) -> None:
        """``consumer`` is started; it reads nothing else from ``open`` on."""
        self.alignment = Alignment()
        self.first: dict[Topic, int] = {}
        self._consumer = consumer
        self._places = {topic: TopicPartition(spec.name, shard) for topic, spec in zip(Topic, INPUTS, strict=True)}
        self._begins: dict[Topic, int] = {}
        self._ends: dict[Topic, int] = {}
        self._read: dict[Topic, int] = {}  # up to where

    async def open(self, fields: Mapping[str, bytes]) -> None:
        """Look where the topics are, and begin where the state in a shard's hash ends."""
        self._consumer.assign(list(self._places.values()))
        for topic, place in self._places.items():
            self._begins[topic], end = await bounds(self._consumer, place, CONNECT_DEADLINE_S)
            held = fields.get(keys.next_offset(place.topic))
            self.first[topic] = max(self._begins[topic], int(held or b"0"))
            self._ends[topic] = max(end, self.first[topic])
            self._read[topic] = self.first[topic]
            self._consumer.seek(place, self.first[topic])

    def made_anew(self, witness: Witness) -> list[Topic]:
        """The topics that do not go as far as something was said because of: others of their names are meant."""
        return [topic for topic, newest in witness.taken.items() if newest >= self._ends[topic]]

    def offer_ends(self) -> None:
        """Tell the alignment how much there is to read."""
        for topic, first in self.first.items():
            self.alignment.offer(Delivery(Chunk.of(topic), first, first, self._ends[topic]))

    async def horizon_ms(self) -> int:
        """From when on the events are there: the oldest of the topic whose beginning is gone most; MISSING if none's is."""
        found = MISSING
        for topic in EVENTS:
            if self._begins[topic] > 0:
                place = self._places[topic]
                oldest = (await self._consumer.offsets_for_times({place: 0}))[place]
                found = max(found, int(time.time() * 1000) if oldest is None else oldest.timestamp)
        return found

    @property
    def is_read(self) -> bool:
        """Whether all was read."""
        return all(self._read[topic] >= end for topic, end in self._ends.items())

    @property
    def total(self) -> int:
        """How many offsets there are."""
        return sum(self._ends[topic] - self._begins[topic] for topic in self._ends)

    def taken(self, positions: Mapping[Topic, int]) -> int:
        """How many of them lie before these positions."""
        return sum(positions[topic] - self._begins[topic] for topic in self._ends)

    async def fill(self) -> None:
        """Read some more."""
        for topic, place in self._places.items():
            is_enough = self._read[topic] >= self._ends[topic] or self.alignment.buffered(topic) >= 2 * FETCH_RECORDS
            (self._consumer.pause if is_enough else self._consumer.resume)(place)
        fetched = await self._consumer.getmany(timeout_ms=FETCH_MS, max_records=FETCH_RECORDS)
        for topic, place in self._places.items():
            end = self._ends[topic]
            position = min(await self._consumer.position(place), end)
            if position > self._read[topic]:
                records = [record for record in fetched.get(place, []) if record.offset < end]
                self.alignment.offer(Delivery(chunk_of(topic, records), self._read[topic], position, end))
                self._read[topic] = position
