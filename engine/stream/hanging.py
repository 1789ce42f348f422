"""Transactions that are over and have no end in the log.

Theory of operation. A transaction's end is decided by its coordinator, who then writes a marker to each partition that took part. A broker that
dies between the two writes the markers when it is back. But Kafka (4.4; `python -m tests.chaos.markers` shows it) takes a partition whose leader
it cannot find just then for one that was deleted ("likely deleted already and hence can be skipped"), and the transaction for complete. What was
written there stays undecided for every reader of committed records; and worse, the next marker of the same transactional id, whatever that is
about, decides it as well.

So an owner looks behind its fence, when no transaction of its predecessors is under way any more, whether something hangs in its shard's
partitions, and aborts it, by a transaction that has no records, only partitions. Whatever becomes of that request, the result is the same: the
next owner's fence aborts it, too. Nobody has read what hung, so nothing is contradicted; but where it was committed something is missing then,
and perhaps the store has applied it, or still will: a call that was sent may come late. So it is *written again*, in a transaction like any other
and by the very bytes, which still lie there for whoever reads what is not committed:

- The journal's record that the store has applied, and that is not committed where it was.
- An *attempt*: a record of the sequence that comes next, all of whose outputs and dead letters are there or lie there. It may have been
  committed. If it was not, it is as good as what the same inputs would give now; if something of it lacks, it was not. More than one that is
  whole are the same, since the first of them was written again.
- Outputs and dead letters that the journal's last record says and that are not there to be read. Those of the records before it are: each owner
  looks before it commits anything.

This is looked for at each takeover, whether something hangs or not: an owner may have been killed between the abort and the writing. What
another transactional id has left is that one's: dead letters, and where they hang it is waited for if the shard has some of its own that may lie
behind; or the beginning by which all shards begin anew together (``engine.stream.move``), without which the shard must not go on.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy

from engine.state import keys
from engine.state.outputs import Output
from engine.state.record import JournalRecord
from engine.stream.backlog import letter_of
from engine.stream.clients import CONNECT_DEADLINE_S, Clients
from engine.stream.journal import ASK_MS, bounds, last_message, messages, started
from engine.stream.render import OUTPUT_SEQUENCE_HEADER
from schemas import cloudevents as ce
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, JOURNAL, OUTPUTS

ANNOUNCED: Final = (CHANGES.name, ADVISORIES.name)
OUR_OWN: Final = frozenset((JOURNAL.name, *ANNOUNCED))  # that nobody else writes to
WRITTEN: Final = (JOURNAL.name, *(spec.name for spec in OUTPUTS))
LOOK_BACK: Final = 64  # offsets of dead letters: others write there, too
BEHIND_LAST: Final = 2  # the last record's marker, and what comes next
MARKED_WITHIN_S: Final = 5.0  # a marker follows its transaction's end by some milliseconds

Asked = tuple[str, list[tuple[int, int]]]  # a topic, and a partition with the moment whose offset is asked for
Place = tuple[str, int]  # of what was announced: its topic and its number; of a dead letter: topic and offset of the record that it is


class Ends(NamedTuple):
    """Where the topics end that a shard writes to, by topic: for readers of committed records, and of all."""

    stable: Mapping[str, int]
    written: Mapping[str, int]

    @property
    def hanging(self) -> Mapping[str, int]:
        """From which offset on something hangs, in each topic in which something does."""
        return {topic: offset for topic, offset in self.stable.items() if offset < self.written[topic]}


class Told(NamedTuple):
    """What a shard's topics of outputs have: by topic the number of the newest output and the offset behind it, and the dead letters of the last
    offsets by origin; ``is_complete``: those are all, nothing hangs behind them."""

    newest: Mapping[str, tuple[int, int]]
    letters: frozenset[Place]
    is_complete: bool

    @property
    def announced(self) -> int:
        """The number of the newest output."""
        return max(number for number, _ in self.newest.values())

    def lacks(self, record: JournalRecord) -> list[Place]:
        """What of that which a record says is not there, in the order in which it says it."""
        announced = [(topic, number) for topic, number in numbered(record) if self.newest[topic][0] < number]
        return announced + [origin for origin in origins(record) if origin not in self.letters]


class Written(NamedTuple):
    """A record of the journal, where and as it was written, committed or not."""

    offset: int
    record: JournalRecord
    raw: bytes


class Left(NamedTuple):
    """What a shard's topics have behind what the store has applied: the journal's last committed record, attempts at the next one (the newest
    first), what is told, and the command, if there is one, that was to begin all shards anew together and may have begun others."""

    last: JournalRecord | None
    attempts: Sequence[Written]
    told: Told
    unsettled: bytes = b""


async def ends_of(client: AIOKafkaClient, shard: int, topics: Sequence[str] = WRITTEN) -> Ends:
    """The client is connected: another one for this would make takeovers slower. Raises KafkaError, TimeoutError."""
    async with asyncio.timeout(CONNECT_DEADLINE_S):
        asked = await _by_leader(client, shard, topics)
        return Ends(*[await _ends(client, asked, level) for level in (READ_COMMITTED, READ_UNCOMMITTED)])


async def await_ends(client: AIOKafkaClient, shard: int, topics: Sequence[str] = WRITTEN) -> Ends:
    """The ends when nothing hangs any more, or when the markers of a transaction that has ended should have come. Raises KafkaError,
    TimeoutError."""
    loop = asyncio.get_running_loop()
    until = loop.time() + MARKED_WITHIN_S
    while (ends := await ends_of(client, shard, topics)).hanging and loop.time() < until:
        await asyncio.sleep(ASK_MS / 1000)
    return ends


async def left(clients: Clients, application: str, shard: int, applied: int, offset: int, ends: Ends) -> Left:
    """What is behind the record that a store has applied last, of this sequence and at this offset of the journal. Raises KafkaError,
    TimeoutError, ValueError for a record that cannot be read."""
    found: list[Written] = []
    if ends.written[JOURNAL.name] > offset + BEHIND_LAST:
        found = await written_records(clients, application, shard, applied + 1, offset)
    attempts = [written for written in reversed(found) if not written.record.is_beginning]
    async with started(clients.journal_reader(), CONNECT_DEADLINE_S) as reader:
        message = await _last(reader, TopicPartition(JOURNAL.name, shard))
        last = None if message is None else JournalRecord.decode(message.value)
        records = [written.record for written in attempts] + ([] if last is None else [last])
        told = await told_by(reader, shard, max((len(record.dead_letters) for record in records), default=0), ends)
    return Left(last, attempts, told, max((written.record.begun_together for written in found), default=b""))


async def told_by(reader: AIOKafkaConsumer, shard: int, letters: int, ends: Ends) -> Told:
    """What the topics of outputs have, so many dead letters among the last; ``reader`` is started. Raises KafkaError, TimeoutError."""
    newest = {}
    for topic in ANNOUNCED:
        message = await _last(reader, TopicPartition(topic, shard))
        newest[topic] = (0, 0) if message is None else (_number(message), message.offset + 1)
    found = [_origin(message) async for message in _latest(reader, shard, letters)] if letters else []
    return Told(newest, frozenset(origin for origin in found if origin is not None), DEAD_LETTERS.name not in ends.hanging)


async def written_records(clients: Clients, application: str, shard: int, sequence: int, first: int) -> list[Written]:
    """The records of this sequence that were written to the journal from an offset on. Raises KafkaError, TimeoutError, ValueError for a record
    that cannot be read."""
    partition = TopicPartition(JOURNAL.name, shard)
    async with started(clients.uncommitted_reader(), CONNECT_DEADLINE_S) as reader:
        found = [
            Written(message.offset, JournalRecord.decode(message.value), message.value) async for message in _from(reader, partition, first)
        ]
    return [written for written in found if (written.record.application, written.record.sequence) == (application, sequence)]


async def written_outputs(clients: Clients, shard: int, record: JournalRecord, told: Told) -> list[Output]:
    """What a record says and is not there to be read, as it was written, in its order. What is not found is left out. Raises KafkaError,
    TimeoutError."""
    lacking, said = told.lacks(record), set(record.said)
    found: dict[Place, Output] = {}
    if not lacking:
        return []
    async with started(clients.uncommitted_reader(), CONNECT_DEADLINE_S) as reader:
        for topic, (_, behind) in told.newest.items():
            async for message in _from(reader, TopicPartition(topic, shard), behind):
                output = _output(topic, message)
                if output.ref in said:
                    found[topic, _number(message)] = output
        if record.dead_letters:
            async for message in _latest(reader, shard, len(record.dead_letters)):
                origin = _origin(message)
                if origin is not None:
                    found[origin] = _output(DEAD_LETTERS.name, message)
    return [found[place] for place in lacking if place in found]


def is_whole(found: Sequence[Output], lacking: Sequence[Place]) -> bool:
    """Whether all that was lacking was found. An attempt of which it was not cannot have been committed."""
    return len(found) == len(lacking)


def numbered(record: JournalRecord) -> list[Place]:
    """Topics and numbers of what a record announces."""
    newest = int(dict(record.fields).get(keys.OUTPUTS, b"0"))
    return [(ref.topic, number) for number, ref in enumerate(record.said, newest - len(record.said) + 1)]


def origins(record: JournalRecord) -> list[Place]:
    """The records that are dead letters by a record."""
    return [(ref.topic, ref.offset) for ref in record.dead_letters]


async def _by_leader(client: AIOKafkaClient, shard: int, topics: Sequence[str]) -> Mapping[int, list[Asked]]:
    """What is to be asked of the brokers that lead the shard's partitions."""
    for topic in topics:
        client.add_topic(topic)
    by_leader: defaultdict[int, list[Asked]] = defaultdict(list)
    for topic in topics:
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


async def _latest(reader: AIOKafkaConsumer, shard: int, count: int) -> AsyncIterator[Any]:
    """The last messages of a shard's dead letters: so many that this count of them, written twice, is among them."""
    partition = TopicPartition(DEAD_LETTERS.name, shard)
    reader.assign([partition])
    begins, end = await bounds(reader, partition, CONNECT_DEADLINE_S)
    async for message in messages(reader, partition, max(begins, end - LOOK_BACK - 4 * count), end, CONNECT_DEADLINE_S):
        yield message


def _number(message: Any) -> int:
    return int(dict(message.headers)[OUTPUT_SEQUENCE_HEADER])


def _origin(message: Any) -> Place | None:
    """The shard's record that a dead letter is; None of what is none."""
    letter = letter_of(message)
    return None if letter is None or letter.origin.partition != message.partition else (letter.origin.topic, letter.origin.offset)


def _output(topic: str, message: Any) -> Output:
    """A message as it was handed over to be written: the time is added then, but to a dead letter."""
    own = tuple((name, value) for name, value in message.headers if topic == DEAD_LETTERS.name or name != ce.TIME)
    return Output(topic, message.key, message.value, own)
