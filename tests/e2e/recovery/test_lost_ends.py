"""Shards that are begun anew in one transaction, which loses its end in the journal of some: in the end all of them are, or none is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from engine.local.redis_server import RedisServer
from engine.state import keys
from engine.stream.decode.misrouting import partition_of
from engine.stream.topics import described
from tests.e2e.conftest import Unverifying
from tests.e2e.deployment import Deployment
from tests.e2e.recovery.lived import dies, goes_on, lived_deployment
from tests.e2e.recovery.test_rebuild import lose_journal
from tests.e2e.second import compared, follow_once

BEFORE: Final = 2
HAS_NO_END: Final = "limit-journal has no end of a transaction"
NOT_DONE: Final = "`limit-engine reshard --partitions 6 (before: 4)` is not done with it"


@pytest.fixture(scope="module")
def losing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment at rest whose broker takes what its coordinator does not know of."""
    yield from lived_deployment(tmp_path_factory.mktemp("losing"), BEFORE, 30, 40, broker=Unverifying)


def accounts(d: Deployment) -> dict[bytes, bytes]:
    """Of all shards; each is where its key belongs."""
    by_shard = {shard: d.accounts(shard) for shard in range(d.partitions)}
    assert all(partition_of(account, d.partitions) == shard for shard, held in by_shard.items() for account in held)
    return {account: value for held in by_shard.values() for account, value in held.items()}


def resharded(d: Deployment, partitions: int) -> dict[str, Any]:
    done = d.command("reshard", "--partitions", str(partitions), "--yes", "--json", within_s=120)
    assert done.returncode == 0, done.stderr
    d.partitions = partitions
    return dict(json.loads(done.stdout))


def told(d: Deployment, point: str, *words: str) -> str:
    """What a command says that comes to this point and does not die."""
    log = f"told-{len(list(d.directory.glob('told-*')))}.log"
    assert d.run("-m", "tests.e2e.recovery.dying", point, "0", *words, log=log).ends_within(60)
    return (d.directory / log).read_text()


def is_told(d: Deployment, what: str) -> None:
    """By a worker that is started, and ended then."""
    number = len(d.workers)
    worker = d.start_worker()
    d.wait(lambda: what in d.log_of(number), what, 120)
    worker.stop(20)


def test_reshard_does_not_leave_it_so(losing: Deployment) -> None:
    """The very run that has lost them finds it; where it has lost all of them nothing has happened."""
    before, after = accounts(losing), 4
    assert "Kafka has lost what was committed" in told(losing, "all lost, sent", "reshard", "--partitions", str(after), "--yes")
    assert "2 partitions became 4" in told(losing, "lost, sent", "reshard", "--partitions", str(after), "--yes")
    losing.partitions = after
    assert accounts(losing) == before
    assert resharded(losing, after)["was_done"]


def test_reshard_killed_behind_it(losing: Deployment) -> None:
    """Killed again behind the abort, when a part is written again as far as its beginning, and when it is whole; workers come too early."""
    before, after = accounts(losing), 6
    dies(losing, "lost, after EndTxn", 1, "reshard", "--partitions", str(after), "--yes")
    assert {state.partitions for state in described(losing.kafka.settings)} == {after}
    is_told(losing, HAS_NO_END)
    dies(losing, "aborted", 1, "reshard", "--partitions", str(after), "--yes")
    is_told(losing, NOT_DONE)
    for sent in (1, 2):
        dies(losing, "sent", sent, "reshard", "--partitions", str(after), "--yes")
    assert "has 6 partitions already" in told(losing, "sent", "reshard", "--partitions", str(after), "--yes")
    losing.partitions = after
    assert accounts(losing).keys() == before.keys()


def test_a_journal_made_anew(losing: Deployment, second: RedisServer) -> None:
    before = accounts(losing)
    lose_journal(losing)
    dies(losing, "lost, after EndTxn", 1, "rebuild", "--from", "redis", "--yes")
    dies(losing, "aborted", 1, "rebuild", "--from", "redis", "--yes")
    done = losing.command("rebuild", "--from", "redis", "--yes", "--json", within_s=120)
    assert done.returncode == 0, done.stderr
    assert accounts(losing) == before
    assert all(losing.fields(shard)[keys.BEGINNING] == b"limit-engine rebuild --from redis" for shard in range(losing.partitions))
    follow_once(losing, second)
    assert compared(losing, second)[0] == 0
    goes_on(losing)
