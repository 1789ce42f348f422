"""CloudEvents around a record: what its headers, or its structured envelope, say about it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from engine.stream.records import Headers
from schemas import cloudevents as ce
from schemas.common import SOURCE_LENGTH_MAX


@dataclass(frozen=True, slots=True)
class Envelope:
    """The CloudEvents id and source of a record, empty and None for bare JSON; ``structured`` if the value is the envelope itself."""

    id: bytes = b""
    source: str | None = None
    structured: bool = False


BARE = Envelope()


def envelope_of(headers: Headers) -> Envelope:
    """Read a record's headers; one without a value says nothing. Raises ValueError for a source that is not UTF-8 or too long."""
    if not headers:
        return BARE
    found = {name.lower(): value for name, value in headers if value is not None}
    if found.get(ce.CONTENT_TYPE, b"").startswith(ce.STRUCTURED.encode()):
        return Envelope(structured=True)
    source = found.get(ce.SOURCE)
    if source is not None and len(source) > SOURCE_LENGTH_MAX:
        raise ValueError(f"{ce.SOURCE} has more than {SOURCE_LENGTH_MAX} bytes")
    return Envelope(found.get(ce.ID, b""), None if source is None else source.decode())


def structured_problem(error: ValidationError) -> str:
    """What is wrong with a structured envelope, in a sentence."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"CloudEvents {'.'.join(map(str, first['loc'])) or 'envelope'}: {first['msg']}"
