"""What a shard writes to its topics, as columns: compiled code makes them and writes them into Kafka's batches, and no object stands for each.

Theory of operation. An output's value and its headers, as they stand in a Kafka record, lie one behind the other in one buffer: so they are
written once, hashed where they lie, and copied once more, into the batch. As a sequence it gives an ``Output`` for each, for whoever looks at
single ones: tests, the command line, a replay that found a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Any, Final, overload

import numpy as np

from engine.core.packed import Packed, padded
from engine.core.tables import Ints
from engine.state.headers import header_bytes, read_headers
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, JOURNAL

TOPICS: Final = (CHANGES.name, ADVISORIES.name, DEAD_LETTERS.name, JOURNAL.name)
NUMBERS: Final = {name: number for number, name in enumerate(TOPICS)}


@dataclass(frozen=True, slots=True)
class Output:
    """One record for a topic. ``headers`` are in order. A dead letter's key and value may be None, since they are as they came, and a journal
    record has no key."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def ref(self) -> OutputRef:
        """What the journal says of it."""
        return OutputRef.of(self.topic, self.key, self.value, self.headers)


@dataclass(frozen=True, slots=True)
class OutputRef:
    """An output in the journal. ``digest`` is the SHA-256 of its value and, behind that, of its headers as Kafka has them."""

    topic: str
    key: bytes
    digest: bytes

    @classmethod
    def of(cls, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> OutputRef:
        """What the journal says of a record that stands in a topic like this."""
        return cls(topic, key or b"", sha256((value or b"") + header_bytes(headers)).digest())


class Fact(IntEnum):
    """What is known of an output: columns of its decision, and of how many characteristics of the scorecard the value was missing."""

    KIND = 0
    SEGMENT = 1
    BAND_BEFORE = 2
    BAND_AFTER = 3
    SCORE = 4
    GUARD = 5
    BUCKET = 6
    MISSING = 7


@dataclass(frozen=True, slots=True)
class Names:
    """A policy's names of segments, and of bands by their codes; ``sizes`` are the numbers of the segments' characteristics."""

    segments: Sequence[str]
    bands: Mapping[int, str]
    sizes: Ints


@dataclass(frozen=True, slots=True)
class Facts:
    """What is counted of outputs (``engine.stream.tally``), and no part of them: ``columns`` (len(Fact), n), and how they are told."""

    columns: Ints
    names: Names

    def __getitem__(self, fact: Fact) -> Ints:
        column: Ints = self.columns[fact]
        return column

    def at(self, places: Any) -> Facts:
        """Those of some outputs."""
        return Facts(self.columns[:, places], self.names)


@dataclass(frozen=True, slots=True, eq=False)
class Outputs(Sequence[Output]):
    """Columns (n,): ``topics`` are numbers of ``TOPICS``, ``headers`` as Kafka has them, each directly behind its value, ``header_counts`` how
    many. ``facts`` are known of what was decided here. Equal to any sequence of the same outputs."""

    topics: Ints
    keys: Packed
    values: Packed
    headers: Packed
    header_counts: Ints
    facts: Facts | None = None

    @classmethod
    def of(cls, outputs: Iterable[Output]) -> Outputs:
        """Outputs that are there one by one."""
        listed = list(outputs)
        headers = [header_bytes(output.headers) for output in listed]
        data = padded(*(part for output, own in zip(listed, headers, strict=True) for part in (output.value or b"", own)))
        value_sizes = np.array([len(output.value or b"") for output in listed], np.int64)
        ends = np.cumsum(value_sizes + np.array([len(own) for own in headers], np.int64))
        begins = np.concatenate([np.zeros(1, np.int64), ends])[: len(listed)]
        is_null = np.array([output.value is None for output in listed], np.int64)
        return cls(
            np.array([NUMBERS[output.topic] for output in listed], np.int64),
            Packed.of(output.key for output in listed),
            Packed(data, begins, begins + value_sizes - is_null),
            Packed(data, begins + value_sizes, ends),
            np.array([len(output.headers) for output in listed], np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """The outputs of these one behind the other, with their facts, which are of one policy, if all have some."""
        parts = [part for part in parts if len(part)]
        if len(parts) < 2:
            return parts[0] if parts else NO_OUTPUTS
        sizes = [len(part.values.data) for part in parts]
        data, firsts = np.concatenate([part.values.data for part in parts]), np.cumsum([0, *sizes[:-1]])

        def moved(columns: Iterable[Ints]) -> Ints:
            return np.concatenate([column + first for column, first in zip(columns, firsts, strict=True)])

        known = [part.facts for part in parts if part.facts is not None]
        return cls(
            np.concatenate([part.topics for part in parts]),
            Packed.joined([part.keys for part in parts]),
            Packed(data, moved(part.values.begins for part in parts), moved(part.values.ends for part in parts)),
            Packed(data, moved(part.headers.begins for part in parts), moved(part.headers.ends for part in parts)),
            np.concatenate([part.header_counts for part in parts]),
            Facts(np.concatenate([own.columns for own in known], axis=1), known[0].names) if len(known) == len(parts) else None,
        )

    def at(self, places: Any) -> Outputs:
        """The outputs at these places, where this mask is true, or of this slice."""
        return Outputs(
            self.topics[places],
            Packed(self.keys.data, self.keys.begins[places], self.keys.ends[places]),
            Packed(self.values.data, self.values.begins[places], self.values.ends[places]),
            Packed(self.headers.data, self.headers.begins[places], self.headers.ends[places]),
            self.header_counts[places],
            None if self.facts is None else self.facts.at(places),
        )

    def by_topic(self) -> Iterator[tuple[str, Outputs]]:
        """The outputs of each topic that has any."""
        for number in np.unique(self.topics).tolist():
            yield TOPICS[number], self.at(self.topics == number)

    def refs(self) -> tuple[OutputRef, ...]:
        """What the journal says of them."""
        if not len(self):
            return ()
        raw, spans = self.values.data.data, zip(self.values.begins.tolist(), self.headers.ends.tolist(), strict=True)
        digests = [sha256(raw[begin:end]).digest() for begin, end in spans]
        topics = [TOPICS[number] for number in self.topics.tolist()]
        return tuple(OutputRef(topic, key or b"", digest) for topic, key, digest in zip(topics, self.keys, digests, strict=True))

    def sizes(self) -> Ints:
        """(n,) the bytes of each: key, value and headers."""
        return np.maximum(self.keys.lengths(), 0) + self.headers.ends - self.values.begins

    def __len__(self) -> int:
        return len(self.topics)

    @overload
    def __getitem__(self, place: int) -> Output: ...

    @overload
    def __getitem__(self, place: slice) -> Outputs: ...

    def __getitem__(self, place: int | slice) -> Output | Outputs:
        if isinstance(place, slice):
            return self.at(place)
        own = padded(self.headers[place] or b"")
        headers = tuple(read_headers(own, own.tobytes(), 0, int(self.header_counts[place])))
        return Output(TOPICS[self.topics[place]], self.keys[place], self.values[place], headers)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Output]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


NO_OUTPUTS: Final = Outputs.of(())
