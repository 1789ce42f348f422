"""A local broker with a listener for each worker, whose clients are told to come through that worker's proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from engine.local.kafka import KafkaBroker
from engine.local.ports import LOOPBACK, choose_port

SESSION_MS_MIN: Final = 500


def free_port(service: str) -> int:
    """Any free port."""
    return choose_port(0, service=service, option="port")


class ListeningBroker(KafkaBroker):
    """A broker that also listens on ``inner[n]`` for worker n, and says that there it is to be found on ``outer[n]``. Its ``address`` is its own,
    for whoever is to meet no fault."""

    def __init__(self, data_dir: Path, workers: int) -> None:
        super().__init__(data_dir)
        self.inner = [free_port(self.name) for _ in range(workers)]
        self.outer = [free_port(self.name) for _ in range(workers)]

    def _prepare(self) -> None:
        super()._prepare()
        names = [f"WORKER{n}" for n in range(len(self.inner))]
        more = {
            "listeners": [f"{name}://{LOOPBACK}:{port}" for name, port in zip(names, self.inner, strict=True)],
            "advertised.listeners": [f"{name}://{LOOPBACK}:{port}" for name, port in zip(names, self.outer, strict=True)],
            "listener.security.protocol.map": [f"{name}:PLAINTEXT" for name in names],
        }
        settings = [f"group.min.session.timeout.ms={SESSION_MS_MIN}", "num.network.threads=1"]
        for line in self._settings_file.read_text().splitlines():
            key, _, value = line.partition("=")
            settings.append(f"{key}={','.join([value, *more.get(key, [])])}")
        self._settings_file.write_text("\n".join(settings) + "\n")
