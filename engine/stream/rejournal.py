"""The journal made anew from Redis, where its topic was lost and Redis was not.

Theory of operation. What Redis holds is all that the journal said, if nothing was announced that it does not count. So every shard's fields and
accounts are written as they are to the new journal, in one Kafka transaction (``engine.stream.move``), behind a beginning; then the journal is
the truth again, and Redis follows it. Killed before the commit nothing has happened; killed after it all is done, whoever applies it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka import TopicPartition

from engine.core.layout import MISSING
from engine.errors import EngineError
from engine.settings import Settings
from engine.state import keys
from engine.state.record import JournalRecord
from engine.state.redis_store import RedisStore
from engine.stream.clients import CONNECT_DEADLINE_S, Clients
from engine.stream.journal import bounds, messages, newest_output, started
from engine.stream.move import Move, Told, settle
from engine.stream.rebuild import OF_INPUTS, Rebuild, Rebuilt
from engine.stream.reshard import Layout
from engine.stream.topics import Identity
from schemas.topics import JOURNAL

IMPLIED: Final = (keys.FORMAT, keys.SEQUENCE, keys.JOURNAL_OFFSET, keys.TICK_MS, keys.ENGINE)  # every record brings them


class AsItIs(Layout):
    """The shards that there are, as they are, in the journal of these topics."""

    def __init__(self, application: str, shards: Sequence[Mapping[str, bytes]], topics: Identity) -> None:
        super().__init__(application, shards, len(shards))
        self._journal_id = topics.ids[JOURNAL.name]

    def first(self, shard: int) -> JournalRecord:
        """See ``Layout``."""
        told = {name: value for name, value in self._held(shard).items() if name not in IMPLIED}
        return self._begun(shard, told | {keys.BEGINNING: keys.FROM_REDIS, keys.topic_id(JOURNAL.name): self._journal_id.encode()})

    def _tick_of(self, shard: int) -> int:
        return int(self._held(shard).get(keys.TICK_MS, str(MISSING)))


async def rejournal(settings: Settings, topics: Identity, stores: Sequence[RedisStore], clients: Clients, told: Told) -> list[Rebuilt]:
    """Write all shards to the new journal, and let Redis follow. Raises EngineError, KafkaError, TimeoutError, OSError."""
    works = [Rebuild(settings, shard, topics, store, clients, lambda _behind, _total: None) for shard, store in enumerate(stores)]
    shards = [await store.shard_fields() for store in stores]
    await settle(settings, clients, len(stores))
    for shard, fields in enumerate(shards):
        _check(shard, fields, len(stores))
        await works[shard].fence()
    if not await _is_written(clients, shards, topics):
        for shard, fields in enumerate(shards):
            await _check_announced(shard, fields, clients)
        await Move(settings, AsItIs(settings.application, shards, topics), stores, shards).write(clients, told)
    done = []
    for shard, work in enumerate(works):
        done.append(Rebuilt(shard, records=await work.catch_up_anew()))
        told(shard + 1, len(stores))
    return done


async def _is_written(clients: Clients, shards: Sequence[Mapping[str, bytes]], topics: Identity) -> bool:
    """Whether a run before has written the journal: all of it or nothing. Then some shards may be made from it already. Raises EngineError if
    somebody else has, or the journal was never lost."""
    partition = TopicPartition(JOURNAL.name, 0)
    async with started(clients.journal_reader(), CONNECT_DEADLINE_S) as consumer:
        consumer.assign([partition])
        begins, end = await bounds(consumer, partition, CONNECT_DEADLINE_S)
        async for message in messages(consumer, partition, begins, end, CONNECT_DEADLINE_S):
            fields = dict(JournalRecord.decode(message.value).fields)
            if fields.get(keys.BEGINNING) == keys.FROM_REDIS:
                return True
            _check_lost(shards, topics)
            raise EngineError("the new journal has records already", where="shard 0", cure="make the topic anew, then run this again")
    _check_lost(shards, topics)
    return False


def _check_lost(shards: Sequence[Mapping[str, bytes]], topics: Identity) -> None:
    """That no shard was made from the journal that is there. Raises EngineError."""
    for shard, fields in enumerate(shards):
        if fields.get(keys.topic_id(JOURNAL.name)) == topics.ids[JOURNAL.name].encode():
            what = f"{JOURNAL.name} is the one that Redis was made from"
            raise EngineError(what, where=f"shard {shard}", cure="start the workers, or run `limit-engine rebuild --from journal`")


def _check(shard: int, fields: Mapping[str, bytes], partitions: int) -> None:
    """That a shard's state can be written as it is. Raises EngineError."""
    where = f"shard {shard}"
    if not fields.get(keys.PARTITIONS):
        raise EngineError("Redis has nothing of it", where=where, cure=OF_INPUTS)
    if fields.get(keys.UNFINISHED):
        raise EngineError(f"`{fields[keys.UNFINISHED].decode()}` is not done with it", where=where, cure="run that again")
    if int(fields[keys.PARTITIONS]) != partitions:
        what = f"its state was made with {fields[keys.PARTITIONS].decode()} partitions, the topics have {partitions}"
        raise EngineError(what, where=where, cure="make the journal anew with as many partitions as the other topics have")


async def _check_announced(shard: int, fields: Mapping[str, bytes], clients: Clients) -> None:
    """That Redis counts all that was announced. Raises EngineError."""
    async with started(clients.journal_reader(), CONNECT_DEADLINE_S) as consumer:
        announced = await newest_output(consumer, shard, CONNECT_DEADLINE_S)
    counted = int(fields.get(keys.OUTPUTS, b"0"))
    if announced > counted:
        what = f"{announced} outputs were announced, and Redis counts {counted}: it is older than the journal was"
        raise EngineError(what, where=f"shard {shard}", cure=OF_INPUTS)
