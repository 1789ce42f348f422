"""The state made anew: from the journal to the byte; from the inputs field by field, with the standings as announced and the numbers going on."""

from __future__ import annotations

import json
from typing import Final

import pytest
import redis
from kafka import TopicPartition

from engine.local.redis_server import RedisServer
from engine.state import keys
from engine.state.record import JournalRecord
from engine.stream import topics
from schemas.topics import ADVISORIES, JOURNAL
from tests.e2e.deployment import Deployment
from tests.e2e.recovery.lived import complaints, dies, goes_on, stop_of_new_worker, take_the_rest
from tests.e2e.second import digests
from tests.stream.accounts import State, differing

PARTITIONS: Final = 3


def state(d: Deployment) -> list[State]:
    return [(d.fields(shard), d.accounts(shard)) for shard in range(PARTITIONS)]


def flush(d: Deployment) -> None:
    with redis.Redis.from_url(d.redis.url) as client:
        client.flushall()


def rebuilt(d: Deployment, source: str) -> list[dict[str, int]]:
    done = d.command("rebuild", "--from", source, "--yes", "--json", within_s=300)  # it may have to compile first
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["shards"])


def test_from_the_journal_to_the_byte(lived: Deployment) -> None:
    before = state(lived)
    with redis.Redis.from_url(lived.redis.url) as client:  # lost in part, and damaged in part
        client.delete(keys.ShardKeys("limits", 0).shard)
        client.hset(keys.ShardKeys("limits", 1).accounts(7), "somebody", "something")
    done = rebuilt(lived, "journal")
    assert state(lived) == before
    assert [shard["records"] for shard in done] == [int(fields[keys.SEQUENCE]) for fields, _ in before]


@pytest.mark.parametrize(("point", "n"), [("applied", 2), ("emptied", 2)])
def test_from_the_journal_killed(lived: Deployment, point: str, n: int) -> None:
    before = digests(lived)
    dies(lived, point, n, "rebuild", "--from", "journal", "--yes")
    shard = 1 if point == "emptied" else 0
    unfinished = [lived.fields(each).get(keys.UNFINISHED) for each in range(PARTITIONS)]
    assert [each == b"limit-engine rebuild --from journal" for each in unfinished] == [each == shard for each in range(PARTITIONS)]
    assert "`limit-engine rebuild --from journal` is not done with it" in stop_of_new_worker(lived)
    rebuilt(lived, "journal")
    assert digests(lived) == before


def test_not_while_somebody_works(lived: Deployment) -> None:
    worker = lived.start_worker()
    lived.wait(lambda: '"event": "assigned"' in lived.log_of(len(lived.workers) - 1), "it works", 120)
    told = lived.command("rebuild", "--from", "journal", "--yes")
    assert (told.returncode, "1 worker of 'limits' work" in told.stderr) == (2, True)
    worker.stop(20)


def test_a_lost_journal_is_made_anew_from_redis(lived: Deployment, second: RedisServer) -> None:
    """As it is; whoever follows the new journal has the same."""
    before = state(lived)
    told = lived.command("rebuild", "--from", "redis", "--yes")
    assert (told.returncode, "is the one that Redis was made from" in told.stderr) == (2, True)
    lose_journal(lived)
    done = rebuilt(lived, "redis")
    assert [shard["records"] for shard in done] == [2] * PARTITIONS
    for (was, accounts), (now, held) in zip(before, state(lived), strict=True):
        assert held == accounts
        another = {keys.SEQUENCE, keys.JOURNAL_OFFSET, keys.BEGINNING, keys.topic_id(JOURNAL.name)}
        assert {name: now.get(name) for name in was if name not in another} == {n: v for n, v in was.items() if n not in another}
        assert int(now[keys.SEQUENCE]) == int(was[keys.SEQUENCE]) + 2
    assert rebuilt(lived, "redis") == done, "once more there is nothing to do"
    assert lived.command("follow", "--to", second.url, "--once").returncode == 0
    assert lived.command("state", "digest", "--against", second.url).returncode == 0
    # One that is older than what was announced is not taken for all.
    lose_journal(lived)
    fields = before[1][0]
    with redis.Redis.from_url(lived.redis.url) as client:
        client.hset(keys.ShardKeys("limits", 1).shard, keys.OUTPUTS, int(fields[keys.OUTPUTS]) - 1)
        old = lived.command("rebuild", "--from", "redis", "--yes")
        client.hset(keys.ShardKeys("limits", 1).shard, keys.OUTPUTS, fields[keys.OUTPUTS])
    assert old.returncode == 2
    assert f"shard 1: {int(fields[keys.OUTPUTS])} outputs were announced, and Redis counts {int(fields[keys.OUTPUTS]) - 1}" in old.stderr
    rebuilt(lived, "redis")


def test_from_the_inputs_field_by_field(lived: Deployment) -> None:
    before, told = state(lived), (lived.changes(), lived.read(ADVISORIES.name))
    flush(lived)
    lose_journal(lived)
    done = rebuilt(lived, "inputs")
    after = state(lived)
    assert lived.changes() == told[0]
    assert [len(found) for found in lived.read(ADVISORIES.name).values()] == [len(found) for found in told[1].values()]
    assert sum(shard["inputs"] for shard in done) > 5_000
    assert all("ACCEPTED" in mine for mine in differing(before, after).values()), "only what came behind the last announcement is not taken"
    for (was, _), (now, _) in zip(before, after, strict=True):
        assert [now.get(name) for name in (keys.OUTPUTS, keys.PARTITIONS)] == [was.get(name) for name in (keys.OUTPUTS, keys.PARTITIONS)]
        assert {name for name in was if name.startswith("topic_id")} <= now.keys()
        assert now[keys.UNFINISHED] == b""
    take_the_rest(lived)
    assert lived.changes() == told[0], "nothing is decided otherwise"
    at_rest = state(lived)
    assert differing(before, at_rest) == {}
    for (was, _), (now, _) in zip(before, at_rest, strict=True):  # a policy behind the last announcement is taken with what comes behind it
        assert [now.get(name) for name in (keys.POLICY, keys.APPETITES)] == [was.get(name) for name in (keys.POLICY, keys.APPETITES)]
    goes_on(lived)


def test_a_journal_that_does_not_reach_back_and_a_kill(lived: Deployment, second: RedisServer) -> None:
    """The journal keeps its newest records; a rebuild is killed in the middle, and a worker refuses the shard until it was run again."""
    before = state(lived)
    cut = {TopicPartition(JOURNAL.name, shard): int(before[shard][0][keys.JOURNAL_OFFSET]) - 3 for shard in range(PARTITIONS)}
    admin = topics.connect(lived.kafka.settings)
    admin.delete_records(cut)
    admin.close()
    with redis.Redis.from_url(lived.redis.url) as client:
        client.delete(keys.ShardKeys("limits", 1).shard)
    wrong = complaints(lived)
    assert "shard 0: the journal reaches back 0.0 days; a backup of Redis may be 7 days old" in wrong
    assert "shard 1: Redis has applied sequence 0, and the journal begins with" in wrong
    followed = lived.command("follow", "--to", second.url, "--once")
    assert (followed.returncode, "put a newer copy" in followed.stderr) == (2, True)
    refused = lived.command("rebuild", "--from", "journal", "--yes")
    assert refused.returncode == 2
    assert "shard 0: an empty Redis needs the journal from sequence 1 on" in refused.stderr
    assert "--from inputs" in refused.stderr
    assert lived.accounts(0) == before[0][1], "nothing was emptied"

    lived.settings["LIMITS_SHARD__BATCH_RECORDS"] = "20"
    killed = lived.run("-m", "engine", "rebuild", "--from", "inputs", "--yes", log="rebuild.log")
    first = int(before[1][0][keys.SEQUENCE]) + 1
    lived.wait(lambda: int(lived.fields(1).get(keys.SEQUENCE, b"0")) > first + 10, "the second shard is being rebuilt", 120)
    killed.kill()
    assert lived.fields(1)[keys.UNFINISHED] == b"limit-engine rebuild --from inputs"
    assert "`limit-engine rebuild --from inputs` is not done with it" in stop_of_new_worker(lived)

    lived.settings["LIMITS_SHARD__BATCH_RECORDS"] = "300"
    at_kill = int(lived.fields(1)[keys.SEQUENCE])
    done = lived.command("rebuild", "--from", "inputs", "--yes", "--json", "--shard", "1", "--shard", "2")
    assert done.returncode == 0, done.stderr
    assert all("ACCEPTED" in mine for mine in differing(before, state(lived)).values())
    journal = [JournalRecord.decode(raw) for raw in lived.journal()[1]]
    begun = [record.sequence for record in journal if record.is_beginning]
    assert begun == [first]
    assert [record.sequence for record in journal] == list(range(journal[0].sequence, journal[-1].sequence + 1))
    assert at_kill < journal[-1].sequence
    # An empty Redis begins with the beginning, although the journal has records before it that do not reach back.
    take_the_rest(lived)
    made = state(lived)
    flush(lived)
    rebuilt(lived, "journal")
    assert state(lived) == made


def lose_journal(d: Deployment) -> None:
    """The journal's topic is made anew."""
    admin = topics.connect(d.kafka.settings)
    admin.delete_topics([JOURNAL.name])
    d.wait(lambda: JOURNAL.name not in admin.list_topics(), "the journal is gone", 30)
    admin.close()
    d.create_topics()
