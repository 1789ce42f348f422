"""What a client asks of its server, read off the bytes that pass: enough to cut the answer to a certain request."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol

from engine.state.redis_store import APPLY, LOAD, SLICE

KAFKA: Final = {0: "Produce", 1: "Fetch", 11: "JoinGroup", 12: "Heartbeat", 22: "InitProducerId", 24: "AddPartitionsToTxn", 26: "EndTxn"}
REDIS: Final = {APPLY.digest.encode(): "apply", LOAD.digest.encode(): "load", SLICE.digest.encode(): "slice"}
_HEAD: Final = struct.Struct(">ih")  # a request's size without itself, and what it asks for
_WORDS: Final = 64  # a script's digest is among the first bytes of its command


class Requests(Protocol):
    """Follows one connection."""

    def names(self, data: bytes) -> Iterator[str]:
        """The requests that begin in the next bytes from the client."""


class KafkaRequests:
    """Of a connection to a broker."""

    def __init__(self) -> None:
        self._rest = 0  # bytes of a request that are still to come
        self._head = b""

    def names(self, data: bytes) -> Iterator[str]:
        """See ``Requests``."""
        data = self._head + data
        at = self._rest
        while at + _HEAD.size <= len(data):
            size, key = _HEAD.unpack_from(data, at)
            yield KAFKA.get(key, "")
            at += 4 + size
        self._head = data[at:]
        self._rest = max(0, at - len(data))


class RedisRequests:
    """Of a connection to Redis, on which a command waits for the answer of the one before it."""

    def names(self, data: bytes) -> Iterator[str]:
        """See ``Requests``."""
        begin = data[:_WORDS]
        yield from (name for digest, name in REDIS.items() if digest in begin)
