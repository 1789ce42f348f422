"""What the local servers have in common: a directory, a port, a process, a log, and the wait until they answer."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from engine.errors import EngineError
from engine.local.ports import LOOPBACK, choose_port
from engine.local.process import ServerProcess

_READY_WITHIN_S = 90.0  # a cold JVM on a busy machine; one that fails to start ends, and is noticed at once
_ASK_EVERY_S = 0.05
_LOG_LINES = 15


class Server(ABC):
    """One server on loopback whose data lives in ``data_dir``. ``port`` 0 takes a free one at the first start and keeps it."""

    name: ClassVar[str]
    port_option: ClassVar[str]
    stop_grace_s: ClassVar[float] = 15.0

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self.log = self.data_dir / f"{self.name}.log"
        self.process: ServerProcess | None = None
        self._log_from = 0

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{LOOPBACK}:{self.port}"

    def start(self, *, bound: bool = True) -> None:
        """Start it and wait until it answers. A bound server ends with this program, whatever ends that."""
        self.launch(bound=bound)
        self.await_ready()

    def launch(self, *, bound: bool) -> None:
        """Start the process without waiting for its answer. Raises ``EngineError`` if the port is taken or something is missing."""
        self.port = choose_port(self.port, service=self.name, option=self.port_option)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._prepare()
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        self.process = ServerProcess.spawn(self._command(), log=self.log, directory=self.data_dir, bound=bound)

    def await_ready(self) -> None:
        """Wait until the launched server answers; one that ends or stays silent is ended and raises ``EngineError`` with its log."""
        process = self._launched()
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._answers():
            if process.ends_within(_ASK_EVERY_S):
                raise self._failure("ended while starting")
            if time.monotonic() > deadline:
                process.kill()
                raise self._failure(f"did not answer within {_READY_WITHIN_S:.0f} s")

    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.is_running()

    def stop(self) -> None:
        """End it in good order; nothing if it does not run."""
        if self.process is not None:
            self.process.stop(self.stop_grace_s)

    def kill(self) -> None:
        """End it as a crash would; ``start`` begins again with what its disk holds."""
        if self.process is not None:
            self.process.kill()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers, until ``resume``."""
        self._launched().pause()

    def resume(self) -> None:
        """Let a paused server go on."""
        self._launched().resume()

    def _launched(self) -> ServerProcess:
        if self.process is None:
            raise RuntimeError(f"{self.name} was not launched")
        return self.process

    def _failure(self, what: str) -> EngineError:
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            lines = log.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
        tail = "".join(f"\n    {line}" for line in lines) or " (nothing)"
        return EngineError(f"{what}; the end of its log:{tail}", where=self.name, cure=f"the whole log is {self.log}")

    @abstractmethod
    def _prepare(self) -> None:
        """Lay out the data directory and find the program."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The command line; called after ``_prepare``."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server serves its clients now; must return within a few seconds."""
