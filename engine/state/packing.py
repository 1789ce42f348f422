"""redis-py's connections, that pack commands in C: a batch's script has some ten thousand arguments."""

from __future__ import annotations

from typing import Any

import hiredis
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.connection import UnixDomainSocketConnection


class _Quick:
    def pack_command(self, *args: Any) -> list[bytes]:
        """The command on the wire; its name may be several words."""
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]


class QuickConnection(_Quick, Connection):
    """In plain text."""


class QuickTlsConnection(_Quick, SSLConnection):
    """By TLS."""


class QuickSocketConnection(_Quick, UnixDomainSocketConnection):
    """By a socket of this machine."""
