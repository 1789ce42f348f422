"""Calls over a network that loses, delays and repeats nothing by itself, but breaks: the caller then knows nothing about what happened."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaError

from tests.simulation.clock import PROCESS, Loop, Process

T = TypeVar("T")
DECISIVE: Final = ("EndTxn", "apply")


@dataclass
class Faults:
    """How often calls fail, by what they are: shares of all calls."""

    lost: float = 0.0  # never arrives
    late: float = 0.0  # arrives when the caller has given up
    unanswered: float = 0.0  # is done, and the answer is lost
    refused: float = 0.0  # is answered by an error that says to try again
    often: float = 1.0  # so many times as often at the calls that commit and apply
    strikes: float = 0.0  # of those calls: the caller is struck while they are under way


CALM = Faults()


class Network:
    """Between everything and the servers."""

    def __init__(self, loop: Loop, chance: Random) -> None:
        self.faults = CALM
        self.counts: Counter[str] = Counter()
        self.strike: Callable[[Process], object] = lambda _: None
        self._away_until: dict[str, float] = {}
        self._waylaid: list[Callable[[], Any]] = []  # what arrives right behind one of the next calls: in the middle of what comes after it
        self._loop = loop
        self._chance = chance
        self.context = contextvars.copy_context()  # of nobody's process: what is under way arrives whoever is frozen

    def cut(self, server: str, seconds: float) -> None:
        """Nothing reaches a server for so long."""
        self._away_until[server] = max(self._away_until.get(server, 0.0), self._loop.time() + seconds)

    def is_away(self, server: str) -> bool:
        """Whether nothing reaches it now."""
        return self._away_until.get(server, 0.0) > self._loop.time()

    def mend(self) -> None:
        """Everything arrives from now on."""
        self.faults = CALM
        self._away_until.clear()

    def later(self, seconds: float, what: Callable[..., object], *arguments: Any) -> None:
        """Let something happen that no process does."""
        self._loop.call_later(seconds, what, *arguments, context=self.context)

    async def call(
        self,
        server: str,
        what: str,
        serve: Callable[[], Any],
        timeout_s: float,
        waiting: dict[asyncio.Future[Any], str] | None = None,
    ) -> Any:
        """What ``serve`` returns (or raises) at a server. Raises ConnectionError, or TimeoutError after so many seconds. The answer is in
        ``waiting`` until it is there, for whoever closes the connection."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        if waiting is not None:
            waiting[reply] = what
            reply.add_done_callback(waiting.pop)
        chance, faults = self._chance, self.faults
        there, back = chance.uniform(0.0005, 0.004), chance.uniform(0.0005, 0.004)
        dice = chance.random()
        process = PROCESS.get()
        if what in DECISIVE:
            dice /= faults.often
            if process is not None and chance.random() < faults.strikes:
                self.counts["strikes"] += 1
                self.later(chance.uniform(0.0, 2 * (there + back)), self.strike, process)
        if self.is_away(server):
            self.counts["away"] += 1
            self.later(there, self.break_off, reply)
        elif dice < faults.lost:
            self._note("lost", what)
            self._give_up(reply, there)
        elif dice < faults.lost + faults.late:
            self._note("late", what)
            self._give_up(reply, there)
            if what in DECISIVE and chance.random() < 0.5:
                self._waylaid.append(serve)
            else:
                self.later(chance.choice((0.02, 0.2, 1.0, 5.0, 20.0)) * chance.uniform(0.5, 1.5), self._serve, serve, None, 0.0)
        elif dice < faults.lost + faults.late + faults.unanswered:
            self._note("unanswered", what)
            self.later(there, self._serve, serve, None, 0.0)
            self._give_up(reply, there + back)
        else:
            if faults is not CALM and chance.random() < 0.05:
                there += chance.uniform(0.0, 0.5)
            self.later(there, self._serve, serve, reply, back)
        async with asyncio.timeout(timeout_s):
            return await reply

    def refuses(self, what: str) -> bool:
        """Whether a server shall answer a call with an error."""
        is_refused = self._chance.random() < self.faults.refused
        if is_refused:
            self._note("refused", what)
        return is_refused

    def choose(self, choices: Sequence[T]) -> T:
        """One of these."""
        return self._chance.choice(choices)

    def _note(self, fault: str, what: str) -> None:
        self.counts[fault] += 1
        self.counts[f"{what} {fault}"] += 1

    def _give_up(self, reply: asyncio.Future[Any], after_s: float) -> None:
        """The connection breaks, or nothing is ever heard again."""
        if self._chance.random() < 0.6:
            self.later(after_s + self._chance.choice((0.0, 0.01, 0.1)), self.break_off, reply)

    @staticmethod
    def break_off(reply: asyncio.Future[Any]) -> None:
        """A connection ends before the answer is there."""
        if not reply.done():
            reply.set_exception(ConnectionResetError("the connection broke"))

    def _serve(self, serve: Callable[[], Any], reply: asyncio.Future[Any] | None, back: float) -> None:
        try:
            answer, error = serve(), None
        except (OSError, KafkaError) as refusal:
            answer, error = None, refusal
        if reply is not None:
            self.later(back, self._answer, reply, answer, error)
            if self._waylaid and self._chance.random() < 0.2:
                self.later(0.0, self._serve, self._waylaid.pop(0), None, 0.0)

    @staticmethod
    def _answer(reply: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
        if reply.done():
            return
        if error is not None:
            reply.set_exception(error)
        else:
            reply.set_result(answer)
