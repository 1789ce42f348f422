"""What stops a shard, this one alone: states in which going on would contradict what was announced, and that no waiting mends.

Each says what is wrong and what to do. A stopped shard announces nothing and takes nothing until its worker is started again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.errors import EngineError
from engine.state import keys
from engine.state.redis_store import EVICTION_CURE
from engine.stream.fetched import DamagedBatchError
from engine.stream.records import Delivery
from engine.stream.topics import Identity
from schemas.topics import INPUTS, JOURNAL

BELONG_TOGETHER: Final = (
    "restore topics and a Redis that belong together, or make the state anew (`limit-engine rebuild`), or begin anew, with a new "
    "journal, new outputs' topics and an empty Redis"
)
FINISH: Final = "stop the workers, run that again (it goes on where it was), then start them"
NEWER_ENGINE: Final = "run a newer engine"
RESHARD: Final = "stop every worker and run `limit-engine reshard` (again): by it alone partitions are added"


class ShardStoppedError(EngineError):
    """This shard cannot go on, and waiting will not mend it."""


def refuse_to_apply(where: str, fields: Mapping[str, bytes], topic_ids: Mapping[str, str], cure: str = BELONG_TOGETHER) -> None:
    """Look at what a shard hash tells before anything of the journal is applied to it; ``cure`` is what to do with the state of another journal.
    Raises ShardStoppedError."""
    _check_ids(where, fields, {name: own_id for name, own_id in topic_ids.items() if name == JOURNAL.name}, cure)
    state_format = int(fields.get(keys.FORMAT, str(keys.STATE_FORMAT)))
    if state_format > keys.STATE_FORMAT:
        raise ShardStoppedError(
            f"its state has format {state_format}, this engine reads {keys.STATE_FORMAT}", where=where, cure=NEWER_ENGINE
        )


def refuse(where: str, fields: Mapping[str, bytes], partitions: int, topic_ids: Mapping[str, str]) -> None:
    """Look at what a shard hash tells at the journal's end, before the shard goes on from it. Raises ShardStoppedError."""
    command = fields.get(keys.UNFINISHED)
    if command:
        raise unfinished(where, command)
    _check_ids(where, fields, topic_ids, BELONG_TOGETHER)
    held = int(fields.get(keys.PARTITIONS, str(partitions)))
    if held != partitions:
        raise ShardStoppedError(f"its state was made with {held} partitions, the topics have {partitions}", where=where, cure=RESHARD)


def unfinished(where: str, command: bytes) -> ShardStoppedError:
    """A command that makes states anew was broken off."""
    return ShardStoppedError(f"`{command.decode()}` is not done with it", where=where, cure=FINISH)


def _check_ids(where: str, fields: Mapping[str, bytes], topic_ids: Mapping[str, str], cure: str) -> None:
    for topic, own_id in topic_ids.items():
        if fields.get(keys.topic_id(topic), own_id.encode()) != own_id.encode():
            raise ShardStoppedError(f"{topic} is another topic than the one its state was made from", where=where, cure=cure)


def may_evict(where: str, problem: str) -> ShardStoppedError:
    """A store that may lose accounts."""
    return ShardStoppedError(problem, where=where, cure=EVICTION_CURE)


def changed(before: Identity, now: Identity) -> EngineError | None:
    """That topics are not those that the worker was started on; None if they are."""
    for name, own_id in before.ids.items():
        if name not in now.ids:
            return EngineError(f"{name} is not there any more, or not for this worker's user to see", where="topics", cure=BELONG_TOGETHER)
        if now.ids[name] != own_id:
            what = f"{name} was deleted and made anew while the worker was running"
            return EngineError(what, where="topics", cure=BELONG_TOGETHER)
        if now.partitions[name] != before.partitions[name]:
            what = f"{name} had {before.partitions[name]} partitions when the worker was started, and now has {now.partitions[name]}"
            return EngineError(what, where="topics", cure=RESHARD)
    return None


def damaged(where: str, damage: DamagedBatchError) -> ShardStoppedError:
    """Kafka gives other bytes than were written."""
    return ShardStoppedError(damage.what, where=where, cure=damage.cure)


def position_gone(where: str, delivery: Delivery) -> ShardStoppedError:
    """A topic does not have the records that come next: deleted before they were read, never written, or damaged."""
    if delivery.damage is not None:
        return damaged(where, delivery.damage)
    topic = INPUTS[delivery.chunk.topic].name
    what = f"{topic} does not have offset {delivery.first}, from which to continue (any more)"
    return ShardStoppedError(what, where=where, cure=BELONG_TOGETHER)
