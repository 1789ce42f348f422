"""The state made anew: from the journal to the byte; from the inputs field by field, with the standings as announced and the numbers going on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pytest
import redis

from engine.state import keys
from engine.state.record import JournalRecord
from engine.stream import topics
from schemas.topics import ADVISORIES, JOURNAL
from tests.e2e.deployment import Deployment
from tests.e2e.lived import goes_on, lived_deployment, take_the_rest
from tests.stream.accounts import State, differing

PARTITIONS: Final = 2


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose customers have lived, and answered, for four months; stopped."""
    yield from lived_deployment(tmp_path_factory.mktemp("lived"), PARTITIONS, 60, 120, "--answer")


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


def test_not_while_somebody_works(lived: Deployment) -> None:
    worker = lived.start_worker()
    lived.wait(lambda: '"event": "assigned"' in lived.log_of(len(lived.workers) - 1), "it works", 120)
    told = lived.command("rebuild", "--from", "journal", "--yes")
    assert (told.returncode, "1 worker of 'limits' work" in told.stderr) == (2, True)
    worker.stop(20)


def test_from_the_inputs_field_by_field(lived: Deployment) -> None:
    before, told = state(lived), (lived.changes(), lived.read(ADVISORIES.name))
    lose_journal(lived)
    done = rebuilt(lived, "inputs")
    after = state(lived)
    assert lived.changes() == told[0]
    assert [len(found) for found in lived.read(ADVISORIES.name).values()] == [len(found) for found in told[1].values()]
    assert sum(shard["inputs"] for shard in done) > 5_000
    assert all("ACCEPTED" in mine for mine in differing(before, after).values()), "only what came behind the last announcement is not taken"
    for (was, _), (now, _) in zip(before, after, strict=True):
        same = (keys.OUTPUTS, keys.POLICY, keys.APPETITES, keys.PARTITIONS)
        assert {name: was.get(name) for name in same} == {name: now.get(name) for name in same}
        assert {name for name in was if name.startswith("topic_id")} <= now.keys()
        assert now[keys.UNFINISHED] == b""
    take_the_rest(lived)
    assert lived.changes() == told[0], "nothing is decided otherwise"
    assert differing(before, state(lived)) == {}
    goes_on(lived)


def test_a_journal_that_does_not_reach_back_and_a_kill(lived: Deployment) -> None:
    """The journal keeps its newest records; a rebuild is killed in the middle, and a worker refuses the shard until it was run again."""
    from kafka import TopicPartition

    before = state(lived)
    admin = topics.connect(lived.kafka.address)
    admin.delete_records(
        {TopicPartition(JOURNAL.name, shard): int(before[shard][0][keys.JOURNAL_OFFSET]) - 3 for shard in range(PARTITIONS)}
    )
    admin.close()
    flush(lived)
    refused = lived.command("rebuild", "--from", "journal", "--yes")
    assert refused.returncode == 2
    assert "shard 0: an empty Redis needs the journal from sequence 1 on" in refused.stderr
    assert "--from inputs" in refused.stderr

    lived.settings["LIMITS_SHARD__BATCH_RECORDS"] = "20"
    killed = lived.run("-m", "engine", "rebuild", "--from", "inputs", "--yes", log="rebuild.log")
    first = int(before[1][0][keys.SEQUENCE]) + 1
    lived.wait(lambda: int(lived.fields(1).get(keys.SEQUENCE, b"0")) > first + 10, "the second shard is being rebuilt", 120)
    killed.kill()
    assert lived.fields(1)[keys.UNFINISHED] == b"limit-engine rebuild --from inputs"
    number = len(lived.workers)
    worker = lived.start_worker()
    lived.wait(lambda: '"event": "stopped"' in lived.log_of(number), "the worker refuses the shard", 60)
    worker.stop(20)
    assert "`limit-engine rebuild --from inputs` is not done with it" in lived.log_of(number)

    lived.settings["LIMITS_SHARD__BATCH_RECORDS"] = "300"
    at_kill = int(lived.fields(1)[keys.SEQUENCE])
    done = lived.command("rebuild", "--from", "inputs", "--yes", "--json", "--shard", "1")
    assert done.returncode == 0, done.stderr
    assert all("ACCEPTED" in mine for mine in differing(before, state(lived)).values())
    journal = [JournalRecord.decode(raw) for raw in lived.journal()[1]]
    begun = [record.sequence for record in journal if record.is_beginning]
    assert begun == [first]
    assert [record.sequence for record in journal] == list(range(journal[0].sequence, journal[-1].sequence + 1))
    assert at_kill < journal[-1].sequence
    # An empty Redis begins with the beginning, although the journal has records before it that do not reach back.
    made = state(lived)
    flush(lived)
    rebuilt(lived, "journal")
    assert state(lived) == made
    goes_on(lived)


def lose_journal(d: Deployment) -> None:
    """Redis is empty and the journal gone."""
    flush(d)
    admin = topics.connect(d.kafka.address)
    admin.delete_topics([JOURNAL.name])
    d.wait(lambda: JOURNAL.name not in admin.list_topics(), "the journal is gone", 30)
    admin.close()
    d.create_topics()
