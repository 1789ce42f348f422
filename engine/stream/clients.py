"""The Kafka clients of a shard's owner, made anew at each takeover."""

from __future__ import annotations

from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from engine.connections import kafka_options
from engine.settings import Kafka
from engine.stream import fetched  # noqa: F401  what every reader gives
from schemas.topics import JOURNAL

CONNECT_DEADLINE_S: Final = 30.0


class Clients(Protocol):
    """Makes clients; it is the only way of a shard to Kafka besides the transport."""

    def producer(self, transactional_id: str) -> AIOKafkaProducer:
        """A transactional producer that was not started yet."""

    def journal_reader(self) -> AIOKafkaConsumer:
        """A consumer of committed records that was not started yet, for any partition of the journal."""

    def uncommitted_reader(self) -> AIOKafkaConsumer:
        """Likewise one of all records, those too that may never be committed."""


class KafkaClients:
    """Clients of a Kafka cluster."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    def producer(self, transactional_id: str) -> AIOKafkaProducer:
        """See ``Clients``."""
        return AIOKafkaProducer(
            **kafka_options(self._kafka),
            client_id=transactional_id,
            transactional_id=transactional_id,
            transaction_timeout_ms=int(self._kafka.transaction_timeout_s * 1000),
            request_timeout_ms=int(self._kafka.commit_deadline_s * 1000),
        )

    def journal_reader(self) -> AIOKafkaConsumer:
        """See ``Clients``."""
        return self._reader("read_committed")

    def uncommitted_reader(self) -> AIOKafkaConsumer:
        """See ``Clients``."""
        return self._reader("read_uncommitted")

    def _reader(self, isolation_level: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **kafka_options(self._kafka),
            isolation_level=isolation_level,
            enable_auto_commit=False,
            auto_offset_reset="none",
            request_timeout_ms=int(CONNECT_DEADLINE_S * 1000),
            max_partition_fetch_bytes=JOURNAL.bytes_max,
            fetch_max_wait_ms=50,
        )
