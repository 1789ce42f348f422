"""Shows that Kafka may lose the end of a transaction when its broker dies: ``python -m tests.chaos.markers --rounds N``.

Some transactional producers of their own commit one record after the other; behind one of the commits the broker is killed, and comes back. Then
each producer is fenced, so no transaction is under way, and every partition should be readable to its end. Where one is not, the markers of its
last transaction were never written. Nothing of the engine is in it. Measured with Kafka 4.4 on two cores with three of these
at a time: in 6 of 34 rounds; the slower the broker is to come back, the more often.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from engine.local.kafka import KafkaBroker

TOPIC: Final = "log"
PRODUCERS: Final = 12
COMMITS: Final = 20  # of each producer at least, before the broker is killed
PARTITIONS: Final = [TopicPartition(TOPIC, number) for number in range(PRODUCERS)]


def producer(broker: KafkaBroker, number: int) -> AIOKafkaProducer:
    """The one that writes to the partition of this number."""
    return AIOKafkaProducer(bootstrap_servers=broker.address, transactional_id=f"writer-{number}", request_timeout_ms=10_000)


async def commit_until_killed(broker: KafkaBroker, number: int, commits: list[int], is_killed: asyncio.Event) -> None:
    """Commit one record after the other; the first that finds that all have committed enough kills the broker behind its own commit."""
    writer = producer(broker, number)
    await writer.start()
    try:
        while not is_killed.is_set():
            await writer.begin_transaction()
            await writer.send_and_wait(TOPIC, b"record", partition=number)
            await writer.commit_transaction()
            commits[number] += 1
            if min(commits) >= COMMITS and not is_killed.is_set():
                broker.kill()
                is_killed.set()
    finally:  # without waiting for anything that a dead broker would have to answer
        writer._closed = True
        writer._sender._sender_task.cancel()
        for connection in list(writer.client._conns.values()):
            connection.close()


async def ends(broker: KafkaBroker, isolation_level: str) -> dict[TopicPartition, int]:
    """Where the partitions end for a reader."""
    async with AIOKafkaConsumer(bootstrap_servers=broker.address, isolation_level=isolation_level) as consumer:
        found: dict[TopicPartition, int] = await consumer.end_offsets(PARTITIONS)
        return found


async def one_round(broker: KafkaBroker) -> list[int]:
    """The partitions that have no end after a kill."""
    commits, is_killed = [0] * PRODUCERS, asyncio.Event()
    writing = [asyncio.create_task(commit_until_killed(broker, number, commits, is_killed)) for number in range(PRODUCERS)]
    await is_killed.wait()
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    await asyncio.to_thread(broker.start)
    for number in range(PRODUCERS):  # fences, and waits until what was under way is over
        async with producer(broker, number):
            pass
    stable, last = await ends(broker, "read_committed"), await ends(broker, "read_uncommitted")
    return [partition.partition for partition in PARTITIONS if stable[partition] < last[partition]]


async def run(rounds: int) -> None:
    """Count, and tell each round."""
    with tempfile.TemporaryDirectory() as directory:
        broker = KafkaBroker(Path(directory))
        broker.start()
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
        await admin.start()
        await admin.create_topics([NewTopic(TOPIC, PRODUCERS, 1)])
        await admin.close()
        bad = 0
        for number in range(1, rounds + 1):
            found = await one_round(broker)
            bad += bool(found)
            print(f"round {number}: {found or 'every partition has its end'}; {bad} bad", flush=True)
        broker.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="markers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    asyncio.run(run(parser.parse_args().rounds))
