"""How far back the journal reaches: how old a backup of Redis may be that is brought forward from it, and whether Redis as it is still can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from engine.connections import kafka_client
from engine.errors import EngineError
from engine.settings import Kafka
from engine.state import keys
from engine.state.record import JournalRecord
from engine.state.store import applied_of
from engine.stream.journal import REBUILD
from engine.stream.topics import DAY_MS, TopicState
from schemas.topics import FOREVER, JOURNAL

POLL_MS = 500
POLLS = 20


@dataclass(frozen=True, slots=True)
class Reach:
    """Of one shard: where its journal begins and ends, when its oldest record was written (None: it has none), and the sequence of that record
    where it says more than the offsets (None: not asked)."""

    shard: int
    begins: int
    end: int
    oldest_ms: int | None
    first_sequence: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing was deleted."""
        return self.begins == 0


def reaches(kafka: Kafka, shards: Sequence[Mapping[str, bytes]]) -> list[Reach]:
    """How far every partition of the journal reaches; ``shards`` are the hashes that Redis has. Raises EngineError, KafkaError."""
    with _consumer(kafka) as consumer:
        places = [TopicPartition(JOURNAL.name, number) for number in sorted(consumer.partitions_for_topic(JOURNAL.name) or ())]
        begins, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        oldest = consumer.offsets_for_times(dict.fromkeys(places, 0))
        found = []
        for place in places:
            held = shards[place.partition] if place.partition < len(shards) else {}
            is_asked = place.partition < len(shards) and begins[place] > int(held.get(keys.JOURNAL_OFFSET, b"-1")) + 1
            sequence = _first_sequence(consumer, place, begins[place], ends[place]) if is_asked else None
            at = oldest[place]
            found.append(Reach(place.partition, begins[place], ends[place], None if at is None else at.timestamp, sequence))
        return found


def retention_problem(state: TopicState, days: float, bootstrap: str) -> EngineError | None:
    """That the journal's settings let a backup of so many days not be used, None if they do."""
    wrong, needed_ms = [], int(days * DAY_MS)
    kept_ms = int(state.configs.get("retention.ms", FOREVER))
    if kept_ms != FOREVER and kept_ms < needed_ms:
        wrong.append((f"keeps records {kept_ms / DAY_MS:g} days (retention.ms={kept_ms})", f"retention.ms={needed_ms}"))
    kept_bytes = int(state.configs.get("retention.bytes", FOREVER))
    if kept_bytes != FOREVER:
        wrong.append((f"drops the oldest records above {kept_bytes} bytes (retention.bytes={kept_bytes})", f"retention.bytes={FOREVER}"))
    if not wrong:
        return None
    cure = f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {state.name} --add-config "
    told = "; ".join(what for what, _ in wrong)
    return EngineError(
        f"{state.name} {told}: a backup of Redis may be {days:g} days old (redis.backup_days)",
        where="topics",
        cure=cure + ",".join(setting for _, setting in wrong),
    )


def shard_problems(found: Sequence[Reach], shards: Sequence[Mapping[str, bytes]], days: float, now_ms: int) -> list[EngineError]:
    """Shards that the journal does not reach any more as they are, or not for as long as a backup may be old."""
    problems = []
    for reach in found:
        where, held = f"shard {reach.shard}", shards[reach.shard] if reach.shard < len(shards) else {}
        applied, first = applied_of(held), reach.first_sequence
        if first is not None and first > applied + 1:
            what = f"Redis has applied sequence {applied}, and the journal begins with {first}"
            problems.append(EngineError(what, where=where, cure=REBUILD))
        elif not reach.is_whole and reach.oldest_ms is not None and now_ms - reach.oldest_ms < days * DAY_MS:
            what = f"the journal reaches back {(now_ms - reach.oldest_ms) / DAY_MS:.1f} days; a backup of Redis may be {days:g} days old"
            cure = "take a new backup now: older ones cannot be brought forward (its retention was shorter until lately)"
            problems.append(EngineError(what, where=where, cure=cure))
    return problems


def _first_sequence(consumer: KafkaConsumer, place: TopicPartition, begins: int, end: int) -> int | None:
    """The sequence of the first committed record, None if there is none."""
    consumer.assign([place])
    consumer.seek(place, begins)
    for _ in range(POLLS):
        for record in consumer.poll(timeout_ms=POLL_MS, max_records=1).get(place, []):
            return JournalRecord.decode(record.value).sequence
        if consumer.position(place) >= end:
            break
    return None


@contextmanager
def _consumer(kafka: Kafka) -> Iterator[Any]:
    consumer = kafka_client(
        KafkaConsumer,
        kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_partition_fetch_bytes=JOURNAL.bytes_max,
    )
    try:
        yield consumer
    finally:
        consumer.close()
