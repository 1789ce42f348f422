"""What stops a shard, this one alone: states in which going on would contradict what was announced, and that no waiting mends.

Each says what is wrong and what to do. A stopped shard announces nothing and takes nothing until its worker is started again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.errors import EngineError
from engine.state import keys
from engine.state.redis_store import EVICTION_CURE
from engine.stream.records import Delivery
from schemas.topics import INPUTS

BELONG_TOGETHER: Final = "restore topics and a Redis that belong together, or begin anew, with new topics and an empty Redis"
FINISH: Final = "stop the workers, run that again (it goes on where it was), then start them"
NEWER_ENGINE: Final = "run a newer engine"


class ShardStoppedError(EngineError):
    """This shard cannot go on, and waiting will not mend it."""


def refuse(where: str, fields: Mapping[str, bytes], partitions: int, topic_ids: Mapping[str, str], store_problem: str | None) -> None:
    """Look at what a shard hash tells before the shard goes on from it. Raises ShardStoppedError."""
    if store_problem is not None:
        raise ShardStoppedError(store_problem, where=where, cure=EVICTION_CURE)
    unfinished = fields.get(keys.UNFINISHED)
    if unfinished:
        raise ShardStoppedError(f"`{unfinished.decode()}` is not done with it", where=where, cure=FINISH)
    for topic, own_id in topic_ids.items():
        if fields.get(keys.topic_id(topic), own_id.encode()) != own_id.encode():
            raise ShardStoppedError(f"{topic} is another topic than the one its state was made from", where=where, cure=BELONG_TOGETHER)
    held = int(fields.get(keys.PARTITIONS, str(partitions)))
    if held != partitions:
        raise ShardStoppedError(
            f"its state was made with {held} partitions, the topics have {partitions}",
            where=where,
            cure="stop every worker and run `limit-engine reshard` (again), or " + BELONG_TOGETHER,
        )
    state_format = int(fields.get(keys.FORMAT, str(keys.STATE_FORMAT)))
    if state_format > keys.STATE_FORMAT:
        raise ShardStoppedError(
            f"its state has format {state_format}, this engine reads {keys.STATE_FORMAT}", where=where, cure=NEWER_ENGINE
        )


def position_gone(where: str, delivery: Delivery) -> ShardStoppedError:
    """A topic does not have the records that come next: deleted before they were read, or never written."""
    topic = INPUTS[delivery.chunk.topic].name
    what = f"{topic} does not have offset {delivery.first}, from which to continue (any more)"
    return ShardStoppedError(what, where=where, cure=BELONG_TOGETHER)
