"""Workers in a consumer group: the engine's own worker and shards, fed from the simulated topics, and a group that tells them late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Final

from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from engine.core.layout import Topic
from engine.settings import Settings
from engine.state.store import ShardStore
from engine.stream.clients import Clients
from engine.stream.records import TOPICS, Chunk, Delivery
from engine.stream.worker import Worker
from schemas.topics import INPUTS
from tests.simulation.broker import Broker
from tests.simulation.clients import Owner
from tests.simulation.clock import Loop
from tests.simulation.network import Network
from tests.simulation.topics import SimulatedTopics

PARTITIONS: Final = {TP(spec.name, 0) for spec in INPUTS}
FETCH_WAIT_S: Final = 2.0
HEARTBEAT_S: Final = 1.0


class Consumer:
    """What a worker asks of Faust's consumer."""

    def __init__(self, member: Member, broker: Broker, network: Network, chance: Random) -> None:
        self.flowing: dict[Topic, tuple[int, int | None]] = {}  # position, and stable offset told last
        self.news = asyncio.Event()
        self._held: set[Topic] = set()
        self._member = member
        self._broker = broker
        self._network = network
        self._chance = chance

    async def flow_from(self, positions: Mapping[TP, int]) -> None:
        """Seek, and let flow."""
        for tp, offset in positions.items():
            self.flowing[TOPICS[tp.topic]] = (offset, None)
            self._held.discard(TOPICS[tp.topic])
        self.news.set()

    async def beginnings(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """Where logs begin."""
        asked = list(partitions)

        def begin() -> dict[TP, int]:
            return {tp: self._broker.log(tp.topic).begins for tp in asked}

        try:
            found: dict[TP, int] = await self._network.call("kafka", "ListOffsets", begin, 40.0)
        except OSError as error:
            raise KafkaConnectionError(str(error)) from error
        return found

    async def hold(self, tp: TP, *, held: bool) -> None:
        """Stop fetching a topic, or let it flow on."""
        (self._held.add if held else self._held.discard)(TOPICS[tp.topic])
        self.news.set()

    async def ownership_confirmed(self) -> None:
        """Return when the group has answered a heartbeat."""
        while True:
            await asyncio.sleep(self._chance.uniform(0.0, HEARTBEAT_S))
            if self._member.heartbeat():
                return

    async def feed(self) -> None:
        """Fetch for ever."""
        while True:
            for topic in sorted(self.flowing):
                delivery = self._fetched(topic)
                if delivery is not None:
                    if self._chance.random() < 0.1:
                        await asyncio.sleep(self._chance.uniform(0.0, 0.2))
                    await self._member.worker.deliver(0, delivery)
            try:
                async with asyncio.timeout(FETCH_WAIT_S):
                    await self.news.wait()
            except TimeoutError:
                continue
            self.news.clear()
            await asyncio.sleep(self._chance.uniform(0.001, 0.02))

    def _fetched(self, topic: Topic) -> Delivery | None:
        if topic in self._held or topic not in self.flowing or self._network.is_away("kafka"):
            return None
        log, (first, told) = self._broker.log(INPUTS[topic].name), self.flowing[topic]
        if first < log.begins or first > log.end:
            del self.flowing[topic]
            return Delivery(Chunk.of(topic), first, first, first, is_gone=True)
        stable = log.stable
        end = min(stable, first + self._chance.choice((1, 3, 10, 100)))
        records = list(log.committed(first, end))
        if end == first and told == stable:
            return None
        self.flowing[topic] = (end, stable)
        if end < stable:
            self.news.set()
        chunk = Chunk.of(
            topic, [r.offset for r in records], [r.time_ms for r in records], [r.key for r in records], [r.value for r in records], None
        )
        return Delivery(chunk, first, end, stable)


class Member(Owner):
    """A worker's process. ``owns`` asks the group whether the shard is this member's."""

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        broker: Broker,
        network: Network,
        store: Callable[[int], ShardStore],
        clients: Clients,
        fail: Callable[[Exception], None],
        owns: Callable[[Member], bool],
        chance: Random,
    ) -> None:
        super().__init__(loop)
        self.is_dead = False
        self.deaf_until = 0.0  # cut off from the group, not from the rest of Kafka
        self.worker = Worker(settings, SimulatedTopics(network), store, clients, fail)
        self.consumer = Consumer(self, broker, network, chance)
        self._network = network
        self._owns = owns
        self._told: tuple[int, bool] = (0, False)
        self._changes = asyncio.Lock()
        self.tasks = [self.start(self.consumer.feed())]

    def tell(self, generation: int, owns: bool) -> None:
        """What the group has decided; older news than is known already are none."""
        if generation > self._told[0]:
            self._told = generation, owns
            self.tasks.append(self.start(self._follow(generation, owns)))

    def heartbeat(self) -> bool:
        """Whether the group confirms this member as the owner; if it is not, it is told."""
        if self._network.is_away("kafka") or self.deaf_until > asyncio.get_running_loop().time():
            return False
        owns = self._owns(self)
        if owns:
            self.was_fenced = False
        return owns

    def kill(self) -> None:
        """End in the middle of anything."""
        self.is_dead = True
        self.freeze()

    async def _follow(self, generation: int, owns: bool) -> None:
        async with self._changes:
            if generation != self._told[0]:
                return
            self.consumer.flowing.clear()
            self.was_fenced &= not owns
            await self.worker.assign(PARTITIONS if owns else (), self.consumer)  # type: ignore[arg-type]
            await self.consumer.flow_from(self.worker.positions())
