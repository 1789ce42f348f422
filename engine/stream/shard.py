"""The owner of one shard: takes it over, decides batch by batch, commits, applies. PROTOCOL's steps by their numbers.

Theory of operation. The journal is the truth and the store is what it says so far. Whatever goes wrong or is in doubt (a commit without an
answer, a store that is older or further than expected, another owner) ends in the same place: the producer is dropped, the machine's memory is
forgotten, and the shard is taken over again, from the journal. So there is one way back, and it is the way in.

Only two things are waited out where they are: a store that is away (reading is harmless, and applying the same record again is too), and the
absence of input. A reason that no waiting mends stops this shard alone, by name and with its cure.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

import structlog
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from engine.connections import forbidden
from engine.core.layout import MISSING, Topic
from engine.core.packed import Packed
from engine.errors import EngineError
from engine.policy.errors import PolicyErrors
from engine.settings import Settings
from engine.state import keys
from engine.state.cache import Room
from engine.state.codec import StateFormatError
from engine.state.outputs import NO_OUTPUTS, Output, Outputs
from engine.state.record import JournalRecord
from engine.state.redis_store import StoreAway
from engine.state.store import OTHER_JOURNAL, Loaded, ShardStore, applied_of
from engine.stream.alignment import Alignment, GapError
from engine.stream.clients import CONNECT_DEADLINE_S, Clients
from engine.stream.dead_letters import RejectLimit, dead_letters
from engine.stream.fetched import DamagedBatchError
from engine.stream.hanging import OUR_OWN, Ends, Told, Written, await_ends, ends_of, is_whole, left, written_outputs, written_records
from engine.stream.in_force import Version
from engine.stream.journal import JournalEndsError, JournalMismatchError, NotCommittedError, UnrecordedError, read_journal, unrecorded
from engine.stream.producer import CommitInDoubtError, CommitRefusedError, FencedError, ShardProducer
from engine.stream.progress import Progress, State
from engine.stream.records import Batch, Delivery
from engine.stream.refusals import NEWER_ENGINE, ShardStoppedError, damaged, may_evict, position_gone, refuse, refuse_to_apply, unfinished
from engine.stream.stages import Stage
from engine.stream.sweep import Pace, Portion, Rest
from engine.stream.topics_watch import Topics
from engine.stream.turn import DecisionMachine, Prepared
from schemas.topics import DEAD_LETTERS, INPUTS, JOURNAL

T = TypeVar("T")
log = structlog.get_logger("shard")

ENDED: Final = "a transaction has no end: it is aborted, and written again if it was committed"
AGAIN: Final = "what may have been committed is written again"
HEARTBEAT_S: Final = 1.0
REFUSALS_MAX: Final = 3  # of a commit, one after the other, until it is believed that waiting does not help
CATCHING_UP_TOLD_S: Final = 5.0
BATCHES_APART_S: Final = 0.05  # begin at least, where not even half of a largest one lies here: each costs worker and broker some ms
BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
STORE_BACKOFF_S: Final = (0.1, 0.2, 0.5)  # to ask a store is cheap, and one that is back is waited for no longer than that
FLOW_AGAIN_SHARE: Final = 0.5
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024  # of input; all of it may become dead letters


class StartAgainError(Exception):
    """What is known here is not what the store says: take the shard over again."""


class Inputs(Protocol):
    """What a shard asks of the transport that feeds it."""

    async def seek(self, shard: int, positions: Mapping[Topic, int]) -> None:
        """Continue a shard's topics from these offsets, and let them flow."""

    async def beginnings(self, shard: int, topics: Iterable[Topic]) -> Mapping[Topic, int]:
        """The first offsets that topics have for a shard. Raises KafkaError."""

    async def hold(self, shard: int, topic: Topic, *, held: bool) -> None:
        """Stop fetching a topic's partition, or let it flow again."""

    def room_bytes(self) -> int:
        """How much more memory the records of all shards together may take; below 0 where they take more already."""

    def batch_share(self) -> float:
        """What part of the largest batch a shard's batch may have: batches of all shards are under way at once."""

    @property
    def topics(self) -> Topics:
        """The topics, as they were at the start and as they are."""

    async def ownership_confirmed(self) -> None:
        """Return when the group has answered a heartbeat that began after this call."""


class Shard:
    """Owns shard ``number`` until it leaves, or its ``run`` is cancelled."""

    def __init__(self, number: int, settings: Settings, store: ShardStore, inputs: Inputs, clients: Clients) -> None:
        self.number = number
        self.progress = Progress(log.bind(shard=number))
        self._settings = settings
        self._store = store
        self._inputs = inputs
        self._clients = clients
        at_start = inputs.topics.at_start
        self._partitions = at_start.shards
        room = Room(settings.shard.cache_accounts, settings.shard.cache_bytes)
        self._machine = DecisionMachine(settings.application, number, self._partitions, settings.key, room)
        self._machine.stages = self._stages = self.progress.stages
        self._machine.topic_ids = at_start.ids
        self._alignment = Alignment()
        self._rejects = RejectLimit(settings.shard.reject_ratio_max, settings.shard.reject_run_max)
        self._producer: ShardProducer | None = None
        self._held: set[Topic] = set()
        self._wake = asyncio.Event()
        self._portion = Portion()
        self._pace = Pace(settings.shard.sweep_per_second)
        self._rest = Rest()
        self._began_at = -BATCHES_APART_S  # when the last batch was begun
        self._is_open = False  # whether deliveries are taken
        self._is_ending = self._is_leaving = False  # a transaction is ended; the shard is given up
        self._is_behind = False  # whether the journal seemed to end before what the store has applied
        self._gone: Delivery | None = None  # a topic does not have the records that come next
        self._gone_before: tuple[int, Topic, int] | None = None  # the sequence, topic and offset at which that was so before
        self._problem: ShardStoppedError | None = None  # that was seen from outside
        self._where = f"shard {number}"

    # What the transport calls

    def positions(self) -> dict[Topic, int] | None:
        """Where each topic continues, None while that is not known."""
        return self._alignment.positions() if self._is_open else None

    async def deliver(self, delivery: Delivery) -> None:
        """Take what a fetch brought; nothing while the shard is being taken over (it will seek)."""
        if not self._is_open:
            return
        topic = delivery.chunk.topic
        if delivery.is_gone:
            self._gone = delivery
            self._wake.set()
            return
        try:
            self._alignment.offer(delivery)
        except GapError as gap:
            self.progress.log.info("seek", reason=str(gap))
            await self._inputs.seek(self.number, self._alignment.positions())
            return
        self._wake.set()
        if self._is_full(topic):  # said each time: a seek lets a topic flow again
            self._held.add(topic)
            await self._inputs.hold(self.number, topic, held=True)

    def _is_full(self, topic: Topic, share: float = 1.0) -> bool:
        """Whether a topic's buffer holds at least this share of what it may: of memory, as much as is left for all of them. So one alone gets
        half of it, and of n each somewhat less than an n-th. One that holds nothing is never full: the merge may wait for it."""
        held, room = self._alignment.buffered_bytes(topic), max(0, self._inputs.room_bytes())
        return held > 0 and (self._alignment.buffered(topic) >= self._settings.shard.buffer_records * share or held >= room * share)

    def memory_bytes(self) -> int:
        """How much memory the records take that were read and not taken yet, about."""
        return self._alignment.memory_bytes()

    def lag(self) -> int:
        """Records that could be read and were not taken yet."""
        return self._alignment.lag()

    # What the worker calls now and then

    def stop(self, problem: EngineError) -> None:
        """Go no further than the batch at hand, for this reason."""
        self._problem = ShardStoppedError(problem.what, where=problem.where, cure=problem.cure)
        self._wake.set()

    def leave(self) -> bool:
        """Whether a transaction is being ended; when that is done the shard ends by itself, as if cancelled."""
        self._is_leaving = True
        return self._is_ending

    async def look_at_store(self) -> None:
        """Stop when the store may not hold limits any more."""
        if not self._is_open:
            return
        try:
            problem = await self._store.problem()
        except StoreAway:
            return  # the shard itself will wait for it, and say so
        if problem is not None:
            self.stop(may_evict(self._where, problem))

    # The owner's life

    async def run(self) -> None:
        """Own the shard until it leaves, is cancelled or stopped."""
        failures, refusals = 0, 0  # since the last commit
        try:
            while True:
                before = self.progress.commits
                try:
                    await self._take_over()
                    while True:
                        await self._turn()
                except (CommitInDoubtError, StartAgainError, StoreAway) as doubt:
                    failures, refusals = (0, 0) if self.progress.commits > before else (failures + 1, refusals)
                    if isinstance(doubt, CommitRefusedError):
                        refusals += 1
                        if refusals == REFUSALS_MAX:
                            raise ShardStoppedError(str(doubt), where=self._where, cure=doubt.cure) from doubt
                    await self._step_back(doubt, failures)
        except ShardStoppedError as stop:
            self.progress.enter(State.STOPPED, str(stop))
            self.progress.log.error("stopped", reason=stop.what, cure=stop.cure)
            for topic in Topic:
                await self._inputs.hold(self.number, topic, held=True)
        finally:
            self._drop_producer()
            self._is_open = False

    def _drop_producer(self) -> None:
        if self._producer is not None:
            self._producer.drop()
            self._producer = None

    async def _step_back(self, doubt: Exception, failures: int) -> None:
        """Forget everything, and wait a while before taking the shard over again (step 7 for a fenced owner)."""
        self._is_open = False
        self._drop_producer()
        self.progress.enter(State.WAITING, f"to take over again: {doubt}")
        if isinstance(doubt, FencedError):
            await self._inputs.ownership_confirmed()
        await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)] * random.uniform(0.5, 1.0))

    # Taking over

    async def _take_over(self) -> None:
        self.progress.enter(State.TAKING_OVER)
        # 1. Fence: whatever was read before it is worthless.
        producer = self._clients.producer(f"{self._settings.application}-{self.number}")
        self._producer = ShardProducer(producer, self.number, self._settings.kafka.commit_deadline_s)
        await self._producer.start()
        # 3. Refuse.
        await self._confirm_topics()
        problem = await self._patiently(self._store.problem)
        if problem is not None:
            raise may_evict(self._where, problem)
        # 2. Catch up: the store brought to the end of the journal, which has one.
        ends = await self._abort_what_hangs()
        fields = await self._catch_up()
        refuse(self._where, fields, self._partitions, self._machine.topic_ids)
        while await self._write_again(fields, ends):
            ends, fields = await self._await_ends(), await self._catch_up()
        self._is_behind = False
        try:
            self._machine.restore(fields)
        except (PolicyErrors, ValueError) as error:
            raise ShardStoppedError(f"the policy in its state cannot be read: {error}", where=self._where, cure=NEWER_ENGINE) from error
        clocks = {topic: fields.get(keys.topic_clock(spec.name)) for topic, spec in zip(Topic, INPUTS, strict=True)}
        offsets = await self._offsets(fields)
        self._alignment.restore(
            offsets,
            {topic: int(clock) for topic, clock in clocks.items() if clock is not None},
            int(fields.get(keys.TICK_MS, str(MISSING))),
        )
        # 4. Seek, and let the topics flow.
        self._held.clear()
        self._gone = self._problem = None
        self._rejects = RejectLimit(self._settings.shard.reject_ratio_max, self._settings.shard.reject_run_max)
        self._is_open = True
        await self._inputs.seek(self.number, offsets)
        self.progress.move()
        self._pace.begin(time.monotonic())
        self.progress.enter(State.RUNNING)
        self._note_machine()

    async def _abort_what_hangs(self) -> Ends:
        """End what hangs in the shard's topics (``engine.stream.hanging``), unless they are not those that its state was made from."""
        assert self._producer is not None
        with self._reading("the ends of the topics"):
            ends = await ends_of(self._producer.client, self.number)
        hangs = ends.hanging
        if not hangs:
            return ends
        refuse_to_apply(self._where, await self._patiently(self._store.shard_fields), self._machine.topic_ids)
        self.progress.log.warning(ENDED, topics=sorted(hangs), offsets=[hangs[topic] for topic in sorted(hangs)])
        await self._producer.abort(sorted(hangs))
        return await self._await_ends()

    async def _await_ends(self) -> Ends:
        """The ends of the topics, when those have one that nobody else writes to."""
        assert self._producer is not None
        with self._reading("the ends of the topics"):
            ends = await await_ends(self._producer.client, self.number)
        for topic in sorted(ends.hanging.keys() & OUR_OWN):
            what = f"{topic} has no end of a transaction from offset {ends.hanging[topic]} on still"
            raise StartAgainError(f"{what}; if `limit-engine reshard` or `rebuild` has left it, stop the workers and run that again")
        return ends

    async def _write_again(self, fields: Mapping[str, bytes], ends: Ends) -> bool:
        """Write again what was written and is not there (``engine.stream.hanging``); the store is at the journal's end. Whether that was a record
        of the journal."""
        applied, offset = applied_of(fields), int(fields.get(keys.JOURNAL_OFFSET, b"-1"))
        with self._reading("what is left behind"):
            last, attempts, told, unsettled = await left(self._clients, self._settings.application, self.number, applied, offset, ends)
        if unsettled:
            raise unfinished(self._where, unsettled)
        for attempt in attempts:
            outputs = await self._written(attempt.record, told)
            if is_whole(outputs, told.lacks(attempt.record)):
                await self._write_record_again(attempt, outputs)
                return True
        counted = int(fields.get(keys.OUTPUTS, b"0"))
        if told.announced > counted:
            raise self._mismatched(unrecorded(applied + 1, told.announced, counted))
        if last is not None and last.sequence == applied and (outputs := await self._written(last, told)):
            assert self._producer is not None
            self.progress.log.warning(AGAIN, topics=sorted({output.topic for output in outputs}), records=len(outputs))
            await self._producer.announce(Outputs.of(outputs))
        return False

    async def _written(self, record: JournalRecord, told: Told) -> list[Output]:
        """What a record says and is not told, as it was written."""
        if not told.is_complete and any(topic not in OUR_OWN for topic, _ in told.lacks(record)):
            raise StartAgainError(f"{DEAD_LETTERS.name} has no end of another one's transaction: what lies behind it is not known")
        with self._reading("what is left behind"):
            return await written_outputs(self._clients, self.number, record, told)

    async def _write_applied_again(self, fields: Mapping[str, bytes]) -> bool:
        """Write the journal's record again that the store has applied. Whether it still lies there."""
        applied, offset = applied_of(fields), int(fields[keys.JOURNAL_OFFSET])
        with self._reading("what is left behind"):
            found = await written_records(self._clients, self._settings.application, self.number, applied, offset)
        for written in found:
            if written.offset == offset:
                await self._write_record_again(written, [])
                await self._await_ends()
                return True
        return False

    async def _write_record_again(self, written: Written, outputs: Sequence[Output]) -> None:
        assert self._producer is not None
        topics = [JOURNAL.name, *sorted({output.topic for output in outputs})]
        self.progress.log.warning(AGAIN, topics=topics, sequence=written.record.sequence)
        await self._producer.commit(written.raw, Outputs.of(outputs))

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """What it means when the shard's own topics cannot be read."""
        try:
            yield
        except ValueError as error:
            raise ShardStoppedError(str(error), where=self._where, cure=NEWER_ENGINE) from error
        except TopicAuthorizationFailedError as error:
            raise forbidden("Read", error) from error
        except DamagedBatchError as damage:
            raise damaged(self._where, damage) from damage
        except (KafkaError, TimeoutError) as error:
            raise StartAgainError(f"{what} cannot be read: {error!r}") from error

    async def _catch_up(self) -> dict[str, bytes]:
        """Apply what the store lacks of the journal until nothing is missing; the shard's fields then. Nothing is applied to a state that may be
        another one's."""
        while True:
            fields = await self._patiently(self._store.shard_fields)
            refuse_to_apply(self._where, fields, self._machine.topic_ids)
            applied, offset = applied_of(fields), int(fields.get(keys.JOURNAL_OFFSET, b"-1"))
            outputs = int(fields.get(keys.OUTPUTS, b"0"))
            newest, missing, told_at = applied, 0, time.monotonic()
            try:
                reader = self._clients.journal_reader()
                with self._reading("the journal"):
                    async for entry in read_journal(
                        reader, self._settings.application, self.number, offset + 1, applied + 1, outputs, CONNECT_DEADLINE_S
                    ):
                        missing += 1
                        newest = await self._apply(entry.record, entry.offset)
                        if time.monotonic() - told_at > CATCHING_UP_TOLD_S:
                            told_at = time.monotonic()
                            self.progress.log.info("catching up", records=missing, of_about=missing + entry.behind, sequence=newest)
            except UnrecordedError:
                return fields  # what was announced is looked at next
            except JournalMismatchError as mismatch:
                if isinstance(mismatch, NotCommittedError) and await self._write_applied_again(fields):
                    continue
                raise self._mismatched(mismatch) from mismatch
            if not missing:
                return fields
            self.progress.log.info("caught up", records=missing, sequence=newest)

    def _mismatched(self, mismatch: JournalMismatchError) -> Exception:
        """What is raised where the journal and the store do not belong together. It is looked at twice where another owner may work."""
        if isinstance(mismatch, JournalEndsError) and not self._is_behind:
            self._is_behind = True
            return FencedError(f"{mismatch}: another owner may work")
        return ShardStoppedError(str(mismatch), where=self._where, cure=mismatch.cure)

    async def _offsets(self, fields: Mapping[str, bytes]) -> dict[Topic, int]:
        """Where each topic continues; one of which nothing was taken yet begins where its log does."""
        held = {topic: fields.get(keys.next_offset(spec.name)) for topic, spec in zip(Topic, INPUTS, strict=True)}
        try:
            begins = await self._inputs.beginnings(self.number, [topic for topic, offset in held.items() if offset is None])
        except KafkaError as error:
            raise StartAgainError(f"the topics' beginnings cannot be read: {error!r}") from error
        return {topic: begins[topic] if offset is None else int(offset) for topic, offset in held.items()}

    async def _confirm_topics(self) -> None:
        """That they are those that the worker was started on."""
        try:
            await self._inputs.topics.confirmed()
        except OSError as error:
            raise StartAgainError(str(error)) from error
        except EngineError as error:
            raise ShardStoppedError(error.what, where=error.where, cure=error.cure) from error

    # A batch

    async def _turn(self) -> None:
        """The next batch, if there is one, and the next slice of a sweep, if there is one: they take turns."""
        is_decided = await self._decide_next()
        tick_ms, now = self._idle_tick(), time.monotonic()
        if self._sweeps_in(tick_ms) == 0 and (not is_decided or self._rest.is_over(now) or self._machine.follows_control):
            await self._sweep(tick_ms, now - self._began_at if is_decided else 0.0)

    async def _decide_next(self) -> bool:
        """Decide and commit the next batch; whether there was one. Its records are let go of in between, so that there is room for others
        meanwhile: where a commit fails all are read again that the journal does not have."""
        batch = await self._next_batch()
        if batch is None:
            return False
        decided = await self._decide(batch)
        del batch
        if decided is not None:
            await self._let_flow()
            await self._commit(*decided)
        return True

    def _sweeps_in(self, tick_ms: int) -> float | None:
        """In how many seconds the next slice of a sweep is due, None if there is nothing to sweep."""
        return None if self._machine.sweep_at(tick_ms) is None else self._pace.due_in(time.monotonic())

    async def _sweep(self, tick_ms: int, batch_s: float) -> None:
        """One slice of the sweep, behind a batch that took so long."""
        now, due_at = self._machine.sweep_at(tick_ms), time.monotonic()
        assert now is not None
        if now.left == keys.BUCKETS and not now.after:
            self._pace.begin(due_at)
        buckets, most = min(self._portion.buckets, now.left), min(self._portion.accounts, self._pace.accounts(due_at))
        part = await self._patiently(lambda: self._store.slice(now.bucket, now.after, buckets, most))
        self._check_applied(part.applied)
        try:
            with self._stages(Stage.SWEEP):
                record = self._machine.sweep(part.accounts, part.buckets, part.after, tick_ms)
        except StateFormatError as error:
            raise ShardStoppedError(error.what, where=self._where, cure=error.cure) from error
        journal = self._encoded(record)
        if not self._machine.fits(record, len(journal)):
            self._machine.take_back()
            self._portion.refuse(len(part.accounts))
            return
        self._pace.take(len(part.accounts), due_at)
        await self._commit(record, journal, NO_OUTPUTS)
        ended, is_full = time.monotonic(), bool(part.after) or len(part.accounts) >= most
        self._portion.learn(len(part.accounts), ended - due_at, batch_s, is_full=is_full)
        self._rest.take(part.buckets, due_at, ended)
        self._alignment.tick_ms = tick_ms

    def _idle_tick(self) -> int:
        """The shard's tick now: where all is read, the wall clock goes on by itself."""
        tick_ms = self._alignment.tick_ms
        goes_on = self._settings.clock == "wall" and tick_ms != MISSING and self._alignment.lag() == 0
        return max(tick_ms, int(time.time() * 1000)) if goes_on else tick_ms

    def _encoded(self, record: JournalRecord) -> bytes:
        """A record as the journal has it."""
        with self._stages(Stage.JOURNAL):
            return record.encode()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """A transaction is ended within; a shard that leaves does so first. Else the store would lack what was announced until there is another
        owner, and what hangs might be aborted (``engine.stream.hanging``)."""
        self._is_ending = True
        try:
            yield
        finally:
            self._is_ending = False
            if self._is_leaving:
                raise asyncio.CancelledError

    async def _commit(self, record: JournalRecord, journal: bytes, dead: Outputs) -> None:
        """Steps 6 and 8: one transaction; then the store."""
        assert self._producer is not None
        with self._ending():
            offset = await self._producer.commit(journal, record.outputs, dead)
            await self._apply_own(record, offset)
        self.progress.note_commit(record, len(journal))
        self._note_machine()

    async def _decide(self, batch: Batch) -> tuple[JournalRecord, bytes, Outputs] | None:
        """What a batch comes to: its record, that as the journal has it, and the dead letters; None: a smaller one is to be taken."""
        # 5. Read and load: what the cache lacks, with the sequence that the store has applied.
        prepared = self._machine.prepare(batch)
        if prepared.missing:
            await self._load(prepared)
        tick_ms = max(self._alignment.tick_ms, self._tick(batch))
        record = self._machine.execute(prepared, tick_ms)
        journal = self._encoded(record)
        if not self._machine.fits(record, len(journal)):
            self._machine.take_back()
            return None
        problem = self._rejects.problem(len(batch), record.dead_letters)
        if problem is not None:
            raise ShardStoppedError(problem[0], where=self._where, cure=problem[1])
        self._alignment.settle(batch, tick_ms)
        return record, journal, dead_letters(batch, record.dead_letters, self.number)

    async def _next_batch(self) -> Batch | None:
        """Wait for records, or until there is something to sweep (None); meanwhile look each second whether the store still is where it was
        (step 10)."""
        while True:
            if self._problem is not None:
                raise self._problem
            if self._gone is not None:
                await self._confirm_topics()  # else it is because they are others
                raise self._still_gone(self._gone)
            most = min(self._settings.shard.batch_records, self._machine.records_per_batch)
            most = max(1, int(most * self._inputs.batch_share()))
            rest_s = self._began_at + BATCHES_APART_S - time.monotonic()
            if rest_s > 0 and self._alignment.lag() < most / 2:
                await asyncio.sleep(rest_s)
                continue
            with self._stages(Stage.TAKE):
                batch = self._alignment.take(
                    most, self._machine.accounts_per_batch, BATCH_BYTES_MAX, has_policy=self._machine.policy is not None
                )
            if batch is not None:
                self._began_at = time.monotonic()
                self.progress.enter(State.RUNNING)
                return batch
            if self._machine.policy is None and self._alignment.is_read(Topic.CONTROL):
                self.progress.enter(State.WAITING, "no policy is in force: activate one with `limit-engine policy promote FILE`")
            elif self._alignment.lag() == 0:
                self.progress.enter(State.RUNNING)
                self.progress.move()
            due = self._sweeps_in(self._idle_tick())
            if due == 0:
                return None
            try:
                async with asyncio.timeout(HEARTBEAT_S if due is None else min(due, HEARTBEAT_S)):
                    await self._wake.wait()
            except TimeoutError:
                await self._load_checked(Packed.empty(0))
                if self._producer is not None and self._producer.was_cut:
                    raise StartAgainError("a connection to Kafka broke: the last transaction may have no end") from None
            self._wake.clear()

    def _still_gone(self, gone: Delivery) -> Exception:
        """What to do about records that a topic does not have (any more): take over again, and stop if it is the same then. Another owner may
        have taken them meanwhile; but not if the journal has come no further behind the next fence."""
        before, self._gone_before = self._gone_before, (self._machine.sequence, gone.chunk.topic, gone.first)
        stop = position_gone(self._where, gone)
        return stop if before == self._gone_before else StartAgainError(stop.what)

    async def _load(self, prepared: Prepared) -> None:
        loaded = await self._load_checked(prepared.missing)
        try:
            self._machine.admit(loaded.values)
        except StateFormatError as error:
            raise ShardStoppedError(error.what, where=self._where, cure=error.cure) from error

    async def _load_checked(self, accounts: Packed) -> Loaded:
        loaded = await self._patiently(lambda: self._store.load(accounts))
        self._check_applied(loaded.applied)
        return loaded

    def _check_applied(self, applied: int) -> None:
        """That the store is where the machine is."""
        if applied == OTHER_JOURNAL:
            raise StartAgainError("what Redis holds was made from another journal")
        if applied > self._machine.sequence:
            raise FencedError(f"Redis has applied sequence {applied}, further than {self._machine.sequence}: another owner works")
        if applied < self._machine.sequence:
            raise StartAgainError(f"Redis has applied sequence {applied} instead of {self._machine.sequence}: it went back")

    def _tick(self, batch: Batch) -> int:
        """The watermark while there is more to read; the wall clock, read once, when all is read."""
        if batch.caught_up and self._settings.clock == "wall" and self._machine.policy is not None and Topic.CONTROL not in batch.chunks:
            return max(batch.watermark_ms, int(time.time() * 1000))
        is_first_policy = Topic.CONTROL in batch.chunks and self._alignment.tick_ms == MISSING
        return MISSING if is_first_policy else batch.watermark_ms

    async def _apply_own(self, record: JournalRecord, offset: int) -> None:
        applied = await self._apply(record, offset)
        if applied != record.sequence:
            self._check_applied(applied)
            raise StartAgainError(f"Redis has applied sequence {applied} instead of {record.sequence}")

    async def _apply(self, record: JournalRecord, offset: int) -> int:
        return await self._patiently(lambda: self._store.apply(record, offset))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call the store until it answers. Only for calls that may be made twice: reading, and applying the same record."""
        before = (self.progress.state, self.progress.reason)
        failures = 0
        while True:
            try:
                answer = await call()
            except StoreAway as away:
                self.progress.enter(State.WAITING, str(away))
                await asyncio.sleep(STORE_BACKOFF_S[min(failures, len(STORE_BACKOFF_S) - 1)])
                failures += 1
                continue
            if failures:
                self.progress.move()
                self._pace.begin(time.monotonic())
                self.progress.enter(*before)
            return answer

    async def _let_flow(self) -> None:
        """Fetch again what was held because its buffer was full."""
        for topic in sorted(self._held):
            if not self._is_full(topic, FLOW_AGAIN_SHARE):
                self._held.discard(topic)
                await self._inputs.hold(self.number, topic, held=False)

    def _note_machine(self) -> None:
        self.progress.note_brakes(self._machine.brakes)
        policy = self._machine.policy
        if policy is not None:
            self.progress.note_version(Version(policy.document.policy, policy.document.version, policy.hash))
