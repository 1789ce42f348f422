"""What the contracts share: identifiers, money, times, and the two kinds of models.

Inputs are closed: an unknown field is a mistake of the producer, told to them at once. Outputs are open: a consumer ignores what it does not
know. Money is a whole number of minor units of its ISO 4217 currency (JPY has none, KWD three: never assume two). A time is RFC 3339 with its
offset; a day is a calendar date of the policy's zone, or an instant that is turned into one.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

AMOUNT_MINOR_MAX: Final = 2**53 - 1
VALUE_BYTES_MAX: Final = 131_072
SOURCE_LENGTH_MAX: Final = 500

_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def parse_instant(value: object) -> datetime:
    """An RFC 3339 time with offset, microseconds cut off beyond six digits; a datetime with offset passes. Raises ValueError."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time needs its UTC offset")
        return value
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be an RFC 3339 time with seconds and offset, such as 2026-03-01T08:15:30+08:00")
    seconds, fraction, offset = match.groups()
    moment = datetime.fromisoformat(f"{seconds}.{(fraction or '0')[:6].ljust(6, '0')}{offset}")
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie in the years 1 to 9999 of UTC") from None
    return moment


def format_instant(at_ms: int) -> str:
    """Milliseconds since 1970 as an RFC 3339 time in UTC, whole seconds; parts of a second are cut off."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_day(value: object) -> date:
    """A calendar date, or an instant (returned as it is). Raises ValueError."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        return date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return parse_instant(value)
    except ValueError:
        raise ValueError("must be a date such as 2026-03-01, or an RFC 3339 time with offset") from None


Instant = Annotated[datetime, BeforeValidator(parse_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
Day = Annotated[
    date | datetime,
    BeforeValidator(parse_day),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}),
]
Identifier = Annotated[str, Field(min_length=1, max_length=64)]
Word = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Minor = Annotated[int, Field(ge=0, le=AMOUNT_MINOR_MAX)]
Signed = Annotated[int, Field(ge=-AMOUNT_MINOR_MAX, le=AMOUNT_MINOR_MAX)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Jurisdiction = Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
PolicyHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Input(BaseModel):
    """Base of what producers send: closed, frozen, and strict (``"1"`` is not 1, 1.0 is not 1)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Output(BaseModel):
    """Base of what the engine sends: readers ignore fields that they don't know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Reversal(Input):
    """Which record is (partly) taken back. ``full`` also takes back its count."""

    event_id: Identifier
    occurred_at: Instant
    full: bool


class Event(Input):
    """What repayments, purchases and transfers have in common; ``occurred_at`` is the posting time at the source.

    A record with ``reverses`` repeats the original's fields, with the amount that is taken back.
    """

    event_id: Identifier
    account_id: Identifier
    occurred_at: Instant
    amount_minor: Minor
    currency: Currency
    product: Word | None = None
    reverses: Reversal | None = None


def one_schema(model: Any) -> dict[str, Any]:
    """The JSON Schema of a model, or of a union of models."""
    from pydantic import TypeAdapter

    return TypeAdapter(model).json_schema(mode="validation")
