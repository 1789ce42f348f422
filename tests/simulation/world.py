"""One run: a deployment of a few workers, everything that can go wrong with it, quiet, and the audit.

A seed makes everything: how many records, workers and faults there are, and when. Nothing else has a say, so a seed that fails fails again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest import mock

import structlog

from engine.settings import Kafka, Settings
from engine.settings import Shard as Bounds
from engine.state.record import JournalRecord
from engine.stream import turn, written_batches
from engine.stream.progress import State
from engine.stream.shard import REFUSALS_MAX
from schemas.topics import INPUTS, JOURNAL
from tests.simulation.auditor import Auditor
from tests.simulation.broker import Broker
from tests.simulation.clients import SimulatedClients
from tests.simulation.clock import Loop, Process, moved_by_hand
from tests.simulation.members import Member
from tests.simulation.network import Faults, Network
from tests.simulation.promises import Violation, demand
from tests.simulation.store import MemoryServer, Server, SimulatedStore
from tests.simulation.traffic import BEGAN, Traffic

PATIENCE_S: Final = 600.0
FINGERPRINT_KEY: Final = "000102030405060708090a0b0c0d0e0f"  # that of the auditor
QUIET_S: Final = 0.5
AFTER_S: Final = 25.0  # what is under way still arrives
TAIL: Final = 4
FAULTS: Final = (
    Faults(late=0.01, refused=0.05, often=3, strikes=0.1),
    Faults(lost=0.01, late=0.03, unanswered=0.01, refused=0.02, often=3),
    Faults(lost=0.02, late=0.04, unanswered=0.03, refused=0.02, often=5, strikes=0.05),
    Faults(lost=0.002, late=0.01, unanswered=0.002, often=25),
)
HAPPENINGS: Final = {
    "move": 5,
    "kill": 3,
    "pause": 4,
    "rollback": 3,
    "redis away": 2,
    "kafka away": 1,
    "retention": 3,
    "backup": 2,
    "tail lost": 3,
    "wall": 3,
    "join": 1,
}


DEATHS: Final = (0.0, 0.0, 0.0, 0.05, 0.3)  # how often the broker dies between a transaction's end and its markers


@dataclass
class Report:
    """What a run was like."""

    seed: int
    violation: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    log: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def fingerprint(self) -> tuple[int, ...]:
        """Two runs of a seed have the same."""
        return tuple(self.counts[name] for name in ("steps", "records", "changes", "accounts", "commits"))


class World:
    """The deployment of one seed."""

    def __init__(self, seed: int, loop: Loop, server: Server) -> None:
        self.chance = Random(seed)
        self.loop = loop
        self.server = server
        self.network = Network(loop, Random(seed + 1))
        self.broker = Broker(self.network, Random(seed + 2), lambda: int(self.wall_s() * 1000))
        self.auditor = Auditor(self.broker)
        self.broker.on_commit = self._watched(self.auditor.follow)
        self.broker.on_loss = self._watched(self.auditor.lose)
        self.violation: BaseException | None = None
        self.counts: Counter[str] = Counter()
        self.settings = self._settings()
        self.network.strike = self._strike
        self._clients = SimulatedClients(self.settings.kafka, self.broker, self.network)
        self.members: list[Member] = []
        self._owner: Member | None = None
        self._generation = 0
        self._traffic = Traffic(self.chance, self.chance.randint(2, 12))
        self._copies: list[Any] = []
        self._newest: deque[Any] = deque(maxlen=TAIL)  # copies after the last records that were applied
        target, most = self.chance.choice(((turn.WRITTEN_BYTES_TARGET, turn.RECORD_BYTES_MAX), (4_000, 6_000)))
        self.bounds = {  # of the engine's constants: in some worlds small ones, so that a few records meet them
            (turn, "WRITTEN_BYTES_TARGET"): target,
            (turn, "RECORD_BYTES_MAX"): most,
            (written_batches, "BATCH_BYTES"): self.chance.choice((written_batches.BATCH_BYTES, 600)),
        }
        self._gap_is_ours = False  # the journal was cut, or the store put back, so far that the store's next record is gone

    def wall_s(self) -> float:
        """The time of day."""
        return BEGAN.timestamp() + self.loop.time() + self.loop.wall_ahead_s

    def _settings(self) -> Settings:
        chance = self.chance
        bounds = Bounds(
            batch_records=chance.choice((1, 3, 10, 1_000, 1_000)),
            buffer_records=chance.choice((5, 30, 40_000)),
            cache_accounts=(accounts := chance.choice((1, 3, 100))),
            cache_bytes={1: 0, 3: 5_000, 100: 1_000_000}[accounts],
            reject_ratio_max=1.0,
            sweep_per_second=chance.choice((None, None, 5.0)),
        )
        kafka = Kafka(transaction_timeout_s=chance.choice((3.0, 10.0)), commit_deadline_s=chance.choice((2.0, 5.0, 15.0)))
        return Settings(shard=bounds, kafka=kafka, fingerprint_key=FINGERPRINT_KEY)

    # Life

    async def live(self, deaths: float | None = None) -> None:
        """From the first record until all is taken and applied. Raises Violation."""
        chance = self.chance
        self.network.faults = chance.choice(FAULTS)
        drawn = chance.choice(DEATHS)
        self.broker.loses = drawn if deaths is None else deaths
        for _ in range(chance.randint(1, 3)):
            self._join()
        self._move(self.members[0])
        self._publish(self._traffic.first())
        records, span_s = chance.randint(10, 60), chance.choice((5.0, 20.0, 60.0))
        happenings = chance.choice((0, 3, 8, 20))
        moments = sorted(
            [(chance.uniform(0.0, span_s), "record") for _ in range(records)]
            + [(chance.uniform(0.0, span_s), self._happening()) for _ in range(happenings)]
        )
        for moment, what in moments:
            await self._until(moment)
            if what == "record":
                self._publish(self._traffic.next(self.wall_s()))
            else:
                self.counts[what] += 1
                self._happen(what)
        await self._calm_down()

    def _happening(self) -> str:
        return self.chance.choices(list(HAPPENINGS), list(HAPPENINGS.values()))[0]

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - self.loop.time()))
        self._check()

    def _check(self) -> None:
        if self.violation is not None:
            raise self.violation

    async def _calm_down(self) -> None:
        """Nothing fails any more: everything must be taken and applied, without anybody's help but the operator's."""
        self.network.mend()
        for member in self.members:
            self._resume(member)
        if self._owner is None or self._owner.is_dead:
            self._move(self._join())
        await self._all_done()
        await asyncio.sleep(AFTER_S)
        if self.chance.random() < 0.5:  # nobody works, and the store comes back older
            self._roll_back([*self._copies, *self._newest])
        await self._all_done()
        gc.collect()  # whatever nobody took note of is told now
        self._check()

    async def _all_done(self) -> None:
        deadline = self.loop.time() + PATIENCE_S
        self.broker.loses = 0.0
        self._check()
        while not self._is_done():
            demand(self.loop.time() < deadline, f"nothing moves: {self._standing()}")
            await asyncio.sleep(QUIET_S)
            self._check()
            self._operate()

    def _is_done(self) -> bool:
        if any(self.auditor.taken(spec.name) < self._last(spec.name) for spec in INPUTS):
            return False
        are_decided = all(log.stable == log.end for log in self.broker.logs.values())
        return are_decided and self._applied() == len(self.auditor.journal)

    def _last(self, topic: str) -> int:
        """The offset behind the last record of an input that may be read."""
        log = self.broker.log(topic)
        return max((entry.offset + 1 for entry in log.committed(log.begins, log.end)), default=0)

    def _standing(self) -> str:
        owner = self._owner
        shard = owner.worker.shards.get(0) if owner is not None else None
        return "nobody owns the shard" if shard is None else f"the owner is {shard.progress.state.value}: {shard.progress.reason}"

    # What happens

    def _happen(self, what: str) -> None:
        chance = self.chance
        living = [member for member in self.members if not member.is_dead]
        match what:
            case "join":
                self._join()
            case "move":
                self._move(chance.choice(living) if living else self._join())
            case "kill" if living:
                self._kill(chance.choice(living))
            case "pause" if living:
                self._pause(chance.choice(living))
            case "rollback":
                self._roll_back(self._copies)
            case "tail lost":
                self._roll_back(self._newest)
            case "redis away":
                self.network.cut("redis", chance.choice((0.1, 1.0, 7.0)))
            case "kafka away":
                self.network.cut("kafka", chance.choice((0.1, 1.0, 12.0)))
            case "backup":
                self._copies.append(self.server.copied())
            case "retention":
                self._retain()
            case "wall":
                self.loop.wall_ahead_s += chance.choice((-2.0, 60.0, 3_600.0, 43_200.0, 86_400.0))
            case _:
                pass

    def _publish(self, published: Any) -> None:
        self.broker.publish(published.topic, published.records, published.fate)
        for member in self.members:
            member.consumer.news.set()

    def _join(self) -> Member:
        def store(_: int) -> SimulatedStore:
            return SimulatedStore(self.server, self.network, self._watched(self._on_apply))

        member = Member(
            self.loop,
            self.settings,
            self.broker,
            self.network,
            store,
            self._clients,
            self._fail,
            self._is_owner,
            Random(self.chance.random()),
        )
        self.members.append(member)
        return member

    def _is_owner(self, member: Member) -> bool:
        if member is not self._owner:
            self.network.later(0.01, member.tell, self._generation, False)
        return member is self._owner

    def _move(self, member: Member) -> None:
        """The group gives the shard to a member. The one before may be told much later."""
        before, self._owner = self._owner, member
        self._generation += 1
        self.network.later(self.chance.uniform(0.0, 0.1), member.tell, self._generation, True)
        member.deaf_until = 0.0
        if before is not None and before is not member:
            late_s = self.chance.choice((0.0, 0.2, 3.0, 30.0))
            before.deaf_until = self.loop.time() + late_s
            self.network.later(late_s, before.tell, self._generation, False)

    def _kill(self, member: Member) -> None:
        member.kill()
        if member is self._owner:
            self.network.later(self.chance.choice((0.1, 1.0, 10.0)), self._replace, member)

    def _replace(self, dead: Member) -> None:
        if self._owner is dead:
            living = [member for member in self.members if not member.is_dead and not member.is_frozen]
            self._move(self.chance.choice(living) if living and self.chance.random() < 0.7 else self._join())

    def _pause(self, member: Member) -> None:
        member.freeze()
        seconds = self.chance.choice((0.05, 1.0, 12.0, 30.0))
        self.network.later(seconds, self._resume, member)
        if seconds > 10.0 and member is self._owner:
            self.network.later(10.0, self._replace, member)

    def _strike(self, process: Process) -> None:
        """Something happens to a process in the middle of what matters."""
        assert isinstance(process, Member)
        if not process.is_dead:
            (self._kill if self.chance.random() < 0.5 else self._pause)(process)

    def _resume(self, member: Member) -> None:
        if not member.is_dead:
            member.go_on()

    def _roll_back(self, copies: Sequence[Any]) -> None:
        """Redis is put back to a copy, and another copy is kept of what it is now."""
        copies = [copied for copied in copies if self.auditor.can_tell(self.server.applied_of(copied))]
        if copies:
            copied = self.chance.choice(copies)
            self._copies.append(self.server.copied())
            self.server.come_back_with(copied)
            self.auditor.put_back(self.server.applied_of(copied))
            self._look_for_gap()

    def _retain(self) -> None:
        """Records that are old enough go. Operators keep the journal for longer than a backup; not always."""
        for spec in INPUTS:
            log = self.broker.log(spec.name)
            log.begins = max(log.begins, min(self.auditor.taken(spec.name), log.end) - self.chance.choice((0, 0, 5)))
        applied = self._applied()
        log = self.broker.log(JOURNAL.name)
        kept = self.chance.choice((applied, applied, max(0, applied - 5)))
        end = self.auditor.journal[kept][2] if kept < len(self.auditor.journal) else log.end
        log.begins = max(log.begins, min(end, log.stable, self.auditor.owed_from()))
        self._look_for_gap()

    def _applied(self) -> int:
        fields, _ = self.server.held()
        return int(fields.get("sequence", b"0"))

    def _look_for_gap(self) -> None:
        self._gap_is_ours |= not self.auditor.needs(self._applied())

    def _operate(self) -> None:
        """What an operator does about a shard that stopped and says why: a newer backup, or a larger record allowed, and the worker started
        again."""
        owner = self._owner
        shard = owner.worker.shards.get(0) if owner is not None else None
        if owner is None or shard is None or shard.progress.state is not State.STOPPED:
            return
        self.counts["stopped"] += 1
        reason = shard.progress.reason
        is_refused = "Kafka does not take" in reason and self.network.counts["Produce refused"] >= REFUSALS_MAX
        demand(is_refused or (self._gap_is_ours and "Redis needs the journal" in reason), f"stopped without need: {reason}")
        usable = [copied for copied in self._copies if self.auditor.needs(self.server.applied_of(copied))]
        demand(bool(usable) or self.auditor.needs(self._applied()), "no backup is new enough")
        if not self.auditor.needs(self._applied()):
            self.server.come_back_with(usable[-1])
        owner.kill()
        self._move(self._join())

    def _fail(self, error: Exception) -> None:
        self._note(Violation(f"a worker fails: {error!r}"), error)

    def _on_apply(self, record: JournalRecord, applied: int) -> None:
        if applied == record.sequence:
            self.auditor.look_at_store(*self.server.held())
            self._newest.append(self.server.copied())

    def _watched(self, look: Callable[..., None]) -> Callable[..., None]:
        """What looks, and remembers what it finds for the run."""

        def watched(*arguments: Any) -> None:
            try:
                look(*arguments)
            except Violation as violation:
                self._note(violation)

        return watched

    def _note(self, violation: Violation, cause: BaseException | None = None) -> None:
        if self.violation is None:
            violation.__cause__ = cause
            self.violation = violation


def run(
    seed: int,
    server: Server | None = None,
    *,
    mutation: Callable[[], AbstractContextManager[Any]] = nullcontext,
    deaths: float | None = None,
    is_told: bool = False,
) -> Report:
    """Run a seed. ``mutation`` is in force while the workers work, not for the auditor; ``deaths``: how often the broker dies before a marker, if
    not as the seed has it; ``is_told``: keep what the workers log."""
    report = Report(seed)
    loop = Loop()
    asyncio.set_event_loop(loop)
    world = World(seed, loop, server or MemoryServer())
    loop.set_exception_handler(lambda _, context: world._fail(context.get("exception") or RuntimeError(context["message"])))
    state = random.getstate()
    random.seed(seed)
    gc.disable()
    try:
        with mutation(), bounded(world), quiet(report.log if is_told else None), moved_by_hand(loop, BEGAN.timestamp()):
            try:
                loop.run_until_complete(world.live(deaths))
            finally:
                end(world, loop)
        report.counts.update(world.auditor.conclude(*world.server.held()))
    except AssertionError as violation:
        report.violation = described(violation)
    finally:
        gc.enable()
        random.setstate(state)
        asyncio.set_event_loop(None)
        loop.close()
        settle()
    report.counts.update(world.counts)
    report.counts.update(world.network.counts)
    report.counts.update(
        {"steps": loop.steps, "commits": len(world.auditor.journal), "virtual_s": int(loop.time()), "members": len(world.members)}
    )
    return report


def described(violation: AssertionError) -> str:
    """What is violated, why, and where that was demanded."""
    place = traceback.extract_tb(violation.__traceback__)[-1]
    cause = "" if violation.__cause__ is None else f" from {violation.__cause__!r}"
    return f"{violation or place.line}{cause} ({Path(place.filename).name}:{place.lineno})"


@cache
def settle() -> None:
    """What is there after the first run is there for good: so the garbage of the next ones is found quickly."""
    gc.collect()
    gc.freeze()


def end(world: World, loop: Loop) -> None:
    """Let nothing of a world be left: the killed wake up, and everything is cancelled."""
    loop.set_exception_handler(lambda *_: None)
    world.network.cut("kafka", 1e9)
    world.network.cut("redis", 1e9)
    for member in world.members:
        if member.is_frozen:
            member.go_on()
    for _ in range(20):
        left = asyncio.all_tasks(loop)
        if not left:
            break
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())


@contextmanager
def bounded(world: World) -> Iterator[None]:
    """The engine's constants are those of the world."""
    with ExitStack() as patches:
        for (module, name), value in world.bounds.items():
            patches.enter_context(mock.patch.object(module, name, value))
        yield


@contextmanager
def quiet(told: list[Mapping[str, Any]] | None) -> Iterator[None]:
    """The logs of the engine and of aiokafka are kept from the screen, and ``told`` gets the former."""

    def keep(_: Any, __: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
        if told is not None:
            told.append({**event, "at": round(asyncio.get_event_loop().time(), 3)})
        raise structlog.DropEvent

    configuration = structlog.get_config()
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    wrapper = structlog.make_filtering_bound_logger(logging.NOTSET if told is not None else logging.CRITICAL)
    structlog.configure(processors=[keep], wrapper_class=wrapper, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**configuration)
        logging.disable(level)
