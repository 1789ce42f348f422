"""The job of the ordinary contenders: validate an event, count it, score 30 days of its account, tell a change when the band is another.

It is far less than what the engine does (three features, no duplicates, no reasons, no guards), and the same for each of them, whatever keeps the
counts. Nothing is imported here but the contracts and Prometheus' client, so that a contender may live in an environment of its own.
"""

from __future__ import annotations

import json
from typing import Any, Final

from prometheus_client import Counter

from schemas.purchases import Purchase
from schemas.repayments import Repayment
from schemas.transfers import Transfer

MODELS: Final[dict[str, Any]] = {"purchases": Purchase, "transfers": Transfer, "repayments": Repayment}
CHANGES_TOPIC: Final = "plain-changes"
WINDOW_DAYS: Final = 30
BANDS: Final = ((0, "none", 0), (40, "basic", 500_000), (80, "regular", 2_000_000), (120, "premier", 5_000_000))

RECORDS: Final = Counter("limits_records", "Records that were taken")
CHANGES: Final = Counter("limits_changes", "Changes that were announced")


def validated(topic: str, value: bytes) -> tuple[str, int, int]:
    """The account, the day (since 1970, UTC) and the amount of an event. Raises pydantic's ValidationError."""
    record = MODELS[topic].model_validate_json(value)
    return record.account_id, int(record.occurred_at.timestamp()) // 86_400, record.amount_minor


def score(purchases: int, moved_minor: int, repayments: int) -> int:
    """Points for how often, how much and how regularly, over the last 30 days."""
    return min(purchases, 60) + min(moved_minor // 50_000, 40) + min(repayments * 5, 40)


def band_of(points: int) -> tuple[str, int]:
    """The band of a score and its limit."""
    return next((name, limit) for lower, name, limit in reversed(BANDS) if points >= lower)


def change(account_id: str, band: str, limit_minor: int, points: int) -> bytes:
    """What is announced; counted as announced."""
    CHANGES.inc()
    return json.dumps({"account_id": account_id, "limit_minor": limit_minor, "band": band, "score": points}).encode()


def rescored(held: dict[str, Any], account_id: str, topic: str, day: int, amount_minor: int) -> tuple[dict[str, Any], bytes | None]:
    """What is held of an account after an event, and the change to announce, if there is one. Counts the event as taken.

    For libraries that store an account as one value: ``{"band": name, "days": {day: {topic: [count, sum]}}}``, JSON as it is. Days that no
    window reaches any more are let go: the value is written anew with each event.
    """
    days: dict[str, dict[str, list[int]]] = {of: told for of, told in held.get("days", {}).items() if day - int(of) < WINDOW_DAYS}
    today = days.setdefault(str(day), {})
    count, total = today.get(topic, (0, 0))
    today[topic] = [count + 1, total + amount_minor]
    purchases, transfers, repayments = ([told[name] for told in days.values() if name in told] for name in MODELS)
    points = score(sum(count for count, _ in purchases), sum(total for _, total in transfers), sum(count for count, _ in repayments))
    band, limit_minor = band_of(points)
    RECORDS.inc()
    return {"band": band, "days": days}, change(account_id, band, limit_minor, points) if band != held.get("band") else None
