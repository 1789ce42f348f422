"""Time that is moved by hand, and processes that can be frozen: an event loop that never waits.

Theory of operation. The loop has no sockets. When nothing is ready to run it puts its clock forward to the next timer, so a minute of waiting
takes no time, and the same seed runs the same way. ``time.monotonic`` and ``time.time`` tell this clock while a simulation runs; the latter can
also be set, as a machine's clock is.

A process is everything that runs in a context in which ``PROCESS`` names it, its tasks and timers and those of the libraries that it uses. While
it is frozen its callbacks are put aside, wherever they come from; when it goes on they run in their order, long after their time. One that is
frozen and never goes on was killed: nothing tells it, and nothing is tidied up.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from heapq import heappop
from typing import Any
from unittest import mock


class Process:
    """What is frozen, and killed, as a whole."""

    def __init__(self, loop: Loop) -> None:
        self.is_frozen = False
        self._loop = loop
        self._set_aside: list[asyncio.Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let the process do something."""
        return self._loop.create_task(work, context=self.context)

    def freeze(self) -> None:
        """Stop whatever it does, in the middle of it."""
        self.is_frozen = True

    def go_on(self) -> None:
        """Let it do what it would have done meanwhile."""
        self.is_frozen = False
        self._loop.take_up(self._set_aside)
        self._set_aside = []

    def set_aside(self, handle: asyncio.Handle) -> None:
        """Keep a callback until the process goes on."""
        self._set_aside.append(handle)


PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)


class Loop(asyncio.BaseEventLoop):
    """The event loop of one simulation."""

    _ready: deque[Any]
    _scheduled: list[Any]

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self.wall_ahead_s = 0.0  # of the world's clock, moved by hand
        self.steps = 0

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def take_up(self, handles: list[asyncio.Handle]) -> None:
        """Run callbacks that were put aside."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        if not self._ready:
            while self._scheduled and self._scheduled[0]._cancelled:
                heappop(self._scheduled)._scheduled = False
            if not self._scheduled:
                raise RuntimeError("everything waits for something that cannot come")
            self._now = max(self._now, self._scheduled[0]._when)
        while self._scheduled and self._scheduled[0]._when <= self._now:
            timer = heappop(self._scheduled)
            timer._scheduled = False
            self._ready.append(timer)
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)
            if process is not None and process.is_frozen:
                process.set_aside(handle)
            else:
                self.steps += 1
                handle._run()

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else wakes this loop."""


@contextmanager
def moved_by_hand(loop: Loop, began_at_s: float) -> Iterator[None]:
    """Let the time be what the loop says."""

    def wall_s() -> float:
        return began_at_s + loop.time() + loop.wall_ahead_s

    with mock.patch.object(time, "time", wall_s), mock.patch.object(time, "monotonic", loop.time):
        yield
