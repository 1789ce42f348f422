"""What real streams do to good records: some come late, some twice, some are taken back, some are broken.

``spoil`` turns items in order of occurred_at into records in order of arrival. Every fault is drawn from the seed and is counted, so a test can
say how many dead letters must appear.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from scripts.personas import HOUR_MS, Item, instant

EVENT_TOPICS: Final = ("repayments", "purchases", "transfers")
LATE_DAYS: Final = 10  # so long after the last item the last record has come; Kafka refuses what lies ahead of its clock


@dataclass(frozen=True, slots=True)
class Shares:
    """Share of the records that each fault befalls."""

    late: float = 0.02
    duplicate: float = 0.01
    reversed: float = 0.01
    broken: float = 0.002


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """A record as it arrives: record time, topic, key and raw value."""

    at_ms: int
    serial: int
    topic: str
    key: bytes
    value: bytes


def broken(item: Item, rng: Random) -> bytes:
    """One of the ways in which a producer gets a record wrong."""
    value = dict(item.value)
    match rng.randrange(6):
        case 0:
            return encode(value)[:-7]
        case 1:
            value["amount_minor"] = "12.50"
        case 2:
            del value["occurred_at"]
        case 3:
            value["note"] = "not in the contract"
        case 4:
            value["currency"] = "XXX"
        case _:
            value["amount_minor"] = -5
    return encode(value)


def encode(value: dict[str, Any]) -> bytes:
    """The value's bytes on the wire."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def reversal(item: Item, at_ms: int) -> dict[str, Any]:
    """The record that takes ``item`` back in full."""
    origin = {"event_id": item.value["event_id"], "occurred_at": item.value["occurred_at"], "full": True}
    return item.value | {"event_id": f"{item.value['event_id']}-r", "occurred_at": instant(at_ms), "reverses": origin}


def spoil(items: Iterable[Item], seed: int, shares: Shares, faults: Counter[str]) -> Iterator[Arrival]:
    """Arrivals in order of record time. ``faults`` counts what was done."""
    rng = Random(f"{seed}/spoil")
    serial = 0
    pending: list[Arrival] = []

    def put(at_ms: int, item: Item, value: bytes) -> None:
        nonlocal serial
        serial += 1
        heapq.heappush(pending, Arrival(at_ms, serial, item.topic, item.value["account_id"].encode(), value))

    for item in items:
        while pending and pending[0].at_ms <= item.at_ms:
            yield heapq.heappop(pending)
        arrives = item.at_ms
        if item.topic in EVENT_TOPICS:
            draw = rng.random()
            if draw < shares.broken:
                faults["broken"] += 1
                put(arrives, item, broken(item, rng))
                continue
            if rng.random() < shares.late:
                faults["late"] += 1
                arrives += rng.randrange(1, 72) * HOUR_MS
            if rng.random() < shares.duplicate:
                faults["duplicate"] += 1
                put(arrives + rng.randrange(60_000), item, encode(item.value))
            if item.topic == "purchases" and rng.random() < shares.reversed:
                faults["reversed"] += 1
                back_ms = arrives + rng.randrange(1, 120) * HOUR_MS
                put(back_ms, item, encode(reversal(item, back_ms)))
        put(arrives, item, encode(item.value))
    while pending:
        yield heapq.heappop(pending)
