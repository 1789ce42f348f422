"""A second Redis follows the journal and is the same at the same sequence; a shard whose Redis is empty or old catches up by itself."""

from __future__ import annotations

from typing import Any

import redis

from engine.local.redis_server import RedisServer
from engine.state import keys
from engine.state.record import JournalRecord
from tests.e2e.deployment import Deployment
from tests.e2e.recovery.lived import come_to_rest, promote_next
from tests.e2e.second import compared, follow_once

PARTITIONS = 3


def sequences(d: Deployment, server: RedisServer) -> list[Any]:
    """How far a Redis is, by shard."""
    with redis.Redis.from_url(server.url) as client:
        return [client.hget(keys.ShardKeys(d.application, shard).shard, keys.SEQUENCE) for shard in range(d.partitions)]


def since_beginning(records: list[bytes]) -> list[bytes]:
    """The journal records from the newest beginning on, if there is one: what an empty Redis takes."""
    beginnings = [place for place, raw in enumerate(records) if JournalRecord.decode(raw).is_beginning]
    return records[max(beginnings, default=0) :]


def test_a_follower_is_the_same_at_the_same_sequence(lived: Deployment, second: RedisServer) -> None:
    told = follow_once(lived, second)
    applied = [len(since_beginning(records)) for records in lived.journal().values()]
    assert [shard["applied"] for shard in told] == [shard["sequence"] for shard in told] == applied
    assert [shard["behind"] for shard in told] == [0] * PARTITIONS
    code, shards = compared(lived, second)
    assert code == 0
    assert [shard["against"]["result"] for shard in shards] == ["same"] * PARTITIONS
    assert len({shard["digest"] for shard in shards}) == PARTITIONS
    assert sum(shard["accounts"] for shard in shards) == 50
    # Once more there is nothing to do; and one byte of one account is seen.
    assert [shard["applied"] for shard in follow_once(lived, second)] == [0] * PARTITIONS
    account, state = next(iter(lived.accounts(1).items()))
    with redis.Redis.from_url(second.url) as client:
        client.hset(keys.ShardKeys("limits", 1).accounts(keys.bucket_of(account)), account.decode(), state + b"\0")
    code, shards = compared(lived, second)
    assert (code, [shard["against"]["result"] for shard in shards]) == (1, ["same", "different", "same"])


def test_a_follower_goes_on_until_it_is_stopped(lived: Deployment, second: RedisServer) -> None:
    """It begins behind an older copy, and takes what a worker commits meanwhile."""
    follower = lived.run("-m", "engine", "follow", "--to", second.url, log="follow.log")

    def says(what: str) -> bool:
        return what in (lived.directory / "follow.log").read_text()

    lived.wait(lambda: says("caught up after"), "it has caught up", 60)
    before = [status.applied for status in lived.status()]
    worker = lived.start_worker()
    promote_next(lived)
    lived.wait(lambda: all(now.applied > then for now, then in zip(lived.status(), before, strict=True)), "the worker commits", 60)
    come_to_rest(lived)
    worker.stop(20)
    lived.wait(lambda: sequences(lived, second) == sequences(lived, lived.redis), "the follower has it all", 60)
    assert compared(lived, second)[0] == 0
    assert follower.is_running()
    follower.stop(10)


def test_what_cannot_be_followed_is_said(lived: Deployment, second: RedisServer) -> None:
    told = lived.command("follow", "--to", lived.redis.url, "--once")
    assert (told.returncode, "the Redis of the workers" in told.stderr) == (2, True)
    told = lived.command("follow", "--to", second.url, "--once", "--application", "others")
    assert told.returncode == 2
    assert "the journal is application 'limits'" in told.stderr
    assert "LIMITS_APPLICATION=limits" in told.stderr
    with redis.Redis.from_url(second.url) as client:
        client.hset(keys.ShardKeys("limits", 0).shard, mapping={keys.SEQUENCE: 1, keys.JOURNAL_OFFSET: 10_000_000})
        told = lived.command("follow", "--to", second.url, "--once")
        assert told.returncode == 2
        assert "has applied the journal up to offset 10000000" in told.stderr
        client.config_set("maxmemory-policy", "allkeys-lru")
        told = lived.command("follow", "--to", second.url, "--once")
        assert told.returncode == 2
        assert "it may evict accounts" in told.stderr


def test_an_empty_redis_is_caught_up_by_the_worker(lived: Deployment) -> None:
    before = {shard: (lived.fields(shard), lived.accounts(shard)) for shard in range(PARTITIONS)}
    with redis.Redis.from_url(lived.redis.url) as client:
        client.flushall()
    number = len(lived.workers)
    worker = lived.start_worker()
    lived.wait(lambda: lived.log_of(number).count('"event": "caught up"') == PARTITIONS, "it has caught up", 60)
    worker.stop(20)
    assert {shard: (lived.fields(shard), lived.accounts(shard)) for shard in range(PARTITIONS)} == before
