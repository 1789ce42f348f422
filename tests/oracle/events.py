"""What measures watch: an event as its words and numbers, and the conditions on them (docs/policy.md §3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.policy import document as doc
from tests.oracle.records import Posting, Purchase, Repayment
from tests.oracle.time_rules import HOUR_MS, day_of

WORDS = ("category", "channel", "product", "funded_by", "direction", "purpose", "merchant_id", "counterparty_id")


@dataclass(frozen=True)
class Event:
    """One event of one kind. ``at`` is the time that conditions and tiles go by: of a reversal that of the original.

    ``counted`` is the amount that counts where it is not the event's own (round trips).
    """

    kind: str
    at: int
    words: Mapping[str, str]
    numbers: Mapping[str, int]
    reversal: bool = False
    full: bool = False
    counted: int | None = None


Since = Callable[[doc.Condition, Event], int | None]


def event_of(policy: doc.Policy, record: Posting) -> Event:
    """The event a posting is."""
    at = record.occurred_at if record.reverses_at is None else record.reverses_at
    numbers = {"amount_minor": record.amount_minor}
    if isinstance(record, Repayment):
        kind = "repayment"
        numbers["amount_due_minor"] = record.amount_due_minor
        numbers["days_late"] = day_of(policy, at) - day_of(policy, record.due_at)
    else:
        kind = "purchase" if isinstance(record, Purchase) else "transfer"
    words = {name: word for name in WORDS if (word := getattr(record, name, None)) is not None}
    return Event(kind, at, words, numbers, record.reverses_at is not None, record.reverses_full)


def holds(condition: doc.Condition, event: Event, utc_offset_ms: int, since: Since) -> bool:
    """Whether one condition holds; ``utc_offset_ms`` is the measure's, for the local hour; ``since`` tells days_since and hours_since."""
    if condition.field == "local_hour":
        assert condition.from_hour is not None
        assert condition.to_hour is not None
        hour = (event.at + utc_offset_ms) // HOUR_MS % 24
        hours = (condition.to_hour - condition.from_hour) % 24 or 24
        return (hour - condition.from_hour) % 24 < hours
    if condition.is_in is not None:
        return event.words.get(condition.field) in condition.is_in
    if condition.not_in is not None:
        return event.words.get(condition.field) not in condition.not_in
    number = since(condition, event) if condition.of is not None else event.numbers.get(condition.field)
    if number is None:
        return False
    is_enough = condition.at_least is None or number >= condition.at_least
    return is_enough and (condition.at_most is None or number <= condition.at_most)
