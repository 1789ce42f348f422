"""A producer of the tests: good purchases, transfers and repayments of one account, and whatever else a test wants to publish."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Producer

from engine.stream.decode.misrouting import partition_of
from tests.e2e.deployment import Deployment

GOOD: Final[dict[str, dict[str, Any]]] = {
    "purchases": {"category": "groceries", "channel": "app", "merchant_id": "m-1", "funded_by": "own"},
    "transfers": {"direction": "in", "counterparty_id": "c-1", "purpose": "salary"},
    "repayments": {"loan_id": "l-1", "due_at": "2026-03-01T12:00:00Z", "amount_due_minor": 100},
}


class Publisher:
    """Publishes records of one account."""

    def __init__(self, deployment: Deployment, account: str) -> None:
        self.partitions = deployment.partitions
        settings = {
            "bootstrap.servers": deployment.kafka.address,
            "partitioner": "murmur2_random",
            "message.max.bytes": 2_000_000,
            "enable.idempotence": True,  # a broker killed between a write and its answer leaves one record all the same
        }
        self._producer = Producer(settings)
        self._serial = 0
        self.account = account
        self.partition = partition_of(account.encode(), deployment.partitions)

    def good(self, topic: str = "purchases", **fields: Any) -> dict[str, Any]:
        """A good record of the account."""
        self._serial += 1
        common = {
            "event_id": f"{self.account}-{self._serial}",
            "account_id": self.account,
            "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "amount_minor": 100,
            "currency": "CNY",
        }
        return common | GOOD[topic] | fields

    def publish(self, topic: str, value: bytes | None, key: bytes | None, partition: int | None = None) -> None:
        """Hand a record over."""
        self._producer.produce(topic, value, key, partition=self.partition if partition is None else partition)

    def publish_good(self) -> None:
        """Hand a good purchase over."""
        self.publish("purchases", json.dumps(self.good()).encode(), self.account.encode())

    def flush(self) -> None:
        """Wait until everything has arrived."""
        assert self._producer.flush(30) == 0
