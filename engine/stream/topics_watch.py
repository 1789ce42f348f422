"""Whether the topics are still those that the worker was started on.

A topic that is deleted and made anew has the old name and other records; partitions that are added send an account's records elsewhere. A fetch
notices neither, so it is asked: now and then, and at each takeover before anything is read. That a topic is missing is believed when it is seen
twice: a broker that has just started may not know all of them yet.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from engine.connections import RefusedError
from engine.errors import EngineError
from engine.settings import Kafka
from engine.stream.refusals import changed
from engine.stream.topics import Identity, connect, identity

ASK_AGAIN_S: Final = 0.5


class Topics(Protocol):
    """The input topics and the journal, as they were at the worker's start and as they are."""

    at_start: Identity

    async def confirmed(self) -> None:
        """Return when they were seen, after this call began, to be those of the start. Raises OSError while that is not known, EngineError if
        they are others."""


class TopicsWatch:
    """Asks a Kafka cluster, one question at a time."""

    def __init__(self, kafka: Kafka, at_start: Identity) -> None:
        self.at_start = at_start
        self._kafka = kafka
        self._admin: KafkaAdminClient | None = None
        self._turn = asyncio.Lock()
        self._asked_at = 0.0  # when the last question that was answered was asked
        self._problem: EngineError | None = None

    async def confirmed(self) -> None:
        """See ``Topics``."""
        called_at = time.monotonic()
        async with self._turn:
            if self._problem is None and self._asked_at < called_at:
                await self._ask()
        if self._problem is not None:
            raise self._problem

    async def _ask(self) -> None:
        asked_at = time.monotonic()
        try:
            now = await asyncio.to_thread(self._identity)
            if now.ids.keys() != self.at_start.ids.keys():
                await asyncio.sleep(ASK_AGAIN_S)
                now = await asyncio.to_thread(self._identity)
        except (KafkaError, RefusedError) as error:
            self._admin = None
            raise ConnectionError(f"the topics cannot be described: {error!r}") from error
        self._problem, self._asked_at = changed(self.at_start, now), asked_at

    def _identity(self) -> Identity:
        if self._admin is None:
            self._admin = connect(self._kafka)
        return identity(self._admin)
