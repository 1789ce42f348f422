"""Transactions that are over and have no end in the log.

Theory of operation. A transaction's end is decided by its coordinator, who then writes a marker to each partition that took part. A broker that
dies between the two writes the markers when it is back. But Kafka (4.4; `python -m tests.chaos.markers` shows it) takes a partition whose leader
it cannot find just then for one that was deleted ("likely deleted already and hence can be skipped"), and the transaction for complete. What was
written there stays undecided for every reader of committed records; and worse, the next marker of the same transactional id, whatever that is
about, decides it as well.

So an owner looks behind its fence, when no transaction of its predecessors is under way any more, whether something hangs in its shard's
partitions, and ends it as it was ended, before it writes anything of its own: by a transaction that has no records, only partitions.

- In the journal: committed where anybody has seen something of it. Either the store has applied the record, so the commit was answered; or
  what the record says is there to be read. Where neither is so nobody has, and it is aborted: the inputs are taken again.
- In a topic of outputs, when the store has applied the whole journal: committed if the journal says it. An output has a number, of which the
  store counts the last; a dead letter has an origin, which was taken or not.

What another transactional id has left is that one's: in the journal it is waited for, elsewhere it is nobody's concern here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy

from engine.state import keys
from engine.state.record import DeadLetterRef, JournalRecord
from engine.stream.clients import CONNECT_DEADLINE_S, Clients
from engine.stream.journal import ASK_MS, bounds, messages, newest_output, started
from engine.stream.render import OUTPUT_SEQUENCE_HEADER
from schemas import dead_letters as names
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, JOURNAL, OUTPUTS

OUR_OWN: Final = frozenset((JOURNAL.name, CHANGES.name, ADVISORIES.name))  # that nobody else writes to
WRITTEN: Final = (JOURNAL.name, *(spec.name for spec in OUTPUTS))
LOOK_BACK: Final = 1_000  # offsets of dead letters
MARKED_WITHIN_S: Final = 5.0  # a marker follows its transaction's end by some milliseconds

Spans = dict[str, tuple[int, int]]
Asked = tuple[str, list[tuple[int, int]]]  # a topic, and a partition with the moment whose offset is asked for


class MixedFatesError(Exception):
    """What hangs in a topic is of more than one transaction, and they ended differently."""


async def hanging(client: AIOKafkaClient, shard: int) -> Spans:
    """From which offset to which one something hangs in each topic that the shard writes to; topics in which nothing does are not there. The
    client is connected: another one for this would make takeovers slower. Raises KafkaError, TimeoutError."""
    async with asyncio.timeout(CONNECT_DEADLINE_S):
        asked = await _by_leader(client, shard)
        stable, ends = [await _ends(client, asked, level) for level in (READ_COMMITTED, READ_UNCOMMITTED)]
    return {topic: (stable[topic], ends[topic]) for topic in WRITTEN if stable[topic] < ends[topic]}


async def journal_is_committed(clients: Clients, application: str, shard: int, span: tuple[int, int], applied: int) -> bool | None:
    """Whether what hangs in the journal was committed, as far as the store, which has applied a sequence, and the topics of outputs tell; None if
    no record of the application lies there. Raises KafkaError, TimeoutError, ValueError for a record that cannot be read."""
    partition = TopicPartition(JOURNAL.name, shard)
    async with started(clients.uncommitted_reader(), CONNECT_DEADLINE_S) as reader:
        reader.assign([partition])
        async for message in messages(reader, partition, *span, CONNECT_DEADLINE_S):
            record = JournalRecord.decode(message.value)
            if record.application != application:
                return None
            return applied >= record.sequence or await _is_told(clients, shard, record)
    return None


async def output_is_committed(clients: Clients, shard: int, topic: str, span: tuple[int, int], fields: Mapping[str, bytes]) -> bool | None:
    """Whether what hangs in a topic of outputs was committed, by the shard hash at the journal's end; None if no record of the shard lies there.
    Raises KafkaError, TimeoutError, MixedFatesError."""
    partition = TopicPartition(topic, shard)
    async with started(clients.uncommitted_reader(), CONNECT_DEADLINE_S) as reader:
        reader.assign([partition])
        fates = {_is_said(message, fields) async for message in messages(reader, partition, *span, CONNECT_DEADLINE_S)} - {None}
    if len(fates) > 1:
        raise MixedFatesError(f"what hangs in {topic} from offset {span[0]} to {span[1]} was committed in part")
    return fates.pop() if fates else None


async def await_end(client: AIOKafkaClient, shard: int, topic: str) -> tuple[int, int] | None:
    """What still hangs in a topic when the marker of a transaction that has ended should have come. Raises KafkaError, TimeoutError."""
    loop = asyncio.get_running_loop()
    until = loop.time() + MARKED_WITHIN_S
    while (left := (await hanging(client, shard)).get(topic)) is not None and loop.time() < until:
        await asyncio.sleep(ASK_MS / 1000)
    return left


async def _by_leader(client: AIOKafkaClient, shard: int) -> Mapping[int, list[Asked]]:
    """What is to be asked of the brokers that lead the shard's partitions."""
    for topic in WRITTEN:
        client.add_topic(topic)
    by_leader: defaultdict[int, list[Asked]] = defaultdict(list)
    for topic in WRITTEN:
        await client._wait_on_metadata(topic)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, shard))
        if leader is None or leader < 0:
            raise LeaderNotAvailableError(topic)
        by_leader[leader].append((topic, [(shard, OffsetResetStrategy.LATEST)]))
    return by_leader


async def _ends(client: AIOKafkaClient, asked: Mapping[int, list[Asked]], isolation_level: int) -> dict[str, int]:
    """Where the topics end for a reader of committed or of all records."""
    found = {}
    for leader, partitions in asked.items():
        answer = await client.send(leader, OffsetRequest(-1, isolation_level, partitions))
        for topic, [(_, code, _, offset, *_)] in answer.topics:
            if code:
                raise for_code(code)(topic)
            found[topic] = offset
    return found


async def _is_told(clients: Clients, shard: int, record: JournalRecord) -> bool:
    """Whether something that a record says is there to be read."""
    async with started(clients.journal_reader(), CONNECT_DEADLINE_S) as reader:
        if record.said:
            before = int(dict(record.fields)[keys.OUTPUTS]) - len(record.said)
            if await newest_output(reader, shard, CONNECT_DEADLINE_S) > before:
                return True
        if not record.dead_letters:
            return False
        partition = TopicPartition(DEAD_LETTERS.name, shard)
        reader.assign([partition])
        begins, end = await bounds(reader, partition, CONNECT_DEADLINE_S)
        first, wanted = max(begins, end - LOOK_BACK - 2 * len(record.dead_letters)), set(map(_place_of, record.dead_letters))
        return any([_origin(message) in wanted async for message in messages(reader, partition, first, end, CONNECT_DEADLINE_S)])


def _is_said(message: Any, fields: Mapping[str, bytes]) -> bool | None:
    """Whether the journal says an output; None of a record that is none of the shard's."""
    told = dict(message.headers)
    if OUTPUT_SEQUENCE_HEADER in told:
        return int(told[OUTPUT_SEQUENCE_HEADER]) <= int(fields.get(keys.OUTPUTS, b"0"))
    origin = _origin(message)
    if origin is None:
        return None
    return origin[1] < int(fields.get(keys.next_offset(origin[0]), b"0"))


def _origin(message: Any) -> tuple[str, int] | None:
    """Topic and offset of the record that a dead letter is; None of what is none."""
    told = dict(message.headers)
    if names.EXCEPTION not in told:
        return None
    return told[names.TOPIC].decode(), int(told[names.OFFSET])


def _place_of(ref: DeadLetterRef) -> tuple[str, int]:
    return ref.topic, ref.offset
