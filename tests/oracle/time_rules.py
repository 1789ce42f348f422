"""Days, tiles and the two rules that turn a record away by its time (docs/policy.md §1, §3)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from engine.policy import document as doc
from tests.oracle.records import Command, Forget, Profile, Record

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
MINUTE_MS = 60_000
WIDTHS = {"hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS}


def day_of(policy: doc.Policy, at: int) -> int:
    """The policy day of an instant."""
    return (at + policy.utc_offset_minutes * MINUTE_MS) // DAY_MS


def midnight(policy: doc.Policy, day: int) -> int:
    """The instant at which a policy day begins."""
    return day * DAY_MS - policy.utc_offset_minutes * MINUTE_MS


def epoch_ms(text: str) -> int:
    """An RFC 3339 instant in ms."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def remembered(function: Callable[[doc.Feature], int]) -> Callable[[doc.Feature], int]:
    """Ask once of each feature of a document, which never changes: evaluations ask millions of times."""
    known: dict[int, tuple[doc.Feature, int]] = {}  # by identity; the feature is held, so that no other one can have it

    def ask(feature: doc.Feature) -> int:
        if id(feature) not in known:
            known[id(feature)] = feature, function(feature)
        return known[id(feature)][1]

    return ask


@remembered
def window_tiles(feature: doc.Feature) -> int:
    """How many tiles a feature's window has, a trend's counted once; 0 without a window."""
    if isinstance(feature, doc.ActiveMonths | doc.Regularity) and feature.window_months is not None:
        return 30 * feature.window_months
    return _tiles(feature, "window")


def _tiles(feature: doc.Feature, span: str) -> int:
    return sum(getattr(feature, f"{span}_{unit}", None) or 0 for unit in ("hours", "days", "weeks"))


@remembered
def tiles_back(feature: doc.Feature) -> int:
    """How many tiles back from the head a feature looks."""
    if isinstance(feature, doc.Trend):
        return 2 * window_tiles(feature)
    if isinstance(feature, doc.ActiveMonths | doc.Regularity) and feature.window_weeks is not None:
        return 1 + feature.window_weeks  # the week that goes on, and the whole ones before it
    return window_tiles(feature) + _tiles(feature, "before")


def horizon_ms(policy: doc.Policy) -> int:
    """The longest window of the policy and what lies before it, at least 30 days."""
    longest = 30 * DAY_MS
    for feature in policy.features:
        unit = next((unit for unit in WIDTHS if getattr(feature, f"window_{unit}s", None)), "day")
        longest = max(longest, tiles_back(feature) * WIDTHS[unit])
    return longest


def dead_letter(policy: doc.Policy, record: Record) -> Literal["in_the_future", "too_old"] | None:
    """Why a record is turned away by its time, if it is."""
    if record.occurred_at > record.record_time + policy.too_far_ahead_seconds * 1000:
        return "in_the_future"
    if not isinstance(record, Profile | Command | Forget) and record.occurred_at < record.record_time - horizon_ms(policy):
        return "too_old"
    return None
