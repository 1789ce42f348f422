"""A worker killed at each step of the protocol, before it and after it, alone and together with a Redis that comes back older; in the end the
audit of everything.

Step 9 is not among them: nothing is written to the group."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

from engine.policy.source import load_policy
from engine.settings import Kafka
from engine.stream.clients import KafkaClients
from engine.stream.journal import read_journal
from scripts.personas import midnight_before, population
from scripts.spoil import LATE_DAYS, Arrival, Shares, spoil
from scripts.traffic import Publisher
from tests.chaos.failpoints import POINTS
from tests.chaos.run import POLICY
from tests.cli.program import environment
from tests.e2e.books import audit_books
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment

PARTITIONS: Final = 4
ACCOUNTS: Final = 120
DAYS: Final = 120
RECORDS: Final = 60  # for each worker's life
COPIES: Final = 4
DECIDING: Final = ("5", "6", "8")  # the steps that come with every batch
SETTINGS: Final = {
    "LIMITS_KAFKA__SESSION_TIMEOUT_S": "6",
    "LIMITS_SHARD__BATCH_RECORDS": "20",
    "LIMITS_SHARD__CACHE_ACCOUNTS": "10",
}


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Deployment]:
    yield from deployed(tmp_path, PARTITIONS)


class Failing:
    """The server of workers that die."""

    def __init__(self, d: Deployment) -> None:
        self._d = d
        with (d.directory / "failing.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.failpoints"],
                cwd=ROOT,
                env=environment() | d._settings(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._answer() == "ready"

    def die_at(self, point: str, n: int) -> int:
        """How a worker ended: minus the signal's number."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{n} {point}\n")
        self._process.stdin.flush()
        return int(self._answer())

    def bury(self) -> None:
        """Tell the group that its members are dead, which it would find out by itself in a session's time."""
        admin = KafkaAdminClient(bootstrap_servers=self._d.kafka.address)
        members = admin.describe_groups([self._d.application])[self._d.application]["members"]
        admin.remove_group_members(self._d.application, [MemberToRemove(member_id=member["member_id"]) for member in members])
        admin.close()

    def stop(self) -> None:
        """No more workers."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def arrivals(start_ms: int) -> Iterator[Arrival]:
    return spoil(population(ACCOUNTS, 5, start_ms, DAYS), 5, Shares(broken=0.01), Counter())


async def seconds_to_read(d: Deployment) -> float:
    """A shard's journal, as at a takeover."""
    began, reader = time.monotonic(), KafkaClients(Kafka(bootstrap=d.kafka.address)).journal_reader()
    assert [entry async for entry in read_journal(reader, d.application, 0, 0, 1, 0, 30.0)]
    return time.monotonic() - began


def in_turn() -> list[str]:
    """The points in an order in which there is something to catch up with when that is to be seen, and little to do when nothing is."""
    return sorted(POINTS, key=lambda point: (not point.startswith(DECIDING), not point.startswith("10")))


def publish(publisher: Publisher, lives: Iterator[Arrival]) -> None:
    """What the next worker will find."""
    for arrival in islice(lives, RECORDS):
        publisher.publish(arrival)
    publisher.settle()


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_worker_may_die_anywhere(four: Deployment) -> None:
    d, random = four, Random(1)
    d.settings = SETTINGS
    start_ms = midnight_before(datetime.now(UTC), DAYS + LATE_DAYS)
    d.promote(load_policy(POLICY), start_ms)
    failing, publisher, lives = Failing(d), Publisher(d.kafka.address), arrivals(start_ms)
    copies: deque[Path] = deque(maxlen=COPIES)
    for point in in_turn():
        is_deciding = point.startswith(DECIDING)
        for is_older in (False, True):
            publish(publisher, lives)
            if is_deciding and not is_older:
                if len(copies) == COPIES:
                    shutil.rmtree(copies[0])
                copies.append(d.directory / f"copy of {point}")
                d.redis.copy_to(copies[-1])
            n = random.randint(2, 6) if is_deciding else random.randint(1, 3)
            began = time.monotonic()
            assert failing.die_at(point, n) == -signal.SIGKILL, f"{point}, time {n}"
            failing.bury()
            print(f"{point}, time {n}{', an older Redis' if is_older else ''}: {time.monotonic() - began:.1f} s")
            if is_older:
                d.redis.come_back_with(random.choice(copies))
    failing.stop()
    done = d.command("rebuild", "--from", "journal", "--yes")  # what follows, and so the audit, is behind one
    assert done.returncode == 0, done.stderr
    publish(publisher, lives)
    worker = d.start_worker()
    d.wait(d.is_all_taken, "everything is taken", 60)
    worker.stop(20)
    assert min(asyncio.run(seconds_to_read(d)) for _ in range(3)) < 0.9, "the journal's end is waited for"
    counts, found = audit_books(d.kafka.address, d.redis.url, d.application, PARTITIONS)
    print(dict(counts))
    assert found == []
    assert counts["records"] >= 2 * len(POINTS) * RECORDS
    assert min(counts["changes"], counts["dead_letters"]) > 20
