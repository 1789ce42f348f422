"""From a chunk of records to columns: the scanner takes what is certainly right, the judge decides on the rest.

A record that cannot be taken becomes a ``Reject``: it will be a dead letter, and its neighbours are unharmed. The reasons are asked in this
order: too_large, not_json, invalid or unknown_field, key_mismatch, misrouted, currency_mismatch, in_the_future, too_old.

A profile without a value (a tombstone) is the wish to forget the account that its key names; whether that can be is for the kernel to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from engine.core.fingerprint import FingerprintKey, event_fingerprint, fingerprint
from engine.core.layout import Ev, Fig, Topic
from engine.core.packed import Packed
from engine.core.tables import DecodeRules, Ints
from engine.stream.decode.columns import epoch_ms, figures_of, fill_command, fill_event
from engine.stream.decode.envelope import BARE, Envelope, envelope_of
from engine.stream.decode.fields import EVENT_MODELS, NOTED, blank_event, blank_profile, topic_table
from engine.stream.decode.judge import Refusal, judge, record_id
from engine.stream.decode.misrouting import partition_of, partitions_of
from engine.stream.decode.scanner import scan
from engine.stream.records import Chunk, Headers
from schemas.common import VALUE_BYTES_MAX, Identifier
from schemas.dead_letters import Disposition
from schemas.topics import INPUTS

NO_KEY: Final = "the record has no key"
KEYING: Final = "key every record by its account"
ACCOUNT_ID: Final = TypeAdapter[str](Identifier)


@dataclass(frozen=True, slots=True)
class Reject:
    """A record of a chunk that becomes a dead letter."""

    index: int
    disposition: Disposition
    message: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A chunk as columns: ``columns`` (EVENT_COLUMNS, n) int64 without SLOT and CLOCK, meaningful where ``accepted`` (n,) is true; ``profiles``
    (n, FIGURES + attributes + NOTED; of other topics one row), to which PROFILE_ROW points; ``rejects`` in order of index."""

    columns: Ints
    accepted: npt.NDArray[np.bool_]
    profiles: Ints
    rejects: list[Reject]


def decode_control(chunk: Chunk) -> tuple[list[tuple[int, Any]], list[Reject]]:
    """The control records of a chunk with their index, and the rejects. Needs no policy."""
    taken: list[tuple[int, Any]] = []
    rejects: list[Reject] = []
    for i, value in enumerate(chunk.values):
        try:
            model, _ = judge(Topic.CONTROL, value, _envelope(chunk, i))
        except Refusal as refusal:
            rejects.append(Reject(i, refusal.disposition, refusal.message))
        else:
            taken.append((i, model))
    return taken, rejects


class Decoder:
    """Decodes the records of one shard under one policy. ``partition`` of ``partitions`` is where its accounts belong."""

    def __init__(self, rules: DecodeRules, key: FingerprintKey, partition: int, partitions: int) -> None:
        self._rules = rules
        self._key = key
        self._partition = partition
        self._partitions = partitions
        self._tables = {topic: topic_table(topic, rules, key) for topic in (*EVENT_MODELS, Topic.PROFILE)}
        self._blank_profile = blank_profile(len(rules.attributes))
        self._blanks = {topic: blank_event(topic) for topic in Topic}
        for topic, blank in self._blanks.items():
            blank[Ev.FINGERPRINT] = fingerprint(INPUTS[topic].name.encode(), key)
        self._source_print = lru_cache(maxsize=4096)(lambda source: fingerprint(b"source\x00" + source.encode(), key))

    def decode(self, chunk: Chunk) -> Decoded:
        """Decode a chunk of any topic but control."""
        n = len(chunk)
        columns = np.repeat(self._blanks[chunk.topic][:, None], n, axis=1)
        columns[Ev.RECORD_TIME] = chunk.times_ms
        figures = np.repeat(self._blank_profile[None], n if chunk.topic is Topic.PROFILE else 1, axis=0)
        accepted = self._scan(chunk, columns, figures)
        refusals: dict[int, Refusal] = {}
        for i in np.flatnonzero(~accepted).tolist():
            try:
                self._judge(chunk, i, columns[:, i], figures)
                accepted[i] = True
            except Refusal as refusal:
                refusals[i] = refusal
        self._refuse_by_time(chunk.topic, columns, accepted, refusals)
        rejects = [Reject(i, refusal.disposition, refusal.message) for i, refusal in sorted(refusals.items())]
        return Decoded(columns, accepted, figures, rejects)

    def _scan(self, chunk: Chunk, columns: Ints, figures: Ints) -> npt.NDArray[np.bool_]:
        """Let the scanner read what it can; True where it did."""
        n = len(chunk)
        table = self._tables.get(chunk.topic)
        if table is None:
            return np.zeros(n, np.bool_)
        keys, values = chunk.keys, chunk.values
        partitions = np.zeros(n, np.int64)
        partitions_of(keys.data, keys.begins, keys.ends, self._partitions, partitions)
        lengths = values.lengths()
        taken = (partitions == self._partition) & (lengths >= 0) & (lengths <= VALUE_BYTES_MAX)
        ids = Packed.empty(n)
        if chunk.headers is not None:
            ids = Packed.of(self._take_headers(chunk.headers, columns, taken))
        scan(
            *(values.data, values.words, values.begins, values.ends),
            *(keys.words, keys.begins, keys.ends),
            *(ids.words, ids.begins, ids.ends),
            table,
            self._key.low,
            self._key.high,
            columns,
            figures,
            taken,
        )
        if chunk.topic is Topic.PROFILE:
            taken[taken] = figures[taken, Fig.AS_OF] <= chunk.times_ms[taken] + self._rules.too_far_ahead_ms
            columns[Ev.PROFILE_ROW, taken] = np.flatnonzero(taken)
        return taken

    def _take_headers(self, headers: Sequence[Headers], columns: Ints, taken: npt.NDArray[np.bool_]) -> Iterator[bytes]:
        """The CloudEvents ids of the records, whose sources go into their fingerprints; those that only the judge can read are not taken."""
        for i, own in enumerate(headers):
            try:
                envelope = envelope_of(own)
            except ValueError:
                taken[i] = False
                yield b""
                continue
            taken[i] &= not envelope.structured
            if envelope.source is not None:
                columns[Ev.FINGERPRINT, i] ^= self._source_print(envelope.source)
            yield envelope.id

    def _judge(self, chunk: Chunk, i: int, column: Ints, figures: Ints) -> None:
        """Fill the column of a record that the scanner left. Raises Refusal."""
        key = chunk.keys[i]
        if chunk.topic is Topic.PROFILE and chunk.values[i] is None:
            self._refuse_elsewhere(_forgotten_account(key))
            column[:] = self._blanks[chunk.topic]
            column[Ev.RECORD_TIME] = column[Ev.OCCURRED_AT] = chunk.times_ms[i]
            return
        model, envelope = judge(chunk.topic, chunk.values[i], _envelope(chunk, i))
        if key is None or key != model.account_id.encode():
            what = NO_KEY if key is None else "the record's key is not its account_id"
            raise Refusal("key_mismatch", f"{what}: {KEYING}")
        self._refuse_elsewhere(key)
        currency = getattr(model, "currency", self._rules.currency)
        if currency != self._rules.currency:
            raise Refusal("currency_mismatch", f"the record is in {currency}, the policy in {self._rules.currency}")
        column[:] = self._blanks[chunk.topic]
        column[Ev.RECORD_TIME] = chunk.times_ms[i]
        event_id = record_id(chunk.topic, model)
        column[Ev.FINGERPRINT] = event_fingerprint(INPUTS[chunk.topic].name, envelope.source, event_id, self._key)
        if chunk.topic is Topic.COMMAND:
            fill_command(column, model)
        elif chunk.topic is Topic.PROFILE:
            column[Ev.OCCURRED_AT] = epoch_ms(model.occurred_at)
            ahead_ms = epoch_ms(model.as_of) - chunk.times_ms[i]
            if ahead_ms > self._rules.too_far_ahead_ms:  # it would make every snapshot until then a stale one
                raise Refusal("in_the_future", f"as_of is {ahead_ms / 1000:.0f} s ahead of the record's timestamp")
            column[Ev.PROFILE_ROW] = i
            figures[i, :-NOTED] = figures_of(model, self._rules)
        else:
            fill_event(column, model, self._rules, self._key)

    def _refuse_elsewhere(self, key: bytes) -> None:
        """Raise Refusal for a key that belongs to another partition."""
        owner = partition_of(key, self._partitions)
        if owner != self._partition:
            where = f"partition {owner} of {self._partitions} by Kafka's murmur2, not to {self._partition}"
            raise Refusal("misrouted", f"the key belongs to {where}: produce with partitioner=murmur2_random")

    def _refuse_by_time(self, topic: Topic, columns: Ints, accepted: npt.NDArray[np.bool_], refusals: dict[int, Refusal]) -> None:
        occurred, recorded = columns[Ev.OCCURRED_AT], columns[Ev.RECORD_TIME]
        ahead = accepted & (occurred > recorded + self._rules.too_far_ahead_ms)
        behind = accepted & (occurred < recorded - self._rules.horizon_ms) & (topic in EVENT_MODELS)
        for i in np.flatnonzero(ahead).tolist():
            seconds = int(occurred[i] - recorded[i]) / 1000
            refusals[i] = Refusal("in_the_future", f"occurred_at is {seconds:.0f} s ahead of the record's timestamp")
        for i in np.flatnonzero(behind).tolist():
            days = int(recorded[i] - occurred[i]) / 86_400_000
            refusals[i] = Refusal("too_old", f"occurred_at is {days:.0f} days before the record's timestamp: older than every window")
        accepted &= ~(ahead | behind)


def _forgotten_account(key: bytes | None) -> bytes:
    """The account that a tombstone names. Raises Refusal."""
    if key is None:
        raise Refusal("key_mismatch", f"{NO_KEY}: {KEYING}")
    try:
        ACCOUNT_ID.validate_python(key.decode())
    except ValueError:
        raise Refusal("invalid", "the key of a record without a value is no account_id") from None
    return key


def _envelope(chunk: Chunk, i: int) -> Envelope:
    if chunk.headers is None:
        return BARE
    try:
        return envelope_of(chunk.headers[i])
    except ValueError:
        raise Refusal("invalid", "ce_source is not UTF-8") from None
