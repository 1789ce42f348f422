"""What is told, as JSON in prepared parts: what depends on a policy alone is encoded once.

Theory of operation. Of the bytes of an output nearly all are known when the policy is: keys, names, texts, bounds of bins. Each of them is a
*fragment*, a part of JSON as it will stand in the value. Between them go the decision's numbers: in a form (``engine.policy.forms``), or, in
advice, by Python. A value made so has the very bytes that ``to_json`` gives for the whole of it as plain data: no spaces, keys in
the order of the contract, text in UTF-8.

Fragments of names and codes are ``str`` (a policy's names are ASCII), those with texts for customers are ``bytes``: so nothing that is long is
encoded again. What is remembered between decisions (``REMEMBERED`` of a kind at most) is what is computed from them alone, so a value does not
depend on what was rendered before it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from pydantic_core import to_json

from engine.core.layout import MISSING
from engine.policy.units import date_of

REMEMBERED: Final = 4_096
NULL: Final = "null"
BOOLEANS: Final = ("false", "true")
MINUTES: Final = 24 * 60


def encoded(plain: Any) -> bytes:
    """The JSON of plain data."""
    return to_json(plain)


def quoted(text: str | None) -> str:
    """The JSON of a name or code, null for None."""
    return to_json(text).decode()


@lru_cache(REMEMBERED)
def _minute(minute: int) -> str:
    day, of_day = divmod(minute, MINUTES)
    return f"{date_of(day)}T{of_day // 60:02}:{of_day % 60:02}"


def instant(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    minute, ms = divmod(at_ms, 60_000)
    return f"{_minute(minute)}:{ms // 1_000:02}.{ms % 1_000:03}Z"


def moment(at_ms: int) -> str:
    """The JSON of an instant, null for MISSING."""
    return NULL if at_ms == MISSING else f'"{instant(at_ms)}"'
