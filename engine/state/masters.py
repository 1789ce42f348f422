"""Which server holds a shard: the one of the URL or, in a Redis Cluster, the master of the shard's slot.

Theory of operation. All keys of a shard share a hash tag, so one master holds all of it, and what a shard needs of a cluster is that one plain
connection. redis-py's own cluster client sends a call that timed out again by itself, which nobody but the shard may decide (``PROTOCOL`` steps
5 and 8). Here a call goes out once. ``MOVED`` is an answer, nothing was done: the same call goes to the server that it names. Whatever else
keeps a server from serving is told to the caller, and before the next call the servers are asked anew who holds what. While a slot is on its
way from one master to another (``ASK``, ``TRYAGAIN``), or has none (a failover), its shard waits like for any Redis that is away.

What a failover may lose of the last writes, or a demoted master may still have taken, is what the protocol is made for: the shard sees that Redis
went back, and brings it forward from the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.connection import UnixDomainSocketConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, MovedError, ReadOnlyError, RedisError

from engine.connections import redis_options
from engine.settings import Redis as RedisSettings
from engine.state.packing import QuickConnection, QuickSocketConnection, QuickTlsConnection

TIMEOUT_S: Final = 5.0
QUICK: Final = {Connection: QuickConnection, SSLConnection: QuickTlsConnection, UnixDomainSocketConnection: QuickSocketConnection}

Address = tuple[str, int]


def connect(redis: RedisSettings, connections: int = 1, at: Address | None = None) -> Redis:
    """A client of the server in the URL, or likewise of another one (``at``). It neither retries nor shares a connection between two calls at
    once. Raises EngineError for unreadable certificates."""
    options: dict[str, Any] = {**parse_url(redis.url), **redis_options(redis)}
    if at is not None:
        options["host"], options["port"] = at
    kind = options.pop("connection_class", Connection)
    pool = BlockingConnectionPool(
        **options,
        connection_class=QUICK[kind],
        max_connections=connections,
        timeout=None,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
    )
    return Redis(connection_pool=pool)


class Masters:
    """The servers of a deployment."""

    def __init__(self, first: Redis, another: Callable[[Address], Redis] | None = None) -> None:
        """``first`` is a client of any of them, ``another`` makes clients of others; without it there are none."""
        self._first = first
        self._another = another
        self._is_cluster = False if another is None else None  # None: not asked yet
        self._clients: dict[Address, Redis] = {}  # of a cluster's masters and former ones; what did not serve last stands behind
        self._ranges: list[tuple[int, int, Address]] = []  # the slots from .. to, and their master; empty: to be asked
        self._moved: dict[int, Address] = {}  # what servers have answered since
        self._asking = asyncio.Lock()

    @classmethod
    def of_settings(cls, settings: RedisSettings, connections: int = 1) -> Masters:
        """With at most so many connections to each. Raises EngineError for unreadable certificates."""
        return cls(connect(settings, connections), partial(connect, settings, connections))

    async def of(self, slot: int) -> Redis:
        """The server that holds a slot, as far as it is known here. Raises RedisError, OSError."""
        if self._is_cluster is None:
            self._is_cluster = bool((await self._first.info("cluster")).get("cluster_enabled"))
        if not self._is_cluster:
            return self._first
        async with self._asking:
            if not self._ranges:
                await self._ask()
        address = self._moved.get(slot) or next((master for begin, end, master in self._ranges if begin <= slot <= end), None)
        if address is None:
            raise ClusterDownError(f"no master has slot {slot}")
        return self._client(address)

    async def every(self) -> list[tuple[str, Redis]]:
        """All masters, with their addresses. Raises RedisError, OSError."""
        await self.of(0)
        clients = [self._client(address) for address in sorted({master for _, _, master in self._ranges})] or [self._first]
        return [(":".join(map(str, _address_of(client))), client) for client in clients]

    def moved(self, answer: MovedError, redis: Redis) -> None:
        """A server has answered that another one holds a slot."""
        if self._another is not None:
            self._is_cluster = True
        self._moved[answer.slot_id] = (answer.host or _address_of(redis)[0], answer.port)

    async def lost(self, redis: Redis, error: Exception) -> None:
        """A server does not serve: another may in its place by now."""
        self._ranges, self._moved = [], {}
        for address in [address for address, client in self._clients.items() if client is redis]:
            self._clients[address] = self._clients.pop(address)
        if isinstance(error, ReadOnlyError):  # a demoted primary keeps its connections: the address may lead to another server by now
            await redis.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Close every connection."""
        for client in (self._first, *self._clients.values()):
            await client.aclose()

    async def _ask(self) -> None:
        """Ask one server after the other which master has which slots, until one answers."""
        failure: Exception | None = None
        for client in (*self._clients.values(), self._first):
            try:
                slots: Any = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            except (RedisError, OSError) as error:
                failure = failure or error
                continue
            asked = _address_of(client)[0]
            self._ranges = [(begin, end, ((master[0] or b"").decode() or asked, master[1])) for begin, end, master, *_ in slots]
            self._moved.clear()
            for _, _, address in self._ranges:
                self._client(address)
            return
        assert failure is not None
        raise failure

    def _client(self, address: Address) -> Redis:
        if address not in self._clients:
            assert self._another is not None
            self._clients[address] = self._another(address)
        return self._clients[address]


def _address_of(redis: Redis) -> Address:
    """Where a client connects to; of a socket, the path."""
    options = redis.connection_pool.connection_kwargs
    return str(options.get("host") or options.get("path")), int(options.get("port") or 0)
