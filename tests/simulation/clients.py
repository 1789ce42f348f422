"""The shard's Kafka clients over the simulated network: aiokafka's own producer above its sockets, and a reader of the journal."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from unittest import mock

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import CloseReason
from aiokafka.errors import (
    BrokerResponseError,
    ConcurrentTransactions,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    InvalidProducerEpoch,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    NotCoordinatorError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    RequestTimedOutError,
)
from aiokafka.producer import producer as producer_module
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.record.memory_records import MemoryRecords

from engine.settings import Kafka
from engine.stream.clients import CONNECT_DEADLINE_S, KafkaClients
from engine.stream.records import Headers
from schemas.topics import JOURNAL, OUTPUTS, TOPICS
from tests.simulation.broker import Broker, Entry
from tests.simulation.clock import PROCESS, Loop, Process
from tests.simulation.network import Network
from tests.simulation.promises import demand

PRODUCE, LIST_OFFSETS, INIT_PRODUCER, ADD_PARTITIONS, END_TXN = 0, 2, 22, 24, 26
NAMES: Final = {
    PRODUCE: "Produce",
    LIST_OFFSETS: "ListOffsets",
    INIT_PRODUCER: "InitProducerId",
    ADD_PARTITIONS: "AddPartitionsToTxn",
    END_TXN: "EndTxn",
}
VERSIONS: Final = {PRODUCE: (7, 7), LIST_OFFSETS: (2, 2), INIT_PRODUCER: (0, 0), ADD_PARTITIONS: (0, 0), END_TXN: (0, 0)}
PRODUCER_STATE: Final = struct.Struct(">qhi")  # of a batch: producer id, epoch, first sequence
PRODUCER_STATE_AT: Final = 43
NODE: Final = 0
OTHER_NODE: Final = 1  # leads the outputs: what is sent of one transaction does not all go the same way
METADATA_S: Final = 0.01
LOADING, NOT_THERE, ELSEWHERE = (
    error.errno for error in (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError)
)
REFUSALS: Final = {
    PRODUCE: (NotLeaderForPartitionError.errno, MessageSizeTooLargeError.errno),  # the latter is final
    LIST_OFFSETS: (NotLeaderForPartitionError.errno,),
    INIT_PRODUCER: (LOADING, ELSEWHERE, ConcurrentTransactions.errno),
    ADD_PARTITIONS: (LOADING, ELSEWHERE, ConcurrentTransactions.errno),
    END_TXN: (LOADING, NOT_THERE, ELSEWHERE),
}


class Owner(Process):
    """A process with producers. ``was_fenced``: it was told that another one has fenced it, and not yet by the group that it is the owner."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self.was_fenced = False


def cluster_of_two() -> ClusterMetadata:
    """Two brokers that lead the topics' only partitions."""
    cluster = ClusterMetadata()
    leaders = {spec.name: OTHER_NODE if spec in OUTPUTS else NODE for spec in TOPICS}
    topics = [(0, name, False, [(0, 0, leader, [leader], [leader])]) for name, leader in leaders.items()]
    brokers = [(node, "kafka", 9092 + node, None) for node in (NODE, OTHER_NODE)]
    cluster.update_metadata(MetadataResponse_v1(brokers, NODE, topics))
    return cluster


CLUSTER: Final = cluster_of_two()


class Connection:
    """Where the answers to a client's requests come in."""

    def __init__(self) -> None:
        self.is_closed = False
        self.waiting: dict[asyncio.Future[Any], str] = {}

    def close(self) -> None:
        """Break off whatever is under way."""
        self.is_closed = True
        for reply in list(self.waiting):
            Network.break_off(reply)


class Sockets(AIOKafkaClient):  # type: ignore[misc]
    """aiokafka's connections: every request is a call over the network."""

    def __init__(self, broker: Broker, network: Network, **settings: Any) -> None:
        super().__init__(**settings)
        self.cluster = CLUSTER
        self._broker = broker
        self._network = network
        self._connection = Connection()
        self._conns = {NODE: self._connection}
        self._is_cut = False
        broker.on_death.append(self._cut)

    def _cut(self, after_s: float) -> None:
        """The broker has died, and is back at once: answers that are on their way may come still, for so long."""
        self._is_cut = True
        self._network.later(after_s, self._broken)

    def _broken(self) -> None:
        self._is_cut = False
        if not self._connection.is_closed:
            for reply in list(self._connection.waiting):
                Network.break_off(reply)
            self._on_connection_closed(self._connection, CloseReason.CONNECTION_BROKEN)

    async def bootstrap(self) -> None:
        """Find out who is there."""
        await self._call("Metadata", lambda: None)

    async def ready(self, node_id: int, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> bool:
        """A connection is made with the first request."""
        return True

    async def coordinator_lookup(self, coordinator_type: Any, coordinator_key: str) -> int:
        """One broker coordinates everything."""
        await self._call("FindCoordinator", lambda: None)
        return NODE

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """Nothing ever changes."""
        return asyncio.ensure_future(asyncio.sleep(METADATA_S, result=True))

    async def send(self, node_id: int, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Any:
        """See AIOKafkaClient."""
        asked, what, member = request.prepare(VERSIONS), NAMES[request.API_KEY], PROCESS.get()
        assert isinstance(member, Owner)
        if asked.API_KEY == INIT_PRODUCER:
            demand(not member.was_fenced, "an owner that was fenced fences its successor, without having asked the group")
        refusal = self._network.choose(REFUSALS[asked.API_KEY]) if self._network.refuses(what) else 0
        response = await self._call(what, lambda: answer(self._broker, asked, refusal))
        member.was_fenced |= InvalidProducerEpoch.errno in codes(response) and not self._connection.is_closed
        return response

    async def _call(self, what: str, serve: Callable[[], Any]) -> Any:
        waiting = self._connection.waiting
        try:
            if self._is_cut:
                raise ConnectionResetError("the connection broke")
            return await self._network.call("kafka", what, serve, self._request_timeout_ms / 1000, waiting)
        except ConnectionError as error:
            raise KafkaConnectionError(str(error)) from error
        except TimeoutError as error:
            raise RequestTimedOutError from error


def answer(broker: Broker, asked: Any, refusal: int) -> Any:
    """The broker's response to a request; ``refusal`` is the error that it answers with, whatever it can do."""
    if refusal == CoordinatorNotAvailableError.errno:  # it is done for all that
        answer(broker, asked, 0)
    match asked.API_KEY:
        case 0:
            name = asked.transactional_id
            topics = [(topic, [_produced(broker, name, topic, bytes(sent), refusal) for _, sent in parts]) for topic, parts in asked.topics]
            return asked.RESPONSE_TYPE(topics, 0)
        case 2:
            logs = {topic: broker.log(topic) for topic, _ in asked.topics}
            ends = {topic: log.stable if asked.isolation_level else log.end for topic, log in logs.items()}
            return asked.RESPONSE_TYPE(0, [(topic, [(0, refusal, -1, -1 if refusal else end)]) for topic, end in ends.items()])
        case 22:
            code, begun = _tried(refusal, lambda: broker.begin_producer(asked.transactional_id, asked.transaction_timeout_ms / 1000))
            return asked.RESPONSE_TYPE(0, code, *(begun or (-1, -1)))
        case 24:
            names = sorted(topic for topic, _ in asked.topics)
            code, _ = _tried(refusal, lambda: broker.add_partitions(asked.transactional_id, asked.producer_epoch, names))
            return asked.RESPONSE_TYPE(0, [(topic, [(0, code)]) for topic in names])
        case _:
            is_commit = bool(asked.transaction_result)
            code, _ = _tried(refusal, lambda: broker.end(asked.transactional_id, asked.producer_epoch, is_commit=is_commit))
            return asked.RESPONSE_TYPE(0, code)


def codes(response: Any) -> set[int]:
    """The error codes of a response."""
    if response.API_KEY == PRODUCE:
        return {part[1] for _, parts in response.topics for part in parts}
    if response.API_KEY == ADD_PARTITIONS:
        return {code for _, parts in response.errors for _, code in parts}
    return set() if response.API_KEY == LIST_OFFSETS else {response.error_code}


def _tried(refusal: int, work: Callable[[], Any]) -> tuple[int, Any]:
    if refusal:
        return refusal, None
    try:
        return 0, work()
    except BrokerResponseError as error:
        return int(error.errno), None


def _produced(broker: Broker, name: str, topic: str, sent: bytes, refusal: int) -> tuple[int, int, int, int, int]:
    _, epoch, sequence = PRODUCER_STATE.unpack_from(sent, PRODUCER_STATE_AT)
    batch = MemoryRecords(sent).next_batch()
    records: list[tuple[int, bytes | None, bytes | None, Headers]] = [(r.timestamp, r.key, r.value, tuple(r.headers)) for r in batch]
    code, offset = _tried(refusal, lambda: broker.produce(name, epoch, topic, sequence, records))
    return 0, code, -1 if offset is None else offset, -1, 0


class Message(NamedTuple):
    """A record as aiokafka's consumer gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class JournalReader:
    """What the readers of the journal and of outputs ask of a consumer of committed records."""

    def __init__(self, broker: Broker, network: Network, *, sees_uncommitted: bool = False) -> None:
        self._broker = broker
        self._log = broker.log(JOURNAL.name)
        self._network = network
        self._sees_uncommitted = sees_uncommitted
        self._position = 0

    async def start(self) -> None:
        """Connect."""
        await self._call(lambda: None)

    async def stop(self) -> None:
        """Disconnect."""

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read this topic's only partition."""
        self._log = self._broker.log(partitions[0].topic)

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the log begins."""
        return {partitions[0]: await self._call(lambda: self._log.begins)}

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Up to where it can be read."""
        return {partitions[0]: await self._call(self._readable)}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from an offset."""
        self._position = offset

    async def position(self, partition: TopicPartition) -> int:
        """Where it reads on."""
        return self._position

    async def getmany(self, partition: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Message]]:
        """Some records more."""
        entries, self._position = await self._call(self._fetch)
        found = [Message(partition.topic, partition.partition, e.offset, e.time_ms, e.key, e.value, e.headers) for e in entries]
        return {partition: found} if found else {}

    def _readable(self) -> int:
        return self._log.end if self._sees_uncommitted else self._log.stable

    def _fetch(self) -> tuple[list[Entry], int]:
        if self._position < self._log.begins:
            raise OffsetOutOfRangeError({TopicPartition(JOURNAL.name, 0): self._position})
        end = min(self._readable(), self._position + 20)
        if self._sees_uncommitted:
            return [entry for entry in self._log.entries[self._position : end] if not entry.is_marker], end
        return list(self._log.committed(self._position, end)), end

    async def _call(self, serve: Callable[[], Any]) -> Any:
        try:
            return await self._network.call("kafka", "Fetch", serve, CONNECT_DEADLINE_S)
        except ConnectionError as error:
            raise KafkaConnectionError(str(error)) from error


class SimulatedClients(KafkaClients):
    """The owner's clients, of the engine's own making as far as they are not sockets."""

    def __init__(self, kafka: Kafka, broker: Broker, network: Network) -> None:
        super().__init__(kafka)
        self._broker = broker
        self._network = network

    def producer(self, transactional_id: str) -> AIOKafkaProducer:
        """aiokafka's own, without sockets."""

        def sockets(**settings: Any) -> Sockets:
            return Sockets(self._broker, self._network, **settings)

        with mock.patch.object(producer_module, "AIOKafkaClient", sockets):
            return super().producer(transactional_id)

    def journal_reader(self) -> Any:
        """A reader of the simulated journal."""
        return JournalReader(self._broker, self._network)

    def uncommitted_reader(self) -> Any:
        """One that sees what may never be committed."""
        return JournalReader(self._broker, self._network, sees_uncommitted=True)
