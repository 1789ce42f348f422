"""The protocol with one guard taken out each: what the simulation must catch, or it would not catch the guard's loss either."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest import mock
from weakref import WeakSet

from aiokafka import TopicPartition
from aiokafka.producer.sender import AddPartitionsToTxnHandler

from engine.core.layout import Topic
from engine.core.packed import Packed
from engine.state.cache import AccountCache
from engine.state.memory_store import MemoryStore
from engine.state.outputs import NO_OUTPUTS, Outputs
from engine.state.record import JournalRecord
from engine.state.states import NO_STATES
from engine.state.store import Loaded
from engine.stream import hanging, journal, producer, shard
from engine.stream.journal import JournalEntry
from engine.stream.producer import ShardProducer
from engine.stream.shard import Shard
from engine.stream.turn import DecisionMachine
from schemas.topics import JOURNAL
from tests.simulation.clients import JournalReader, SimulatedClients
from tests.simulation.members import Consumer

OFTEN: Final = 0.3
Patch = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """A guard that is missing, and within how many seeds that must be seen; of what a broker's death brings in worlds where it dies often."""

    name: str
    within: int
    patch: Patch
    deaths: float | None = None


def method(owner: Any, name: str, make: Callable[[Any], Any]) -> Patch:
    """A method in the place of another, made of that one."""
    return lambda: mock.patch.object(owner, name, make(getattr(owner, name)))


def doubt_as_failure(catch_up: Any) -> Any:
    """A commit in doubt is taken as failed: who had the shard already does not look into the journal."""

    async def mutated(self: Shard) -> dict[str, bytes]:
        fields: dict[str, bytes] = await (self._store.shard_fields() if self.progress.commits else catch_up(self))
        return fields

    return mutated


def apply_unchecked(apply: Any) -> Any:
    """Every record is applied, whatever the store has applied."""

    async def mutated(self: MemoryStore, record: JournalRecord, journal_offset: int) -> int:
        self._fields["sequence"] = b"%d" % (record.sequence - 1)
        applied: int = await apply(self, record, journal_offset)
        return applied

    return mutated


@contextmanager
def journal_before_fencing() -> Iterator[None]:
    """The predecessor is fenced when the journal was read."""
    catch_up, start, started = Shard._catch_up, ShardProducer.start, WeakSet[ShardProducer]()

    async def not_yet(self: ShardProducer) -> None:
        return

    async def mutated(self: Shard) -> dict[str, bytes]:
        fields = await catch_up(self)
        assert self._producer is not None
        if self._producer not in started:
            started.add(self._producer)
            await start(self._producer)
        return fields

    with mock.patch.object(ShardProducer, "start", not_yet), mock.patch.object(Shard, "_catch_up", mutated):
        yield


def two_records(commit: Any) -> Any:
    """A commit in two journal records: the state, then what is announced."""

    async def mutated(self: Shard, record: JournalRecord, journal: bytes, dead: Outputs) -> None:
        if not record.outputs:
            await commit(self, record, journal, dead)
            return
        state = replace(record, outputs=NO_OUTPUTS)
        await commit(self, state, state.encode(), dead)
        said = replace(record, sequence=record.sequence + 1, cuts=(), accounts=NO_STATES, dead_letters=(), events=0)
        self._machine._sequence += 1
        await commit(self, said, said.encode(), NO_OUTPUTS)

    return mutated


def failed_sends_ignored(hand_over: Any) -> Any:
    """What is announced is handed over, and nobody looks whether it was taken."""

    async def mutated(self: ShardProducer, topic: str, outputs: Outputs, now_ms: int) -> list[Any]:
        sent: list[Any] = await hand_over(self, topic, outputs, now_ms)
        return sent if topic == JOURNAL.name else []

    return mutated


def unobserved_store(load: Any) -> Any:
    """An owner that has nothing to do does not look whether the store still is where it was."""

    async def mutated(self: Shard, accounts: Packed) -> Loaded:
        loaded: Loaded = await load(self, accounts) if accounts else Loaded(self._machine.sequence, accounts)
        return loaded

    return mutated


def unchecked_load(_: Any) -> Any:
    """What is loaded is taken, whatever the store has applied."""
    return lambda self, applied: None


def kept_cache(restore: Any) -> Any:
    """After a doubt the cached accounts are not forgotten."""

    def mutated(self: DecisionMachine, fields: Mapping[str, bytes]) -> None:
        with mock.patch.object(AccountCache, "forget"):
            restore(self, fields)

    return mutated


def not_asking_the_group(_: Any) -> Any:
    """Who was fenced does not wait until the group confirms that the shard is its own."""

    async def mutated(self: Consumer) -> None:
        return

    return mutated


def position_of_its_own(offsets: Any) -> Any:
    """An owner that had the shard goes on from where it had read, not from where the state is."""

    async def mutated(self: Shard, fields: Mapping[str, bytes]) -> dict[Topic, int]:
        found: dict[Topic, int] = await offsets(self, fields)
        return self._alignment.positions() if self.progress.commits else found

    return mutated


def uncommitted_too(_: Any) -> Any:
    """The journal is read with what is not committed."""

    def mutated(self: Any) -> JournalReader:
        return JournalReader(self._broker, self._network, sees_uncommitted=True)

    return mutated


def gaps_unseen(_: Any) -> Any:
    """That the journal no longer reaches back far enough is not noticed."""

    async def mutated(
        consumer: JournalReader, application: str, number: int, first: int, sequence: int, outputs: int, deadline_s: float
    ) -> AsyncIterator[JournalEntry]:
        partition = TopicPartition(JOURNAL.name, number)
        await consumer.start()
        begins, end = (await consumer.beginning_offsets([partition]))[partition], (await consumer.end_offsets([partition]))[partition]
        consumer.seek(partition, max(first, begins))
        while await consumer.position(partition) < end:
            for message in (await consumer.getmany(partition, 1000)).get(partition, []):
                assert message.value is not None
                yield JournalEntry(message.offset, JournalRecord.decode(message.value))

    return mutated


@contextmanager
def unannounced() -> Iterator[None]:
    """Nobody looks at how much was announced."""
    with (
        mock.patch.object(journal, "newest_output", mock.AsyncMock(return_value=0)),
        mock.patch.object(hanging.Told, "announced", 0),
    ):
        yield


def nothing_written_again(_: Any) -> Any:
    """What was aborted for want of an end is not written again."""

    async def mutated(*_: Any) -> list[Any]:
        return []

    return mutated


def always(_: Any) -> Any:
    """Whatever is asked, it is so."""
    return lambda *_: True


def not_moved(apply: Any) -> Any:
    """Of what was written again the store does not note where."""

    async def mutated(self: MemoryStore, record: JournalRecord, journal_offset: int) -> int:
        if record.sequence <= self._applied():
            return self._applied()
        applied: int = await apply(self, record, journal_offset)
        return applied

    return mutated


@contextmanager
def begun_behind_a_cut() -> Iterator[None]:
    """A connection that broke is nothing: the next transaction is begun by the same producer, and its partitions are asked for again."""
    with mock.patch.object(ShardProducer, "_note_cuts"), mock.patch.object(producer, "_OnceAddPartitions", AddPartitionsToTxnHandler):
        yield


MUTANTS: Final = (
    Mutant("a commit in doubt is taken as failed", 20, method(Shard, "_catch_up", doubt_as_failure)),
    Mutant("records are applied without the sequence check", 20, method(MemoryStore, "apply", apply_unchecked)),
    Mutant("the journal is read before fencing", 300, journal_before_fencing),
    Mutant("a commit request is repeated in its epoch", 500, lambda: mock.patch.object(producer, "_OnceSender", producer.DroppableSender)),
    Mutant("a commit in two journal records", 1_000, method(Shard, "_commit", two_records)),
    Mutant("accounts are loaded without looking at what is applied", 300, method(Shard, "_check_applied", unchecked_load)),
    Mutant("failed sends are committed", 300, method(ShardProducer, "_hand_over", failed_sends_ignored)),
    Mutant("an idle owner does not look at the store", 100, method(Shard, "_load_checked", unobserved_store)),
    Mutant("the cache outlives a doubt", 100, method(DecisionMachine, "restore", kept_cache)),
    Mutant("an owner goes on from its own position", 100, method(Shard, "_offsets", position_of_its_own)),
    Mutant("who was fenced does not ask the group", 300, method(Consumer, "ownership_confirmed", not_asking_the_group)),
    Mutant("the journal is read uncommitted", 300, method(SimulatedClients, "journal_reader", uncommitted_too)),
    Mutant("a gap in the journal is not seen", 300, method(shard, "read_journal", gaps_unseen)),
    Mutant("nobody looks at how much was announced", 2_000, unannounced),
    Mutant("what hangs is left so", 100, lambda: mock.patch.object(hanging.Ends, "hanging", {}), OFTEN),
    Mutant("what the store has applied is not written again", 300, method(shard, "written_records", nothing_written_again), OFTEN),
    Mutant("an attempt that may be committed is not written again", 300, method(hanging, "written_records", nothing_written_again), OFTEN),
    Mutant("an attempt that is not whole is written again", 300, method(shard, "is_whole", always), OFTEN),
    Mutant("where it is written again is not noted", 500, method(MemoryStore, "apply", not_moved), OFTEN),
    Mutant("outputs are not written again", 300, method(shard, "written_outputs", nothing_written_again), OFTEN),
    Mutant("a transaction is begun behind a cut", 500, begun_behind_a_cut, OFTEN),
)
