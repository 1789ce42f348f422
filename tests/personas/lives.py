"""Lives through the offline machine, and what came of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

from engine.core.fingerprint import FingerprintKey
from engine.policy.source import load_policy
from engine.state.record import DeadLetterRef, JournalRecord
from engine.stream import offline
from engine.stream.offline import LogRecord
from engine.stream.records import TOPICS
from schemas.topics import CHANGES
from scripts.committee import Committee
from scripts.counterpart import Counterpart
from scripts.personas import DAY_MS, Item, midnight_before
from scripts.spoil import Arrival, encode

KEY: Final = FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")
POLICY: Final = load_policy(Path(__file__).parents[2] / "policies" / "default.yaml", date(2025, 3, 1))
START_MS: Final = midnight_before(datetime(2025, 3, 1, tzinfo=UTC), 0)
CHINA_MS: Final = 8 * 3_600_000


@dataclass
class Outcome:
    """What the machine made of a log: each account's changes and advisories, the dead letters, verdicts counted, encoded states in the end."""

    changes: defaultdict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    advisories: defaultdict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    dead_letters: list[DeadLetterRef] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    states: dict[bytes, bytes] = field(default_factory=dict)
    tick_ms: int = 0


def decided(log: Iterable[LogRecord]) -> Outcome:
    """Decide a log under the default policy."""
    return _outcome(offline.decide([offline.activation(POLICY), *log], KEY, "limits"), lambda _: None)


def answered(arrivals: Iterable[Arrival], seed: int) -> Outcome:
    """Decide arrivals under the default policy, with the answers to what is announced among them. They come up to a day late: a day is decided as
    a whole."""
    counterpart = Counterpart(seed, START_MS, Committee(START_MS, START_MS))
    log = chain([offline.activation(POLICY)], _numbered(counterpart.among(arrivals)))
    return _outcome(offline.decide_as_they_come(log, KEY, "limits"), counterpart.hear)


def _outcome(journal: Iterable[JournalRecord], hear: Callable[[dict[str, Any]], None]) -> Outcome:
    outcome = Outcome()
    for record in journal:
        for output in record.outputs:
            told = outcome.changes if output.topic == CHANGES.name else outcome.advisories
            value = json.loads(output.value)
            told[output.key.decode()].append(value)
            hear(value)
        outcome.dead_letters += record.dead_letters
        outcome.verdicts.update(dict(record.counts))
        outcome.states.update((account, value) for account, value in record.accounts if value is not None)
        outcome.tick_ms = record.tick_ms
    return outcome


def log_of(items: Iterable[Item]) -> list[LogRecord]:
    """Items as they would arrive if nothing went wrong."""
    return [
        LogRecord(TOPICS[item.topic], place, item.at_ms, item.value["account_id"].encode(), encode(item.value))
        for place, item in enumerate(items, 1)
    ]


def arrived(arrivals: Iterable[Arrival]) -> list[LogRecord]:
    """Arrivals, numbered as they came."""
    return list(_numbered(arrivals))


def _numbered(arrivals: Iterable[Arrival]) -> Iterator[LogRecord]:
    return (LogRecord(TOPICS[a.topic], place, a.at_ms, a.key, a.value) for place, a in enumerate(arrivals, 1))


def day_of(at_ms: int) -> int:
    """The day of the story; 0 is the first."""
    return (at_ms - START_MS) // DAY_MS


def at_ms_of(text: str) -> int:
    """An RFC 3339 instant in ms."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
