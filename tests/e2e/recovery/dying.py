"""A command of ``limit-engine`` that dies at a certain step, by SIGKILL, at the n-th time that it comes to it; its first transaction may have no
end in the journal of every second shard, or of all. The beginnings of one transaction are a second apart at most.

``python -m tests.e2e.recovery.dying POINT N WORDS...``; the product knows nothing of it. It does not come to a time 0.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.sender import Sender

from engine.cli.main import app
from engine.state.redis_store import RedisStore
from engine.stream import move
from schemas.topics import DEAD_LETTERS
from tests.chaos.failpoints import Die, after, at_pass, before, end_sent

LOSING: Final = {
    "lost, ": lambda shard: shard % 2 == 1,
    "all lost, ": lambda _: True,
}  # what a point begins with, and the shards whose end is lost


def lose_ends(is_lost: Callable[[int], bool]) -> None:
    """The coordinator is not told of these partitions that the first transaction has sent something to."""
    inner = Sender._do_add_partitions_to_txn
    first: list[Any] = []

    async def add(self: Any, partitions: Any) -> Any:
        first[:] = first or [self]
        if self is first[0]:
            for partition in [partition for partition in partitions if is_lost(partition.partition)]:
                self._txn_manager.partition_added(partition)
            if not partitions:  # a transaction needs one
                partitions.add(TopicPartition(DEAD_LETTERS.name, 0))
        return await inner(self, partitions)

    Sender._do_add_partitions_to_txn = add


def when_sent(die: Die) -> None:
    """Die when Kafka has a record of a part."""
    inner = move.Sending.send

    async def send(self: move.Sending, shard: int, record: bytes) -> None:
        await inner(self, shard, record)
        await self.all_taken()
        die()

    move.Sending.send = send  # type: ignore[method-assign]


POINTS: Final[dict[str, Callable[[Die], None]]] = {
    "emptied": after(RedisStore, "empty"),
    "applied": after(RedisStore, "apply"),
    "before EndTxn": before(AIOKafkaProducer, "commit_transaction"),
    "EndTxn sent": end_sent,
    "after EndTxn": after(AIOKafkaProducer, "commit_transaction"),
    "aborted": after(move, "_abort"),
    "sent": when_sent,
}

if __name__ == "__main__":
    point, n, *words = sys.argv[1:]
    move.WRITTEN_WITHIN_MS = 1_000  # type: ignore[misc]
    for losing, is_lost in LOSING.items():
        if point.startswith(losing):
            lose_ends(is_lost)
            point = point.removeprefix(losing)
    POINTS[point](at_pass(int(n)))
    app(words)
