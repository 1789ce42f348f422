"""A producer that is dropped leaves nothing behind, whatever it was doing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from aiokafka.client import AIOKafkaClient

from engine.local.kafka import KafkaBroker
from engine.settings import Kafka
from engine.state.outputs import Fact, Facts, Names, Output, Outputs
from engine.stream import topics
from engine.stream.clients import KafkaClients
from engine.stream.producer import CommitInDoubtError, FencedError, ShardProducer
from schemas.topics import CHANGES, DEAD_LETTERS

pytestmark = pytest.mark.real
CHANGED = Outputs.of([Output(CHANGES.name, b"account", b"change", ())])
OUTPUTS = replace(CHANGED, facts=Facts(np.zeros((len(Fact), 1), np.int64), Names(["individual"], {}, np.array([1]))))
LETTERS = Outputs.of([Output(DEAD_LETTERS.name, b"", b"letter", (("a", b"1"),))])
TURNS = 20  # of the loop; a task that is cancelled needs one or two


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker of its own, since it is frozen; with the topics."""
    found = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    found.start()
    admin = topics.connect(found.settings)
    topics.create(admin, 1, 1, {})
    admin.close()
    yield found
    found.stop()


async def started(broker: KafkaBroker) -> ShardProducer:
    """A producer that has committed once."""
    kafka = Kafka(bootstrap=broker.address, commit_deadline_s=10)
    producer = ShardProducer(KafkaClients(kafka).producer("limits-0"), 0, kafka.commit_deadline_s)
    await producer.start()
    await producer.commit(b"journal", OUTPUTS, LETTERS)
    return producer


async def is_nothing_left() -> bool:
    """Whether all that runs ends within a few turns of the loop, which takes no time."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
    return asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("request_", ["AddPartitionsToTxnRequest", "ProduceRequest", "EndTxnRequest"])
async def test_dropped_while_kafka_does_not_answer(broker: KafkaBroker, request_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    producer, send, is_sent = await started(broker), AIOKafkaClient.send, asyncio.Event()

    def frozen_first(self: AIOKafkaClient, node_id: int, request: object, **more: object) -> object:
        if type(request).__name__ == request_:
            broker.pause()
            is_sent.set()
        return send(self, node_id, request, **more)

    monkeypatch.setattr(AIOKafkaClient, "send", frozen_first)
    committing = asyncio.create_task(producer.commit(b"journal", OUTPUTS))
    try:
        await is_sent.wait()
        await asyncio.sleep(0)  # the request leaves
        producer.drop()
        committing.cancel()
        assert await is_nothing_left()
    finally:
        broker.resume()


async def test_dropped_in_doubt(broker: KafkaBroker) -> None:
    """Kafka went away, and the deadline has passed; so there is a request that waits for its next attempt."""
    producer = await started(broker)
    producer._deadline_s = 1.0
    broker.kill()
    try:
        with pytest.raises(CommitInDoubtError):
            await producer.commit(b"journal", OUTPUTS)
        producer.drop()
        assert await is_nothing_left()
    finally:
        broker.start()


async def test_without_an_answer_in_time_another_owner_may_work(broker: KafkaBroker) -> None:
    producer = await started(broker)
    producer._deadline_s = 1.0
    broker.pause()
    try:
        with pytest.raises(FencedError, match="Kafka has not answered for 1 s: another owner may work"):
            await producer.commit(b"journal", OUTPUTS)
        producer.drop()
        assert await is_nothing_left()
    finally:
        broker.resume()
