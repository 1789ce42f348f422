"""A real server in the place of the store in memory: the engine's own client and scripts, one call at a time, while the world stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Thread
from typing import Any, TypeVar

from engine.settings import Redis
from engine.state.keys import BUCKETS, ShardKeys
from engine.state.masters import connect
from engine.state.redis_store import RedisStore
from engine.state.store import applied_of
from schemas.topics import JOURNAL
from tests.simulation.topics import AT_START

T = TypeVar("T")
APPLICATION = "limits"


class RealServer:
    """A server that is empty in the beginning. Its client lives in a thread, since the world's own loop never waits."""

    def __init__(self, redis: Redis) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._redis = connect(redis)
        self._keys = ShardKeys(APPLICATION, 0)
        self.store = RedisStore(self._redis, APPLICATION, 0, AT_START.ids[JOURNAL.name])
        self.come_back_with({})

    def close(self) -> None:
        """Disconnect."""
        self.do(self._redis.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        """See ``Server``."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def copied(self) -> Any:
        """See ``Server``."""
        return self.do(self._all())

    def come_back_with(self, copied: Any) -> None:
        """See ``Server``. A server that was started again knows no script."""
        self.do(self._replace(copied))

    def applied_of(self, copied: Any) -> int:
        """See ``Server``."""
        return applied_of(self._fields(copied))

    def held(self) -> tuple[dict[str, bytes], dict[bytes, bytes]]:
        """See ``Server``."""
        copied = self.copied()
        buckets = [copied.get(self._keys.accounts(bucket), {}) for bucket in range(BUCKETS)]
        return self._fields(copied), {name: value for bucket in buckets for name, value in bucket.items()}

    def _fields(self, copied: Any) -> dict[str, bytes]:
        return {name.decode(): value for name, value in copied.get(self._keys.shard, {}).items()}

    async def _all(self) -> dict[Any, Any]:
        return {key: await self._redis.hgetall(key) for key in await self._redis.keys()}

    async def _replace(self, copied: dict[Any, Any]) -> None:
        await self._redis.flushall()
        await self._redis.script_flush()
        for key, values in copied.items():
            await self._redis.hset(key, mapping=values)
