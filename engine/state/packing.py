"""redis-py's connections, that pack commands in C, and take arguments that are packed already: a batch's script has some ten thousand."""

from __future__ import annotations

from typing import Any, NamedTuple

import hiredis
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.connection import UnixDomainSocketConnection


class Arguments(NamedTuple):
    """The last arguments of a command as they are on the wire, and how many strings they are."""

    strings: int
    wire: bytes


class _Quick:
    def pack_command(self, *args: Any) -> list[bytes]:
        """The command on the wire; its name may be several words."""
        name, *plain = args
        last = plain.pop() if plain and isinstance(plain[-1], Arguments) else None
        packed: bytes = hiredis.pack_command((*name.split(), *plain))
        if last is None:
            return [packed]
        count, _, rest = packed.partition(b"\r\n")
        return [b"*%d\r\n" % (int(count[1:]) + last.strings), rest, last.wire]


class QuickConnection(_Quick, Connection):
    """In plain text."""


class QuickTlsConnection(_Quick, SSLConnection):
    """By TLS."""


class QuickSocketConnection(_Quick, UnixDomainSocketConnection):
    """By a socket of this machine."""
