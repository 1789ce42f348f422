"""The pair of local servers that ``limit-engine local`` starts, finds again and stops.

What runs is written to ``services.json`` in the data directory: pid, start time and port of each server. A pid alone is not trusted; it may
belong to a stranger by now.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.local.jars import locked
from engine.local.kafka import KafkaBroker
from engine.local.paths import default_data_dir
from engine.local.process import ServerProcess
from engine.local.redis_server import RedisServer
from engine.local.server import Server


class LocalServices:
    """Kafka and Redis in one data directory."""

    def __init__(self, data_dir: Path | None) -> None:
        self._dir = (data_dir or default_data_dir()).absolute()
        self._file = self._dir / "services.json"

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Only one program starts or stops the servers of a directory at a time."""
        with locked(self._dir / "services.lock"):
            yield

    def up(self, kafka_port: int, redis_port: int) -> None:
        """Start what does not run. Raises EngineError; then nothing that this call started is left running."""
        recorded = self._recorded()
        kafka = KafkaBroker(self._dir / "kafka", kafka_port or recorded.get("kafka", {}).get("port", 0))
        redis = RedisServer(self._dir / "redis", redis_port or recorded.get("redis", {}).get("port", 0))
        servers: tuple[Server, ...] = (redis, kafka)
        started: list[Server] = []
        try:
            for server in servers:
                if self._process(recorded.get(server.name)) is None:
                    started.append(server)
                    server.launch(bound=False)
            for server in started:
                server.await_ready()
        except BaseException:
            for server in started:
                server.stop()
            raise
        for server in started:
            assert server.process is not None
            recorded[server.name] = {"pid": server.process.pid, "started": server.process.started, "port": server.port}
        self._dir.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(recorded))

    def down(self, *, delete: bool) -> list[str]:
        """Stop what runs; its names."""
        stopped = []
        for name, entry in self._recorded().items():
            process = self._process(entry)
            if process is not None:
                process.stop(Server.stop_grace_s)
                stopped.append(name)
        if delete:
            for name in ("kafka", "redis"):
                shutil.rmtree(self._dir / name, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                self._file.unlink()
        return sorted(stopped)

    def status(self) -> dict[str, Any]:
        """By name: whether it runs, its address, pid and log."""
        recorded = self._recorded()
        found = {}
        for name in ("kafka", "redis"):
            entry = recorded.get(name)
            process = self._process(entry)
            found[name] = {
                "running": process is not None,
                "address": f"127.0.0.1:{entry['port']}" if entry else None,
                "pid": process.pid if process else None,
                "log": str(self._dir / name / f"{name}.log"),
            }
        return found

    def _recorded(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise EngineError(f"{self._file} is damaged: {error}", where="local", cure="delete it, and end the servers by hand") from error

    @staticmethod
    def _process(entry: dict[str, Any] | None) -> ServerProcess | None:
        return ServerProcess.find(entry["pid"], entry["started"]) if entry else None
