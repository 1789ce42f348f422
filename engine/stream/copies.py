"""What is sent instead of a dead letter, and whether the engine would take it.

Theory of operation. A record is sent to the topic it came from, into its key's partition, with its own key, value and headers, and one more
header that names the dead letter. The engine's own decoder, under the policy that was activated last, says whether it would be refused again.

Its timestamp is the one it had. Then it is judged by time as it was at first, and moves no clock: its topic has come further. Only a record
that cannot be taken at that timestamp (it said to be from later, or from long before) is sent with its own time, as history is, but never with
one that is still to come. A timestamp is never older than half of what its topic keeps: a broker deletes by timestamps, and a shard stops whose
records are gone before it has read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic_core import from_json

from engine.core.fingerprint import FingerprintKey
from engine.core.tables import DecodeRules
from engine.stream.backlog import Letter
from engine.stream.decode.columns import epoch_ms
from engine.stream.decode.decoder import Decoder, Reject
from engine.stream.decode.envelope import envelope_of
from engine.stream.decode.judge import judge
from engine.stream.decode.misrouting import partition_of
from engine.stream.records import TOPICS, Chunk, Headers
from engine.stream.topics import TopicState, kept_by
from schemas import dead_letters as names
from schemas.topics import CONTROL, FOREVER, PROFILES

BY_TIME: Final = ("in_the_future", "too_old")

CORRECT: Final = "correct it, with the same id"
CURES: Final[Mapping[str, str]] = {
    "too_large": "send less; a record is small: correct it, with the same id",
    "not_json": "correct it, with the same id; if no id can be read in it, publish the record anew",
    "invalid": "correct it, with the same id; a wrong id cannot be kept: publish the record anew",
    "unknown_field": "correct it, with the same id: leave the field out",
    "currency_mismatch": "one deployment has one currency, its policy's: correct it, with the same id",
    "key_mismatch": "is the key wrong, or the account_id? The key: replay it with --rekey; the account_id: correct it, with the same id",
    "misrouted": "let its producer place keys by Kafka's murmur2 (librdkafka: partitioner=murmur2_random), and replay it as it is",
    "in_the_future": "replay it as it is once its time has come; if its clock was wrong, correct it, with the same id",
    "too_old": "replay it as it is: it is sent with its own time, as history; if its clock was wrong, correct it, with the same id",
}
OF_CONTROL: Final = "a control record is not replayed: issue it anew (`policy promote`, `appetite set`, `brakes release`)"
OF_A_WISH: Final = "a wish to forget an account is not replayed: `limit-engine account forget ID` looks, asks and writes it anew"
OF_NOTHING: Final = "it has no value: there is nothing to replay"


def cure_of(letter: Letter) -> str:
    """What is to be done about a dead letter."""
    return unsendable(letter) or CURES.get(letter.disposition, CORRECT)


def unsendable(letter: Letter) -> str | None:
    """Why a dead letter can never be sent again, None if it can."""
    if letter.origin.topic == CONTROL.name:
        return OF_CONTROL
    if letter.value is None:
        return OF_A_WISH if letter.origin.topic == PROFILES.name else OF_NOTHING
    return None


@dataclass(frozen=True, slots=True)
class Copy:
    """What is sent instead of a dead letter. ``reject``: it would be one again, and why."""

    letter: Letter
    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Headers
    is_corrected: bool
    reject: Reject | None


class Copies:
    """Makes copies as the engine would take them now. ``rules`` are those of the policy in force, ``states`` the topics."""

    def __init__(self, rules: DecodeRules, key: FingerprintKey, states: Iterable[TopicState], now_ms: int) -> None:
        self._rules, self._key, self._now_ms = rules, key, now_ms
        self._partitions = {state.name: state.partitions for state in states}
        self._oldest_ms = {state.name: _oldest_ms(state, now_ms) for state in states}
        self._decoders: dict[int, Decoder] = {}

    @property
    def shards(self) -> int:
        """How many shards there are, by the topics."""
        return max(self._partitions.values())

    def of(self, letter: Letter, corrected: bytes | None = None, *, rekey: bool = False) -> Copy:
        """The copy of a dead letter that can be sent, with the ``corrected`` value if there is one; that, and with ``rekey`` any, is keyed by its
        account_id."""
        value = letter.value if corrected is None else corrected
        assert value is not None
        key = letter.key
        if rekey or corrected is not None:
            key = _account_of(value, letter.headers) or key
        headers = tuple((name, found) for name, found in letter.headers if found is not None and name != names.REPLAY_OF)
        partition = letter.origin.partition if key is None else partition_of(key, self._partitions[letter.origin.topic])
        timestamp_ms = max(letter.recorded_ms, self._oldest_ms[letter.origin.topic])
        reject = self._reject(letter.origin.topic, partition, timestamp_ms, key, value, headers)
        if reject is not None and reject.disposition in BY_TIME:
            own_ms = min(self._now_ms, _time_of(letter.origin.topic, value, headers))
            timestamp_ms = max(own_ms, self._oldest_ms[letter.origin.topic])
            reject = self._reject(letter.origin.topic, partition, timestamp_ms, key, value, headers)
        headers = (*headers, (names.REPLAY_OF, str(letter.place).encode()))
        return Copy(letter, partition, timestamp_ms, key, value, headers, corrected is not None, reject)

    def _reject(self, topic: str, partition: int, timestamp_ms: int, key: bytes | None, value: bytes, headers: Headers) -> Reject | None:
        """Why the engine would refuse this record there."""
        if partition not in self._decoders:
            self._decoders[partition] = Decoder(self._rules, self._key, partition, self._partitions[topic])
        decoded = self._decoders[partition].decode(Chunk.of(TOPICS[topic], [0], [timestamp_ms], [key], [value], [headers]))
        return decoded.rejects[0] if decoded.rejects else None


def _oldest_ms(state: TopicState, now_ms: int) -> int:
    """The oldest timestamp that a record may be sent with. A topic that is compacted deletes nothing by time."""
    cleanup = state.configs.get("cleanup.policy", "delete")
    kept_ms = FOREVER if cleanup == "compact" else int(state.configs.get(kept_by(cleanup), FOREVER))
    return 0 if kept_ms == FOREVER else max(0, now_ms - kept_ms // 2)


def _account_of(value: bytes, headers: Headers) -> bytes | None:
    """The account_id in a record's value."""
    try:
        plain = from_json(value)
        found = (plain["data"] if envelope_of(headers).structured else plain)["account_id"]
    except (ValueError, LookupError, TypeError):
        return None
    return found.encode() if isinstance(found, str) and found else None


def _time_of(topic: str, value: bytes, headers: Headers) -> int:
    """The latest time that a record says it is from; the contract is kept, or it would have been refused for that."""
    model, _ = judge(TOPICS[topic], value, envelope_of(headers))
    return max(epoch_ms(moment) for name in ("occurred_at", "issued_at", "as_of") if (moment := getattr(model, name, None)) is not None)
