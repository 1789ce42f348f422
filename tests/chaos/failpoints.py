"""Workers that die at a certain step of the protocol, by SIGKILL, at the n-th time that they come to it; and some whose n-th transaction has no
end in some partitions when they die: these take part in it, and its coordinator is not told of them.

``python -m tests.chaos.failpoints`` reads lines ``N POINT`` from its input, runs a worker until it dies, in a process forked from this one, which
has everything imported, and answers with how it ended. The product knows nothing of it: the methods that carry out the steps are wrapped here.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.transaction import EndTxnRequest

from engine.app import run_worker
from engine.settings import load_settings
from engine.state.record import JournalRecord
from engine.state.redis_store import RedisStore
from engine.stream import shard as shard_module
from engine.stream.producer import ShardProducer, _OnceSender
from engine.stream.shard import Shard
from engine.stream.warm_up import warm_up
from engine.stream.worker import Worker
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, JOURNAL

LIFE_S_MAX: Final = 60  # a worker that does not come to its point is ended by SIGALRM
_PR_SET_PDEATHSIG: Final = 1
_catching_up: ContextVar[bool] = ContextVar("catching up", default=False)

Die = Callable[[], None]
Counts = Callable[..., bool]


def at_pass(n: int) -> Die:
    """What kills this process when it is called for the n-th time."""
    passes = 0

    def die() -> None:
        nonlocal passes
        passes += 1
        if passes == n:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def always(*_: Any, **__: Any) -> bool:
    """Every call counts."""
    return True


def before(owner: Any, name: str, counts: Counts = always) -> Callable[[Die], None]:
    """Die before a coroutine method does anything."""

    def install(die: Die) -> None:
        inner = getattr(owner, name)

        @wraps(inner)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            if counts(*args, **kwargs):
                die()
            return await inner(*args, **kwargs)

        setattr(owner, name, wrapped)

    return install


def after(owner: Any, name: str, counts: Counts = always) -> Callable[[Die], None]:
    """Die when a coroutine method has returned."""

    def install(die: Die) -> None:
        inner = getattr(owner, name)

        @wraps(inner)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            does_count = counts(*args, **kwargs)
            found = await inner(*args, **kwargs)
            if does_count:
                die()
            return found

        setattr(owner, name, wrapped)

    return install


def refused(die: Die) -> None:
    """Die when nothing was found to refuse for."""
    module: Any = shard_module
    inner = module.refuse

    def wrapped(*args: Any) -> None:
        inner(*args)
        die()

    module.refuse = wrapped


def end_sent(die: Die) -> None:
    """Die when the bytes of a commit request are written, before any answer."""
    inner = AIOKafkaConnection.send

    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        answer = inner(self, request, *args, **kwargs)
        if isinstance(request, EndTxnRequest):
            die()
        return answer

    AIOKafkaConnection.send = send


def fencing(install: Callable[[Die], None]) -> Callable[[Die], None]:
    """At the second transaction of each producer a rival with its transactional id comes, and goes."""

    def installed(die: Die) -> None:
        inner = AIOKafkaProducer.begin_transaction

        async def begin(self: Any) -> None:
            self.begun = getattr(self, "begun", 0) + 1
            if self.begun == 2:
                rival = AIOKafkaProducer(
                    bootstrap_servers=os.environ["LIMITS_KAFKA__BOOTSTRAP"], transactional_id=self._txn_manager.transactional_id
                )
                await rival.start()
                await rival.stop()
            await inner(self)

        AIOKafkaProducer.begin_transaction = begin
        install(die)

    return installed


def when_catching_up(*_: Any) -> bool:
    """The store is being brought to the end of the journal."""
    return _catching_up.get()


def when_deciding(*_: Any) -> bool:
    """It is not."""
    return not _catching_up.get()


def of_accounts(_: Any, accounts: list[bytes]) -> bool:
    """A load of accounts, not only a look at the sequence."""
    return bool(accounts)


def of_nobody(_: Any, accounts: list[bytes]) -> bool:
    """The look at the store of each second."""
    return not accounts


POINTS: Final[dict[str, Callable[[Die], None]]] = {
    "1 fence: before": before(ShardProducer, "start"),
    "1 fence: after": after(ShardProducer, "start"),
    "2 catch up: before": before(Shard, "_catch_up"),
    "2 catch up: a record applied": after(RedisStore, "apply", when_catching_up),
    "2 catch up: after": after(Shard, "_catch_up"),
    "3 refuse: before": before(Shard, "_confirm_topics"),
    "3 refuse: after": refused,
    "4 seek: before": before(Worker, "seek"),
    "4 seek: after": after(Worker, "seek"),
    "5 load: before": before(Shard, "_load_checked", of_accounts),
    "5 load: after": after(Shard, "_load_checked", of_accounts),
    "6 commit: before": before(AIOKafkaProducer, "begin_transaction"),
    "6 commit: begun": after(AIOKafkaProducer, "begin_transaction"),
    "6 commit: journal record sent": before(ShardProducer, "_hand_over"),
    "6 commit: outputs handed over": after(ShardProducer, "_hand_over"),
    "6 commit: before EndTxn": before(AIOKafkaProducer, "commit_transaction"),
    "6 commit: EndTxn sent": end_sent,
    "6 commit: after EndTxn": after(AIOKafkaProducer, "commit_transaction"),
    "7 fenced: before the group's word": fencing(before(Worker, "ownership_confirmed")),
    "7 fenced: after it": fencing(after(Worker, "ownership_confirmed")),
    "8 apply: before": before(RedisStore, "apply", when_deciding),
    "8 apply: after": after(RedisStore, "apply", when_deciding),
    "10 look at the store: before": before(Shard, "_load_checked", of_nobody),
    "10 look at the store: after": after(Shard, "_load_checked", of_nobody),
}


LOSING: Final[set[Any]] = set()  # the senders of transactions that have no end everywhere


def losing(lost: Callable[[str], bool], dies: Callable[[Counts], Callable[[Die], None]]) -> Callable[[int], None]:
    """The end of a batch's commit, from the n-th on the first one that writes to a topic that is ``lost``, does not reach such topics; and then
    its worker ``dies``."""

    def install(n: int) -> None:
        commit, inner, begun = Shard._commit, _OnceSender._do_add_partitions_to_txn, 0

        async def committed(self: Shard, record: JournalRecord, *others: Any) -> None:
            nonlocal begun
            begun += 1
            assert self._producer is not None
            if begun >= n and not LOSING and any(map(lost, (JOURNAL.name, *(output.topic for output in record.outputs)))):
                LOSING.add(self._producer._producer._sender)
            await commit(self, record, *others)

        async def add(self: Any, partitions: Any) -> Any:
            manager = self._txn_manager
            if self not in LOSING:
                return await inner(self, partitions)
            shard = next(iter(partitions)).partition
            for partition in [partition for partition in partitions if lost(partition.topic)]:
                manager.partition_added(partition)
            if not manager.partitions_to_add():  # a transaction needs one
                manager.partitions_to_add().add(TopicPartition(DEAD_LETTERS.name, shard))
            return await inner(self, manager.partitions_to_add())

        Shard._commit = committed  # type: ignore[assignment,method-assign]
        _OnceSender._do_add_partitions_to_txn = add  # type: ignore[assignment,method-assign]
        dies(of_losers)(at_pass(1))

    return install


def of_losers(one: Any, *_: Any) -> bool:
    """Of a transaction that has no end everywhere."""
    if isinstance(one, Shard):
        assert one._producer is not None
        one = one._producer._producer
    return one._sender in LOSING


def is_journal(topic: str) -> bool:
    """The journal."""
    return topic == JOURNAL.name


def is_output(topic: str) -> bool:
    """What customers are told."""
    return topic in (CHANGES.name, ADVISORIES.name)


def is_either(topic: str) -> bool:
    """Everything but dead letters."""
    return is_journal(topic) or is_output(topic)


def dying_before_the_end(counts: Counts) -> Callable[[Die], None]:
    """Nobody has asked for its commit."""
    return before(AIOKafkaProducer, "commit_transaction", counts)


def dying_behind_the_end(counts: Counts) -> Callable[[Die], None]:
    """It is committed, and not applied."""
    return after(AIOKafkaProducer, "commit_transaction", counts)


def dying_when_applied(counts: Counts) -> Callable[[Die], None]:
    """It is committed and applied."""
    return after(Shard, "_apply_own", counts)


HANGING: Final[dict[str, Callable[[int], None]]] = {
    "the journal, applied": losing(is_journal, dying_when_applied),
    "the journal, not applied": losing(is_journal, dying_behind_the_end),
    "the journal, aborted": losing(is_journal, dying_before_the_end),
    "outputs, applied": losing(is_output, dying_when_applied),
    "outputs, not applied": losing(is_output, dying_behind_the_end),
    "outputs, aborted": losing(is_output, dying_before_the_end),
    "both, applied": losing(is_either, dying_when_applied),
    "both, not applied": losing(is_either, dying_behind_the_end),
    "both, aborted": losing(is_either, dying_before_the_end),
}


MENDING: Final[dict[str, Callable[[Die], None]]] = {  # what the next owners do then
    "what hangs is aborted": after(ShardProducer, "abort"),
    "a record is written again": after(Shard, "_write_record_again"),
    "outputs are written again": before(ShardProducer, "announce"),
}


def note_catching_up() -> None:
    """Know in each shard's task whether it is catching up."""
    inner = Shard._catch_up

    async def catch_up(self: Shard) -> dict[str, bytes]:
        token = _catching_up.set(True)
        try:
            return await inner(self)
        finally:
            _catching_up.reset(token)

    Shard._catch_up = catch_up  # type: ignore[method-assign]


def work(point: str, n: int) -> None:
    """Be a worker that dies there."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.alarm(LIFE_S_MAX)
    note_catching_up()
    if point in HANGING:
        HANGING[point](n)
    else:
        (POINTS | MENDING)[point](at_pass(n))
    run_worker(load_settings())


def serve() -> None:
    """A worker a line."""
    warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        n, _, point = line.strip().partition(" ")
        child = os.fork()
        if child == 0:
            try:
                work(point, int(n))
            finally:
                os._exit(70)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
