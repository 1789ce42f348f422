"""What the topics tell of a shard whose state is gone: the standings that were announced, the answers to commands, how far the inputs were
taken.

Everything that the engine has said names its cause by topic, partition and offset, or the tick. So the newest causes say up to where the inputs
were taken for certain: what comes behind the last of them in merged order was perhaps never looked at, and nothing was said because of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic_core import from_json

from engine.core.fingerprint import band_code
from engine.core.layout import MISSING, STANDING_COLUMNS, Block, Col, Kind, Standing, Topic
from engine.errors import EngineError
from engine.stream.backlog import letter_of
from engine.stream.decode.columns import epoch_ms, offer_number
from engine.stream.decode.misrouting import partition_of
from engine.stream.journal import bounds, messages
from engine.stream.records import TOPICS
from engine.stream.render import OUTPUT_SEQUENCE_HEADER
from schemas.common import parse_instant
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS

UNKNOWN: Final = "unknown-"  # a band or tier that the policy of that day did not know is told by its code
RESHARDED: Final = "restore a backup, or rebuild from the journal: the inputs of before lie in other partitions"

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was announced: the place of its cause (topic None: time alone), and its row (``core.refold.Said``)."""

    topic: Topic | None
    offset: int
    row: tuple[int, ...]

    @property
    def at_ms(self) -> int:
        """When the cause was."""
        return self.row[0]

    @property
    def sequence(self) -> int:
        """The account's number of it."""
        return self.row[2]


@dataclass(slots=True)
class Witness:
    """``changes`` of each account in sequence; the offsets of the commands that were ``accepted``; by topic the newest offset that something was
    said because of (``taken``), and the newest tick likewise; how many outputs there were; and of each segment when its breaker tripped last."""

    changes: dict[bytes, list[Change]] = field(default_factory=lambda: defaultdict(list))
    accepted: set[int] = field(default_factory=set)
    taken: dict[Topic, int] = field(default_factory=dict)
    tick_ms: int = MISSING
    outputs: int = 0
    tripped: dict[str, tuple[int, str]] = field(default_factory=dict)

    def note_cause(self, cause: Mapping[str, Any], occurred_at_ms: int) -> tuple[Topic | None, int]:
        """Learn from what something was said because of; its place."""
        if cause.get("topic") is not None:
            topic = TOPICS[cause["topic"]]
            self.taken[topic] = max(self.taken.get(topic, -1), cause["offset"])
            if topic is not Topic.CONTROL:
                return topic, cause["offset"]
        self.tick_ms = max(self.tick_ms, occurred_at_ms)  # a sweep, of a day or behind a control record
        return None, 0

    def note_change(self, account: bytes, value: Mapping[str, Any]) -> None:
        """Learn from a limit change."""
        at_ms = milliseconds(value["occurred_at"])
        topic, offset = self.note_cause(value["cause"], at_ms)
        row = (at_ms, Kind[value["kind"].upper()], value["sequence"], *columns_of(value["standing"]))
        self.changes[account].append(Change(topic, offset, row))

    def note_advisory(self, value: Mapping[str, Any]) -> None:
        """Learn from an advisory."""
        at_ms = milliseconds(value["occurred_at"])
        topic, offset = self.note_cause(value["cause"], at_ms)
        if topic is Topic.COMMAND and value["kind"] == "command_result" and value["result"] == "accepted":
            self.accepted.add(offset)
        if value["kind"] == "breaker_tripped":
            self.tripped[value["segment"]] = (at_ms, value["day"])

    def disregard(self, topic: Topic) -> None:
        """A topic was made anew: its offsets say nothing. What was said because of it, time alone has caused, as far as can be told."""
        del self.taken[topic]
        self.accepted -= self.accepted if topic is Topic.COMMAND else set()
        for account, changes in self.changes.items():
            self.changes[account] = [replace(change, topic=None) if change.topic is topic else change for change in changes]


async def witness_of(consumer: AIOKafkaConsumer, shard: int, partitions: int, deadline_s: float, told: Told) -> Witness:
    """Read what a shard has said. The consumer is started, and assigned otherwise afterwards. Raises EngineError, KafkaError, TimeoutError."""
    found = Witness()
    places = [TopicPartition(spec.name, shard) for spec in (CHANGES, ADVISORIES, DEAD_LETTERS)]
    consumer.assign(places)
    spans = {place: await bounds(consumer, place, deadline_s) for place in places}
    total, behind = sum(end - begins for begins, end in spans.values()), 0
    for place, (begins, end) in spans.items():
        consumer.assign([place])
        async for message in messages(consumer, place, begins, end, deadline_s):
            _note(found, message, place.topic, shard, partitions)
            told(behind + message.offset - begins, total)
        behind += end - begins
    return found


def _note(found: Witness, message: Any, topic: str, shard: int, partitions: int) -> None:
    if topic == DEAD_LETTERS.name:
        letter = letter_of(message)
        if letter is not None and letter.origin.partition == shard:
            origin = TOPICS[letter.origin.topic]
            found.taken[origin] = max(found.taken.get(origin, -1), letter.origin.offset)
        return
    if partition_of(message.key, partitions) != shard:
        raise EngineError(f"{topic} has accounts of other shards: the deployment was resharded", where=f"shard {shard}", cure=RESHARDED)
    found.outputs = max(found.outputs, int(dict(message.headers)[OUTPUT_SEQUENCE_HEADER]))
    value = from_json(message.value)
    if topic == CHANGES.name:
        found.note_change(message.key, value)
    else:
        found.note_advisory(value)


def columns_of(standing: Mapping[str, Any]) -> list[int]:
    """The columns STANDING to PENDING_RATE_AT of an account's row that an announced standing tells (inverse of ``Renderer.standing``)."""
    found = [MISSING] * STANDING_COLUMNS

    def put(column: Col, value: int | None) -> None:
        found[column - Col.STANDING] = MISSING if value is None else value

    def part(name: str, limit: Col, end: Col, until: str) -> None:
        told = standing[name]
        if told is not None:
            put(limit, told["limit_minor"])
            put(end, milliseconds(told[until]))

    put(Col.STANDING, Standing[standing["state"].upper()])
    put(Col.LIMIT, standing["limit_minor"])
    put(Col.BAND, code_of(standing["band"]))
    put(Col.BLOCKS, sum(1 << Block[block.upper()] for block in standing["blocks"]))
    put(Col.CEILING, standing["ceiling_minor"])
    put(Col.RATE_TIER, code_of(standing["rate_tier"]))
    part("temporary", Col.TEMPORARY_LIMIT, Col.TEMPORARY_UNTIL, "until")
    part("offer", Col.OFFER_LIMIT, Col.OFFER_UNTIL, "expires_at")
    if standing["offer"] is not None:
        put(Col.OFFER, offer_number(standing["offer"]["offer_id"]))
    part("pending", Col.PENDING_LIMIT, Col.PENDING_AT, "effective_at")
    part("override", Col.OVERRIDE_LIMIT, Col.OVERRIDE_UNTIL, "until")
    if standing["hold_until"] is not None:
        put(Col.HOLD_UNTIL, milliseconds(standing["hold_until"]))
    if standing["pending_rate"] is not None:
        put(Col.PENDING_RATE, code_of(standing["pending_rate"]["rate_tier"]))
        put(Col.PENDING_RATE_AT, milliseconds(standing["pending_rate"]["effective_at"]))
    return found


def code_of(name: str | None) -> int | None:
    """The code of a band or tier, None without one."""
    if name is None:
        return None
    return int(name.removeprefix(UNKNOWN), 16) if name.startswith(UNKNOWN) else band_code(name)


def milliseconds(text: str) -> int:
    """An RFC 3339 time in ms."""
    moment: datetime = parse_instant(text)
    return epoch_ms(moment)
