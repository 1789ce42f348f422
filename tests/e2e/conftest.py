"""Deployments of their own for the tests that kill, stop and roll back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.local.kafka import KafkaBroker
from engine.local.redis_server import RedisServer
from engine.stream.warm_up import warm_up
from tests.e2e.deployment import Deployment


class Unverifying(KafkaBroker):
    """Takes what is written in a transaction whose coordinator does not know of the partition: so it never learns of the end."""

    def _more_settings(self, settings: dict[str, str]) -> dict[str, str]:
        return {"transaction.partition.verification.enable": "false"}


@pytest.fixture(scope="session", autouse=True)
def _kernel_is_compiled() -> None:
    """No test waits for a worker that compiles for a minute or two."""
    warm_up()


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A Kafka and a Redis of the test's own, with the topics in 4 partitions and nothing in them. The last words of the workers are printed."""
    yield from deployed(tmp_path, 4)


def deployed(
    directory: Path, partitions: int, *, with_topics: bool = True, broker: type[KafkaBroker] = KafkaBroker
) -> Iterator[Deployment]:
    """Start, give, end."""
    kafka, redis = broker(directory / "kafka"), RedisServer(directory / "redis")
    found = Deployment(kafka, redis, directory, partitions)
    try:
        redis.start()
        kafka.start()
        if with_topics:
            found.create_topics()
        yield found
    finally:
        found.stop()
        kafka.stop()
        redis.stop()
        for number in range(len(found.workers)):
            print(f"worker {number}: ...{found.log_of(number)[-3000:]}")
