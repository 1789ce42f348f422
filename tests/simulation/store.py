"""Redis behind the network: a store in one place that every owner calls, and that can come back older than it was."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from engine.core.packed import Packed
from engine.state.keys import BUCKETS
from engine.state.masters import TIMEOUT_S
from engine.state.memory_store import MemoryStore
from engine.state.record import JournalRecord
from engine.state.redis_store import StoreAway
from engine.state.store import Loaded, ShardStore, Slice, applied_of
from schemas.topics import JOURNAL
from tests.simulation.network import Network
from tests.simulation.topics import AT_START

T = TypeVar("T")


class Server(Protocol):
    """What holds the state, and does each call in one moment."""

    @property
    def store(self) -> ShardStore:
        """Its store, without the network."""

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a call of its store."""

    def copied(self) -> Any:
        """All that it holds."""

    def come_back_with(self, copied: Any) -> None:
        """Hold this instead."""

    def applied_of(self, copied: Any) -> int:
        """The sequence that a copy has applied."""

    def held(self) -> tuple[dict[str, bytes], dict[bytes, bytes]]:
        """The shard's fields, and its accounts."""


class MemoryServer:
    """The state in dictionaries."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore(AT_START.ids[JOURNAL.name])

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        """See ``Server``."""
        try:
            call.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        raise AssertionError("a store in memory waits for nothing")

    def copied(self) -> Any:
        """See ``Server``."""
        return dict(self.store._fields), [dict(bucket) for bucket in self.store._buckets]

    def come_back_with(self, copied: Any) -> None:
        """See ``Server``."""
        self.store._fields, self.store._buckets = copy.deepcopy(copied)

    def applied_of(self, copied: Any) -> int:
        """See ``Server``."""
        return applied_of(copied[0])

    def held(self) -> tuple[dict[str, bytes], dict[bytes, bytes]]:
        """See ``Server``."""
        return self.store._fields, {name: value for bucket in self.store._buckets for name, value in bucket.items()}


class SimulatedStore:
    """An owner's store: calls of the server that may be lost, late, or go unanswered."""

    def __init__(self, server: Server, network: Network, on_apply: Callable[[JournalRecord, int], None]) -> None:
        self._server = server
        self._network = network
        self._on_apply = on_apply

    async def shard_fields(self) -> dict[str, bytes]:
        """See ``ShardStore``."""
        return await self._call("fields", self._server.store.shard_fields)

    async def load(self, accounts: Packed) -> Loaded:
        """See ``ShardStore``."""
        return await self._call("load", lambda: self._server.store.load(accounts))

    async def apply(self, record: JournalRecord, journal_offset: int) -> int:
        """See ``ShardStore``."""

        def apply() -> int:
            applied = self._server.do(self._server.store.apply(record, journal_offset))
            self._on_apply(record, applied)
            return applied

        return await self._served("apply", apply)

    async def slice(self, bucket: int, after: bytes, buckets: int, most: int) -> Slice:
        """See ``ShardStore``."""
        return await self._call("slice", lambda: self._server.store.slice(bucket, after, buckets, most))

    async def problem(self) -> str | None:
        """See ``ShardStore``."""
        return await self._call("problem", self._server.store.problem)

    async def accounts(self, bucket: int) -> AsyncIterator[tuple[bytes, bytes]]:
        """See ``ShardStore``."""
        assert bucket < BUCKETS
        async for item in self._server.store.accounts(bucket):
            yield item

    async def _call(self, what: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._served(what, lambda: self._server.do(call()))

    async def _served(self, what: str, serve: Callable[[], T]) -> T:
        def refuse() -> T:
            raise OSError("LOADING Redis is loading the dataset in memory")

        try:
            answer: T = await self._network.call("redis", what, refuse if self._network.refuses(what) else serve, TIMEOUT_S)
        except OSError as error:  # TimeoutError is one
            raise StoreAway(f"Redis: {error or type(error).__name__}") from error
        return answer
