"""The ordinary contenders do the same job, whatever keeps their counts."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from scripts.benchmark import job, plain_agent
from scripts.benchmark.load import Load, events


def counted_in_redis(held: dict[bytes, bytes], topic: str, day: int, amount_minor: int) -> None:
    """What the plain agent's pipeline does."""
    for what, more in (("count", 1), ("sum", amount_minor)):
        name = f"{topic}:{what}:{day}".encode()
        held[name] = str(int(held.get(name, b"0")) + more).encode()


def test_one_value_and_a_redis_hash_give_the_same_bands() -> None:
    as_value: dict[str, Any] = {}
    as_hash: dict[bytes, bytes] = {}
    bands = []
    for arrival in events(Load(events=2_000, accounts=1, start_ms=1_700_000_000_000, days=90)):
        account_id, day, amount_minor = job.validated(arrival.topic, arrival.value)
        counted_in_redis(as_hash, arrival.topic, day, amount_minor)
        points = plain_agent.score(as_hash, day)
        as_value, change = job.rescored(json.loads(json.dumps(as_value)), account_id, arrival.topic, day, amount_minor)
        assert as_value["band"] == job.band_of(points)[0]
        if change is not None:
            bands.append(json.loads(change)["band"])
            assert json.loads(change)["score"] == points
    assert bands[:4] == ["none", "basic", "regular", "premier"]
    assert len(as_value["days"]) == job.WINDOW_DAYS


def test_events_are_counted_and_changes_too() -> None:
    records, changes = (counter._value.get() for counter in (job.RECORDS, job.CHANGES))
    held: dict[str, Any] = {}
    for arrival in islice(events(Load(events=3, accounts=1, start_ms=1_700_000_000_000)), 3):
        held, _ = job.rescored(held, "account", arrival.topic, 1, 500)
    assert job.RECORDS._value.get() - records == 3
    assert job.CHANGES._value.get() - changes == 1
