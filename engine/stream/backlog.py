"""The dead letters as they lie in their topic, and what has become of each: open, replayed, or followed by another one.

Theory of operation. The topic says all of it. A replay writes what it sends, and a note of it behind the dead letter in its own partition, in one
transaction; so a dead letter was replayed if and only if there is a note of it, and a note outlives its dead letter. What was sent may be
refused again: then there is another dead letter, whose origin is the place that the note names.

A producer that tries again leaves dead letters of one event. The engine remembers an account's last 16 records only, so each event is to be sent
once: the newest of its dead letters stands for all of them, and one that was replayed settles them all, unless it is dead again. An event is
known, as by the engine, by its topic, its source, its account and its id.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from engine.settings import Kafka
from engine.stream.announcements import reading
from engine.stream.records import TOPICS, Headers
from schemas import cloudevents as ce
from schemas import dead_letters as names
from schemas.topics import COMMANDS, CONTROL, DEAD_LETTERS

_PLACE: Final = re.compile(r"(?:(?P<topic>[a-z-]+)-)?(?P<partition>\d{1,9})@(?P<offset>\d{1,18})", re.ASCII)
_CUT_OFF_ID: Final = re.compile(rb'"(?:event_id|command_id)"\s*:\s*"([^"\\]{1,64})"')


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"

    @property
    def short(self) -> str:
        """The place where the topic is known."""
        return f"{self.partition}@{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Inverse of both; without a topic it is in dead-letters. Raises ValueError."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no place: it is PARTITION@OFFSET, such as 2@17")
        return cls(match["topic"] or DEAD_LETTERS.name, int(match["partition"]), int(match["offset"]))


class Event(NamedTuple):
    """What the engine knows a record again by: ids are those of a topic, a source (empty where there is none) and an account."""

    topic: str
    source: str
    account: str
    id: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. ``key``, ``value`` and ``headers`` are the record's own, ``origin`` and ``recorded_ms`` its place and timestamp;
    ``event`` is None where no id can be read."""

    place: Place
    written_ms: int
    origin: Place
    recorded_ms: int
    disposition: str
    message: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    event: Event | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What has become of a dead letter. Nothing: it is open. ``copy``: it, or another one of its event, was sent again and lies there.
    ``follower``: another dead letter stands for its event."""

    copy: Place | None = None
    follower: Place | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing has become of it."""
        return self == OPEN


OPEN: Final = Fate()


@dataclass(frozen=True, slots=True)
class Backlog:
    """The dead letters by place and what was sent again of them; ``ends`` is how far the topic was read, by partition, ``strangers`` how many
    records in it are not the engine's."""

    letters: dict[Place, Letter]
    copies: dict[Place, Place]
    ends: dict[int, int]
    strangers: int = 0

    def fates(self) -> dict[Place, Fate]:
        """What has become of each."""
        by_origin = {letter.origin: place for place, letter in self.letters.items()}
        found, settled, open_ones = {}, {}, defaultdict(list)
        for place, letter in self.letters.items():
            copy = self.copies.get(place)
            if copy in by_origin:
                found[place] = Fate(follower=by_origin[copy])
            elif copy is not None:
                found[place] = Fate(copy=copy)
                settled[letter.event or place] = copy
            else:
                open_ones[letter.event or place].append(letter)
        for event, letters in open_ones.items():
            newest = max(letters, key=lambda letter: (letter.written_ms, letter.place)).place
            for letter in letters:
                if event in settled:
                    found[letter.place] = Fate(copy=settled[event])
                else:
                    found[letter.place] = OPEN if letter.place == newest else Fate(follower=newest)
        return found


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters are meant, by when they were written, why, of which input topic, and in which partition."""

    since_ms: int | None = None
    until_ms: int | None = None
    disposition: str | None = None
    topic: str | None = None
    partition: int | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether a dead letter is meant."""
        return (
            (self.since_ms is None or letter.written_ms >= self.since_ms)
            and (self.until_ms is None or letter.written_ms < self.until_ms)
            and self.disposition in (None, letter.disposition)
            and self.topic in (None, letter.origin.topic)
            and self.partition in (None, letter.place.partition)
        )


def read_backlog(kafka: Kafka, progress: Callable[[int, int], None], keeps_value: Callable[[Letter], bool]) -> Backlog:
    """Everything that lies in dead-letters now. Of a letter that ``keeps_value`` does not want the value is None. Raises EngineError."""
    with reading(kafka, DEAD_LETTERS.name, progress) as (ends, records):
        return collected(records, ends, keeps_value)


def collected(records: Iterable[Any], ends: Mapping[int, int], keeps_value: Callable[[Letter], bool]) -> Backlog:
    """The backlog that these records make."""
    backlog = Backlog({}, {}, dict(ends))
    strangers = 0
    for record in records:
        letter, note = letter_of(record), note_of(record)
        if letter is not None:
            backlog.letters[letter.place] = letter if keeps_value(letter) else replace(letter, value=None)
        elif note is not None:
            backlog.copies[note[0]] = note[1]
        else:
            strangers += 1
    return replace(backlog, strangers=strangers)


def died_again(kafka: Kafka, copies: Collection[Place], first: Mapping[int, int]) -> Iterator[tuple[Place, Letter]]:
    """Those of the records sent that are dead letters again, from these offsets of dead-letters on. Raises EngineError."""
    with reading(kafka, DEAD_LETTERS.name, lambda _done, _total: None, first) as (_, records):
        for record in records:
            letter = letter_of(record)
            if letter is not None and letter.origin in copies:
                yield letter.origin, letter


def letter_of(record: Any) -> Letter | None:
    """The dead letter that a record is; None if it is none of the engine's."""
    headers = record.headers
    first = max((i for i, (name, _) in enumerate(headers) if name == names.EXCEPTION), default=None)
    if first is None:
        return None
    own, told = tuple(headers[:first]), {name: value.decode() for name, value in headers[first:] if value is not None}
    try:
        origin = Place(told[names.TOPIC], int(told[names.PARTITION]), int(told[names.OFFSET]))
        recorded_ms, disposition, message = int(told[names.TIMESTAMP]), told[names.DISPOSITION], told[names.MESSAGE]
    except (KeyError, ValueError):
        return None
    if origin.topic not in TOPICS:
        return None
    place = Place(record.topic, record.partition, record.offset)
    event = event_of(origin.topic, record.key, record.value, own)
    return Letter(place, record.timestamp, origin, recorded_ms, disposition, message, record.key, record.value, own, event)


def note_of(record: Any) -> tuple[Place, Place] | None:
    """The dead letter that was sent again and what was sent, if a record is a note of that."""
    told = dict(record.headers)
    if not {names.REPLAY_OF, names.REPLAYED_AS} <= told.keys():
        return None
    return Place.parse(told[names.REPLAY_OF].decode()), Place.parse(told[names.REPLAYED_AS].decode())


def event_of(topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Event | None:
    """The event that a record is, as far as it can be told of one that was refused: by its own id and account, its CloudEvents id and its key, or
    what looks like its id in what is no JSON."""
    if topic == CONTROL.name:
        return None
    told = {name.lower(): found.decode(errors="replace") for name, found in headers if found is not None}
    source, envelope_id, keyed = told.get(ce.SOURCE, ""), told.get(ce.ID, ""), (key or b"").decode(errors="replace")
    try:
        plain = from_json(value or b"")
    except ValueError:
        match = _CUT_OFF_ID.search((value or b"").partition(b'"reverses"')[0])
        found = envelope_id or (match[1].decode(errors="replace") if match is not None else "")
        return Event(topic, source, keyed, found) if found else None
    if isinstance(plain, dict) and told.get(ce.CONTENT_TYPE, "").startswith(ce.STRUCTURED):
        source, plain = str(plain.get("source", "")), plain.get("data")
    found = id_of(topic, plain) or envelope_id
    return Event(topic, source, word_of(plain, "account_id") or keyed, found) if found else None


def id_of(topic: str, plain: Any) -> str:
    """The id in a record's plain value; empty if there is none that is a word."""
    return word_of(plain, "command_id" if topic == COMMANDS.name else "event_id")


def word_of(plain: Any, field: str) -> str:
    """A field of a record's plain value, empty if there is none that is a word."""
    found = plain.get(field) if isinstance(plain, dict) else None
    return found if isinstance(found, str) else ""
