"""The headers of a Kafka record as the bytes that stand in it: name and value behind their lengths, one header behind the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from engine.core.packed import Bytes
from engine.core.record_batch import varint

MORE: Final = 0x80  # of a byte: others of the integer follow


def header_bytes(headers: Iterable[tuple[str, bytes | None]]) -> bytes:
    """Headers, in order, as bytes."""
    return b"".join(sized(name.encode()) + sized(value) for name, value in headers)


def sized(string: bytes | None) -> bytes:
    """A string behind its length; null behind -1."""
    return length_bytes(-1 if string is None else len(string)) + (string or b"")


def length_bytes(length: int) -> bytes:
    """A length as a variable-length integer in zigzag coding."""
    rest, found = 1 if length < 0 else 2 * length, bytearray()
    while rest >= MORE:
        found.append(rest % MORE + MORE)
        rest //= MORE
    found.append(rest)
    return bytes(found)


def read_headers(data: Bytes, raw: Sequence[int] | bytes, at: int, count: int) -> Iterator[tuple[str, bytes | None]]:
    """The headers at a place, which are known to be whole. Names may be any bytes (``engine.stream.any_headers``)."""
    for _ in range(count):
        length, at = varint(data, at, len(raw))
        name, at = bytes(raw[at : at + length]).decode(errors="backslashreplace"), at + length
        length, at = varint(data, at, len(raw))
        yield name, None if length < 0 else bytes(raw[at : at + length])
        at += max(length, 0)
