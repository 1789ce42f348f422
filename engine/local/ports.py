"""Loopback ports: choose a free one, or say that the wanted one is taken."""

from __future__ import annotations

import random
import socket

from engine.errors import EngineError

LOOPBACK = "127.0.0.1"

# Below the range from which operating systems take the ports of outgoing connections: between the moment that a port is found free and
# the moment that a server listens on it (seconds, for a JVM) no client's connection can slip onto it.
_FREE_FROM, _FREE_TO = 20_000, 32_000
_ATTEMPTS = 200


def choose_port(wanted: int, *, service: str, option: str) -> int:
    """``wanted`` if nothing listens there, or any free port for 0. Raises ``EngineError`` naming the port that is taken."""
    if wanted:
        if not _is_free(wanted):
            raise EngineError(
                f"port {wanted} is taken",
                where=service,
                cure=f"stop what listens on {LOOPBACK}:{wanted}, or choose another with {option} (0 = any free one)",
            )
        return wanted
    for _ in range(_ATTEMPTS):
        port = random.SystemRandom().randrange(_FREE_FROM, _FREE_TO)
        if _is_free(port):
            return port
    raise EngineError(f"no free port between {_FREE_FROM} and {_FREE_TO}", where=service, cure=f"name one with {option}")


def accepts(port: int) -> bool:
    """Whether something accepts connections on the loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections that are still closing don't make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
