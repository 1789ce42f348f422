"""A shard's store in Redis: three scripts, one connection, no retries.

A call that got no answer may or may not have happened, and only the shard knows what to do then (``PROTOCOL`` steps 5 and 8); so nothing here
tries again, except when the server has forgotten a script (``NOSCRIPT``), which is an answer. Whatever keeps Redis from serving is raised as
``StoreAway``, an OSError.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, Final

import numpy as np
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, NoScriptError, RedisError, TryAgainError

from engine.core.packed import Packed
from engine.state import keys
from engine.state.keys import BUCKETS, ShardKeys
from engine.state.masters import Masters
from engine.state.record import JournalRecord
from engine.state.states import asked_for
from engine.state.store import Loaded, Slice, cut_slice, fields_of

REDIRECTIONS_MAX: Final = 3
EVICTION_CURE: Final = "CONFIG SET maxmemory-policy noeviction"


class StoreAway(OSError):
    """Redis cannot serve now: away, loading, out of memory, or silent."""


class _Script:
    def __init__(self, name: str) -> None:
        self.text = files("engine.state").joinpath(name).read_text()
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


APPLY: Final = _Script("apply.lua")
LOAD: Final = _Script("load.lua")
SLICE: Final = _Script("slice.lua")


class RedisStore:
    """The state of one shard in Redis. It is that of the journal whose topic has this id (empty: of any)."""

    def __init__(self, redis: Masters | Redis, application: str, shard: int, journal_id: str = "") -> None:
        """``redis``: the deployment's servers, or a client of the only one."""
        self._servers = redis if isinstance(redis, Masters) else Masters(redis)
        self._journal_id = journal_id.encode()
        self._keys = ShardKeys(application, shard)
        self._slot = key_slot(self._keys.shard)

    async def shard_fields(self) -> dict[str, bytes]:
        """See ``ShardStore``."""
        held = await self._call(lambda redis: redis.hgetall(self._keys.shard))
        return {name.decode(): value for name, value in held.items()}

    async def load(self, accounts: Packed) -> Loaded:
        """See ``ShardStore``."""
        buckets, order, asked = asked_for(accounts)
        names = [self._keys.shard, *map(self._keys.accounts, buckets)]
        applied, *found = await self._run(LOAD, names, [self._journal_id, asked])
        return Loaded(applied, Packed.of(found).at(np.argsort(order)))

    async def apply(self, record: JournalRecord, journal_offset: int) -> int:
        """See ``ShardStore``."""
        shard = [part for name, value in fields_of(record, journal_offset).items() for part in (name.encode(), value)]
        voided = [self._keys.accounts(bucket) for bucket in range(BUCKETS)] if record.is_beginning else []
        buckets, accounts = record.accounts.by_bucket()
        names = [self._keys.shard, *map(self._keys.accounts, buckets)]
        arguments: list[Any] = [self._journal_id, b"%d" % record.sequence, b"%d" % len(voided), b"%d" % len(shard), *shard, accounts]
        return int(await self._run(APPLY, names + voided, arguments))

    async def empty(self, unfinished: bytes) -> None:
        """Remove all that is held of the shard, in one moment, and say in its hash what a worker must not go on from. No owner may work."""
        voided = [self._keys.accounts(bucket) for bucket in range(BUCKETS)]

        def all_at_once(redis: Redis) -> Awaitable[Any]:
            transaction = redis.pipeline(transaction=True)
            transaction.unlink(self._keys.shard, *voided)
            transaction.hset(self._keys.shard, keys.UNFINISHED, unfinished)
            return transaction.execute()

        await self._call(all_at_once)

    async def finish(self) -> None:
        """What was said in ``empty`` is done."""
        await self._call(lambda redis: redis.hdel(self._keys.shard, keys.UNFINISHED))

    async def slice(self, bucket: int, after: bytes, buckets: int, most: int) -> Slice:
        """See ``ShardStore``. Order is made here: a server compares text by its own locale."""
        names = [self._keys.shard, *(self._keys.accounts((bucket + step) % BUCKETS) for step in range(buckets))]
        applied, *found = await self._run(SLICE, names, [self._journal_id])
        return cut_slice(applied, [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in found], after, most)

    async def problem(self) -> str | None:
        """See ``ShardStore``."""
        found: str | None = await self._call(eviction_problem)
        return found

    async def accounts(self, bucket: int) -> AsyncIterator[tuple[bytes, bytes]]:
        """See ``ShardStore``."""
        held = await self._call(lambda redis: redis.hgetall(self._keys.accounts(bucket)))
        for item in sorted(held.items()):
            yield item

    async def _run(self, script: _Script, names: list[bytes], arguments: Sequence[Any]) -> Any:
        """Run a script; one that the server has forgotten is sent whole. The last argument may be ``packing.Arguments``."""
        try:
            return await self._call(lambda redis: redis.evalsha(script.digest, len(names), *names, *arguments))
        except NoScriptError:
            return await self._call(lambda redis: redis.eval(script.text, len(names), *names, *arguments))

    async def _call(self, ask: Callable[[Redis], Awaitable[Any]]) -> Any:
        """Ask the server that holds the shard, once; and where it answers that another one does, that one."""
        redis: Redis | None = None
        try:
            for _ in range(REDIRECTIONS_MAX):
                redis = await self._servers.of(self._slot)
                try:
                    answer = await ask(redis)
                except MovedError as moved:
                    self._servers.moved(moved, redis)
                    continue
                heed_cancellation()
                return answer
            raise ClusterDownError("its servers send one to another for it")
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            heed_cancellation()
            if redis is not None:
                await self._servers.lost(redis, error)
            is_on_its_way = isinstance(error, AskError | TryAgainError)
            told = "the shard's slot is on its way to another master" if is_on_its_way else error or type(error).__name__
            raise StoreAway(f"Redis: {told}") from error


def heed_cancellation() -> None:
    """Raise the cancellation of this task that redis-py may have swallowed: it waits by ``asyncio.wait_for``, which in Python 3.11 drops one that
    comes together with the result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def eviction_problem(redis: Redis) -> str | None:
    """That this Redis may evict accounts; None if it may not, or does not tell."""
    memory = await redis.info("memory")
    policy = memory.get("maxmemory_policy", "noeviction")
    return None if policy == "noeviction" else f"maxmemory-policy is {policy}: it may evict accounts"
