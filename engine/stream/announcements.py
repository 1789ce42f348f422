"""Reading topics up to where they end now: committed records, all from a place on, or those of periods of time by their Kafka timestamp (of what
was announced: when it was decided)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition

from engine.connections import kafka_client
from engine.errors import EngineError
from engine.settings import Kafka
from engine.stream.topics import AHEAD_MS_MAX, CREATE

# Within a partition timestamps may go back where an owner's clock stands behind its predecessor's, and a broker takes records of up to an hour
# ahead of its own clock (AHEAD_MS_MAX). So far behind a period's end is looked: what still belongs to it then was written by a clock that is
# more than an hour late.
CLOCKS_APART_MS: Final = AHEAD_MS_MAX + 3_600_000
SILENCE_S_MAX: Final = 30.0
FETCH_BYTES_MAX: Final = 8 * 1024 * 1024

Window = tuple[int, int]


def merged(windows: Sequence[Window]) -> list[Window]:
    """Windows of time [from, to), each reaching ``CLOCKS_APART_MS`` further, ascending, and none that overlaps or touches another."""
    found: list[Window] = []
    for begin, end in sorted(windows):
        later = end + CLOCKS_APART_MS
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], later))
        else:
            found.append((begin, later))
    return found


def read_windows(
    kafka: Kafka, topic: str, windows: Sequence[Window], progress: Callable[[int, int], None]
) -> Iterator[tuple[int, str, bytes]]:
    """Timestamp, place (``topic-partition@offset``) and value of each committed record whose timestamp lies in one of the windows, once.

    ``progress`` is told how many offsets are behind, of how many. Raises EngineError if the topic is not there or falls silent.
    """
    with _opened(kafka, topic) as (consumer, places):
        ranges = [_offsets(consumer, places, window) for window in merged(windows)]
        all_offsets, behind = sum(end - begin for part in ranges for begin, end in part.values()), 0
        for part in ranges:
            for record in _read(consumer, part, lambda here, before=behind: progress(before + here, all_offsets)):  # type: ignore[misc]
                if record.value is not None and any(begin <= record.timestamp < end for begin, end in windows):
                    yield record.timestamp, f"{topic}-{record.partition}@{record.offset}", record.value
            behind += sum(end - begin for begin, end in part.values())


@contextmanager
def reading(
    kafka: Kafka, topic: str, progress: Callable[[int, int], None], first: Mapping[int, int] | None = None
) -> Iterator[tuple[dict[int, int], Iterator[Any]]]:
    """The offsets at which a topic's partitions end now, and every committed record before them, of each partition in order: from the offsets
    ``first`` by partition on, by default from the beginning.

    ``progress`` is told how many offsets are behind, of how many. Raises EngineError if the topic is not there or falls silent.
    """
    with _opened(kafka, topic) as (consumer, places):
        ends = consumer.end_offsets(places)
        begins = consumer.beginning_offsets(places) if first is None else {place: first[place.partition] for place in places}
        part = {place: (begins[place], ends[place]) for place in places if begins[place] < ends[place]}
        all_offsets = sum(end - begin for begin, end in part.values())
        yield {place.partition: end for place, end in ends.items()}, _read(consumer, part, lambda here: progress(here, all_offsets))


@contextmanager
def _opened(kafka: Kafka, topic: str) -> Iterator[tuple[KafkaConsumer, list[TopicPartition]]]:
    """A consumer of committed records, and the partitions of a topic. Raises EngineError if it is not there."""
    consumer = kafka_client(
        KafkaConsumer,
        kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
    )
    try:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise EngineError(f"{topic}: not there", where="topics", cure=CREATE)
        yield consumer, [TopicPartition(topic, partition) for partition in sorted(partitions)]
    finally:
        consumer.close()


def _offsets(consumer: KafkaConsumer, places: Sequence[TopicPartition], window: Window) -> dict[TopicPartition, tuple[int, int]]:
    """The offsets [first, end) of a window by partition, without those in which there are none."""
    ends = consumer.end_offsets(places)
    first, behind = (consumer.offsets_for_times(dict.fromkeys(places, max(0, at_ms))) for at_ms in window)
    found = {}
    for place in places:
        begin = ends[place] if first[place] is None else first[place].offset
        end = ends[place] if behind[place] is None else min(behind[place].offset, ends[place])
        if begin < end:
            found[place] = (begin, end)
    return found


def _read(consumer: KafkaConsumer, ranges: Mapping[TopicPartition, tuple[int, int]], progress: Callable[[int], None]) -> Iterator[Any]:
    """The records of these offsets."""
    consumer.assign(list(ranges))
    consumer.resume(*ranges)  # a partition that was paused before stays so
    at = {place: begin for place, (begin, _) in ranges.items()}
    for place, begin in at.items():
        consumer.seek(place, begin)
    moved_at = time.monotonic()
    while is_open := [place for place, (_, end) in ranges.items() if at[place] < end]:
        for place, records in consumer.poll(timeout_ms=500).items():
            yield from (record for record in records if record.offset < ranges[place][1])
        now = {place: min(consumer.position(place), end) for place, (_, end) in ranges.items()}
        if now != at:
            at, moved_at = now, time.monotonic()
        elif time.monotonic() - moved_at > SILENCE_S_MAX:
            raise EngineError(
                f"nothing came of {is_open[0].topic} for {SILENCE_S_MAX:g} s",
                where="Kafka",
                cure="run `limit-engine doctor`, then this again",
            )
        consumer.pause(*(place for place, (_, end) in ranges.items() if at[place] >= end))
        progress(sum(at[place] - begin for place, (begin, _) in ranges.items()))
