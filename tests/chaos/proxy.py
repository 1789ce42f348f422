"""TCP proxies between the workers and their servers, for cuts that no process can make: one worker sees nothing of one server, or its requests
arrive and the answers do not.

A closed direction holds what was sent, as a network does that loses packets which TCP sends again: opened, it delivers late, also what was sent
by a process that is dead by then. Connections are taken meanwhile, and stay silent.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from engine.local.ports import LOOPBACK
from tests.chaos.requests import Requests

T = TypeVar("T")
Direction = Literal["requests", "replies"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("requests", "replies")
CHUNK_BYTES: Final = 65_536
STOP_S: Final = 5.0
HEAD_BYTES: Final = 256


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    requests: Requests
    is_doomed: bool = False  # the next answer is not passed on
    is_asking: bool = False  # the last bytes came from the client
    is_slow: bool = False  # what it asked for last is what is delayed

    def abort(self) -> None:
        """Both ends see a reset."""
        for end in (self.client, self.server):
            end.transport.abort()


@dataclass
class Link:
    """The way of one worker to one server. Its methods are for other threads than the proxies'."""

    proxies: Proxies
    port: int
    server_port: int
    requests: Callable[[], Requests]
    cuts: int = 0  # answers that were cut so far
    _delay_s: float = 0.0
    _delayed: bytes = b""  # what must be in a request's first bytes for its answer to be delayed
    _gates: dict[Direction, asyncio.Event] = field(default_factory=dict)
    _armed: dict[str, int] = field(default_factory=dict)
    _connections: set[_Connection] = field(default_factory=set)

    def close(self, *directions: Direction) -> None:
        """Nothing gets through any more."""

        def closed() -> None:
            for direction in directions:
                self._gates[direction].clear()

        self.proxies.call(closed)

    def open(self, *, reset: bool) -> None:
        """Everything gets through again; or every connection is reset, what was held lost with it."""
        self.proxies.call(lambda: self.let_go(reset=reset))

    def cut_answers(self, request: str, times: int) -> None:
        """Pass the next requests of a kind on, and reset their connections when the answers come."""
        self.proxies.call(lambda: self._armed.update({request: times}))

    def disarm(self) -> None:
        """Cut no more answers."""
        self.proxies.call(self._armed.clear)

    def delay(self, seconds: float, about: bytes = b"") -> None:
        """Let each answer come so much later from now on, of requests that have these bytes near their beginning. What follows an answer's first
        bytes comes with them: the way is longer, not narrower."""

        def delayed() -> None:
            self._delay_s, self._delayed = seconds, about

        self.proxies.call(delayed)

    # In the proxies' loop

    def let_go(self, *, reset: bool) -> None:
        """See ``open``."""
        if reset:
            for connection in list(self._connections):
                connection.abort()
        for gate in self._gates.values():
            gate.set()

    async def listen(self) -> asyncio.Server:
        """Take connections from now on."""
        for direction in DIRECTIONS:
            self._gates[direction] = asyncio.Event()
            self._gates[direction].set()
        return await asyncio.start_server(self._connected, LOOPBACK, self.port)

    async def _connected(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            answers, server = await asyncio.open_connection(LOOPBACK, self.server_port)
        except OSError:
            client.transport.abort()
            return
        connection = _Connection(client, server, self.requests())
        self._connections.add(connection)
        ways = (
            asyncio.ensure_future(self._pass_on(connection, reader, server, "requests")),
            asyncio.ensure_future(self._pass_on(connection, answers, client, "replies")),
        )
        try:
            await asyncio.gather(*ways)
        except OSError:
            connection.abort()
        finally:
            for way in ways:
                way.cancel()
            client.close()
            server.close()
            self._connections.discard(connection)

    async def _pass_on(self, connection: _Connection, source: asyncio.StreamReader, to: asyncio.StreamWriter, way: Direction) -> None:
        while data := await source.read(CHUNK_BYTES):
            if way == "requests" and not connection.is_asking:
                connection.is_slow = self._delayed in data[:HEAD_BYTES]
            is_answered, connection.is_asking = connection.is_asking and way == "replies", way == "requests"
            if is_answered and connection.is_slow:
                await asyncio.sleep(self._delay_s)
            await self._gates[way].wait()
            if way == "replies" and connection.is_doomed:
                self.cuts += 1
                connection.abort()
                return
            if way == "requests" and self._armed:
                self._doom(connection, data)
            elif way == "requests":
                list(connection.requests.names(data))
            to.write(data)
            await to.drain()
        await self._gates[way].wait()
        if to.can_write_eof() and not to.transport.is_closing():
            to.write_eof()

    def _doom(self, connection: _Connection, data: bytes) -> None:
        for name in connection.requests.names(data):
            if self._armed.get(name):
                self._armed[name] -= 1
                connection.is_doomed = True


class Proxies:
    """Every link of a deployment, in a thread and an event loop of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._links: list[Link] = []

    def link(self, port: int, server_port: int, requests: Callable[[], Requests]) -> Link:
        """Listen on a port for connections to a server's."""
        link = Link(self, port, server_port, requests)
        self._servers.append(self._run(link.listen()))
        self._links.append(link)
        return link

    def call(self, action: Callable[[], object]) -> None:
        """Do something in the proxies' loop, and return when it is done."""
        done: Future[None] = Future()

        def act() -> None:
            try:
                action()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._loop.call_soon_threadsafe(act)
        done.result()

    def stop(self) -> None:
        """Close everything."""

        async def end() -> None:
            for server in self._servers:
                server.close()
            for link in self._links:
                link.let_go(reset=True)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                await asyncio.wait(others, timeout=STOP_S)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
