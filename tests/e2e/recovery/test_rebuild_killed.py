"""A journal that is made anew from Redis by a run that is killed: a worker refuses it until it was run again, and then it is written once."""

from __future__ import annotations

import pytest

from engine.local.redis_server import RedisServer
from engine.state import keys
from schemas.topics import JOURNAL
from tests.e2e.deployment import Deployment
from tests.e2e.recovery.lived import dies, goes_on, stop_of_new_worker
from tests.e2e.recovery.test_rebuild import PARTITIONS, lose_journal, rebuilt, state
from tests.e2e.second import compared, follow_once


@pytest.mark.parametrize(("point", "n"), [("before EndTxn", 1), ("EndTxn sent", 1), ("after EndTxn", 1), ("applied", 3)])
def test_a_journal_made_anew(lived: Deployment, second: RedisServer, point: str, n: int) -> None:
    before = state(lived)
    lose_journal(lived)
    dies(lived, point, n, "rebuild", "--from", "redis", "--yes")
    assert f"{JOURNAL.name} is another topic than the one its state was made from" in stop_of_new_worker(lived)
    done = rebuilt(lived, "redis")
    assert [shard["records"] for shard in done] == [2] * PARTITIONS
    assert [accounts for _, accounts in state(lived)] == [accounts for _, accounts in before]
    assert [int(fields[keys.SEQUENCE]) for fields, _ in state(lived)] == [int(fields[keys.SEQUENCE]) + 2 for fields, _ in before]
    assert {len(records) for records in lived.journal().values()} == {2}, "it was written once"
    follow_once(lived, second)
    assert compared(lived, second)[0] == 0


def test_it_goes_on(lived: Deployment) -> None:
    goes_on(lived)
