"""Transactions that are over and have no end in the log.

Theory of operation. A transaction's end is decided by its coordinator, who then writes a marker to each partition that took part. A broker that
dies between the two writes the markers when it is back. But Kafka (4.4; `python -m tests.chaos.markers` shows it) takes a partition whose leader
it cannot find just then for one that was deleted ("likely deleted already and hence can be skipped"), and the transaction for complete. What was
written there stays undecided for every reader of committed records; and worse, the next marker of the same transactional id, whatever that is
about, decides it as well.

So an owner looks behind its fence, when no transaction of its predecessors is under way any more, whether something hangs in its shard's
partitions, and aborts it, by a transaction that has no records, only partitions. Whatever becomes of that request, the result is the same: the
next owner's fence aborts it, too. Nobody has read what hung, so nothing is contradicted; but where it was committed something is missing then.
That is *written again*, in a transaction like any other and by the very bytes, which still lie there for whoever reads what is not committed:

- The journal's record, if anybody has seen something of it. Either the store has applied it, so the commit was answered; or what it says is there
  to be read. Where neither is so nobody has, and the inputs are taken again.
- Outputs and dead letters that the journal's last record says and that are not there to be read. Those of the records before it are: each owner
  looks before it commits anything.

Both are looked for at each takeover, whether something hangs or not: an owner may have been killed between the abort and the writing. What
another transactional id has left is that one's: in the journal it is waited for, elsewhere it is nobody's concern here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy

from engine.state import keys
from engine.state.record import JournalRecord, Output
from engine.stream.clients import CONNECT_DEADLINE_S, Clients
from engine.stream.journal import ASK_MS, bounds, last_message, messages, started
from engine.stream.render import OUTPUT_SEQUENCE_HEADER
from schemas import cloudevents as ce
from schemas import dead_letters as names
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, JOURNAL, OUTPUTS

ANNOUNCED: Final = (CHANGES.name, ADVISORIES.name)
OUR_OWN: Final = frozenset((JOURNAL.name, *ANNOUNCED))  # that nobody else writes to
WRITTEN: Final = (JOURNAL.name, *(spec.name for spec in OUTPUTS))
LOOK_BACK: Final = 64  # offsets of dead letters: others write there, too
MARKED_WITHIN_S: Final = 5.0  # a marker follows its transaction's end by some milliseconds

Spans = dict[str, tuple[int, int]]
Asked = tuple[str, list[tuple[int, int]]]  # a topic, and a partition with the moment whose offset is asked for
Place = tuple[str, int]  # of what was announced: its topic and its number; of a dead letter: topic and offset of the record that it is


class Told(NamedTuple):
    """What a shard's topics of outputs have: by topic the number of the newest output and the offset behind it, and the dead letters of the last
    offsets by origin (None: not known). A topic that cannot be read to its end is not there."""

    newest: Mapping[str, tuple[int, int]]
    letters: frozenset[Place] | None

    def is_beyond(self, fields: Mapping[str, bytes]) -> bool:
        """Whether something is there that a shard hash does not know of."""
        counted = int(fields.get(keys.OUTPUTS, b"0"))
        return any(number > counted for number, _ in self.newest.values()) or any(
            offset >= int(fields.get(keys.next_offset(topic), b"0")) for topic, offset in self.letters or ()
        )

    def knows_of(self, record: JournalRecord) -> bool:
        """Whether something that a record says is there."""
        is_announced = any(topic in self.newest and self.newest[topic][0] >= number for topic, number in numbered(record))
        return is_announced or not origins(record).isdisjoint(self.letters or ())

    def lacks(self, record: JournalRecord) -> set[Place]:
        """What of that which a record says is not."""
        announced = {(topic, number) for topic, number in numbered(record) if topic in self.newest and self.newest[topic][0] < number}
        return announced if self.letters is None else announced | (origins(record) - self.letters)


async def hanging(client: AIOKafkaClient, shard: int) -> Spans:
    """From which offset to which one something hangs in each topic that the shard writes to; topics in which nothing does are not there. The
    client is connected: another one for this would make takeovers slower. Raises KafkaError, TimeoutError."""
    async with asyncio.timeout(CONNECT_DEADLINE_S):
        asked = await _by_leader(client, shard)
        stable, ends = [await _ends(client, asked, level) for level in (READ_COMMITTED, READ_UNCOMMITTED)]
    return {topic: (stable[topic], ends[topic]) for topic in WRITTEN if stable[topic] < ends[topic]}


async def await_ends(client: AIOKafkaClient, shard: int) -> Spans:
    """What still hangs when the markers of a transaction that has ended should have come. Raises KafkaError, TimeoutError."""
    loop = asyncio.get_running_loop()
    until = loop.time() + MARKED_WITHIN_S
    while (left := await hanging(client, shard)) and loop.time() < until:
        await asyncio.sleep(ASK_MS / 1000)
    return left


async def told_by(reader: AIOKafkaConsumer, shard: int, letters: int, hanging: Container[str]) -> Told:
    """What the topics of outputs have, but for those in which something hangs still; with so many dead letters among the last. ``reader`` is
    started. Raises KafkaError, TimeoutError."""
    newest = {}
    for topic in ANNOUNCED:
        if topic in hanging:
            continue
        message = await _last(reader, TopicPartition(topic, shard))
        newest[topic] = (0, 0) if message is None else (_number(message), message.offset + 1)
    if DEAD_LETTERS.name in hanging:
        return Told(newest, None)
    found = [_origin(message) async for message in _latest(reader, TopicPartition(DEAD_LETTERS.name, shard), letters)]
    return Told(newest, frozenset(origin for origin in found if origin is not None))


async def last_record(reader: AIOKafkaConsumer, shard: int) -> JournalRecord | None:
    """The journal's last committed record. Raises KafkaError, TimeoutError, ValueError for one that cannot be read."""
    message = await _last(reader, TopicPartition(JOURNAL.name, shard))
    return None if message is None else JournalRecord.decode(message.value)


async def written_records(clients: Clients, application: str, shard: int, sequence: int, first: int) -> Sequence[tuple[int, bytes]]:
    """The records of this sequence that were written to the journal from an offset on, committed or not, with their offsets. Raises KafkaError,
    TimeoutError, ValueError for a record that cannot be read."""
    partition = TopicPartition(JOURNAL.name, shard)
    async with started(clients.uncommitted_reader(), CONNECT_DEADLINE_S) as reader:
        found = [(JournalRecord.decode(message.value), message) async for message in _from(reader, partition, first)]
    return [
        (message.offset, message.value) for record, message in found if (record.application, record.sequence) == (application, sequence)
    ]


async def written_outputs(clients: Clients, shard: int, record: JournalRecord, told: Told) -> list[Output]:
    """What a record says and is not there to be read, as it was written. What is not found is not there. Raises KafkaError, TimeoutError."""
    lacking, said = told.lacks(record), set(record.said)
    found: dict[Place, Output] = {}
    async with started(clients.uncommitted_reader(), CONNECT_DEADLINE_S) as reader:
        for topic, (_, behind) in told.newest.items():
            async for message in _from(reader, TopicPartition(topic, shard), behind):
                output = _output(topic, message)
                if output.ref in said:
                    found[topic, _number(message)] = output
        async for message in _latest(reader, TopicPartition(DEAD_LETTERS.name, shard), len(record.dead_letters)):
            origin = _origin(message)
            if origin is not None:
                found[origin] = _output(DEAD_LETTERS.name, message)
    return [output for place, output in found.items() if place in lacking]


def numbered(record: JournalRecord) -> list[Place]:
    """Topics and numbers of what a record announces."""
    newest = int(dict(record.fields).get(keys.OUTPUTS, b"0"))
    return [(ref.topic, number) for number, ref in enumerate(record.said, newest - len(record.said) + 1)]


def origins(record: JournalRecord) -> set[Place]:
    """The records that are dead letters by a record."""
    return {(ref.topic, ref.offset) for ref in record.dead_letters}


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


async def _last(reader: AIOKafkaConsumer, partition: TopicPartition) -> Any:
    """The last message of a partition that the reader may read, None if there is none."""
    reader.assign([partition])
    return await last_message(reader, partition, *await bounds(reader, partition, CONNECT_DEADLINE_S), CONNECT_DEADLINE_S)


async def _from(reader: AIOKafkaConsumer, partition: TopicPartition, first: int) -> AsyncIterator[Any]:
    """The messages of a partition from an offset on."""
    reader.assign([partition])
    begins, end = await bounds(reader, partition, CONNECT_DEADLINE_S)
    async for message in messages(reader, partition, max(begins, first), end, CONNECT_DEADLINE_S):
        yield message


async def _latest(reader: AIOKafkaConsumer, partition: TopicPartition, count: int) -> AsyncIterator[Any]:
    """The messages of a partition's last offsets: so many that this count of them, written twice, is among them."""
    reader.assign([partition])
    begins, end = await bounds(reader, partition, CONNECT_DEADLINE_S)
    async for message in messages(reader, partition, max(begins, end - LOOK_BACK - 4 * count), end, CONNECT_DEADLINE_S):
        yield message


def _number(message: Any) -> int:
    return int(dict(message.headers)[OUTPUT_SEQUENCE_HEADER])


def _origin(message: Any) -> Place | None:
    """The record that a dead letter is; None of what is none."""
    told = dict(message.headers)
    if names.EXCEPTION not in told:
        return None
    return told[names.TOPIC].decode(), int(told[names.OFFSET])


def _output(topic: str, message: Any) -> Output:
    """A message as it was handed over to be written: the time is added then, but to a dead letter."""
    own = tuple((name, value) for name, value in message.headers if topic == DEAD_LETTERS.name or name != ce.TIME)
    return Output(topic, message.key, message.value, own)
