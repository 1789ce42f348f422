"""``appetite status`` on a real Redis: by which appetite each shard decides, and how many of its accounts were looked at since."""

from __future__ import annotations

import json
import uuid
from typing import Final

import pytest
import redis

from engine.local.redis_server import RedisServer
from engine.state import keys
from engine.stream.appetite import Appetites, Switch
from engine.stream.sweep import Sweep
from tests.cli.program import say

DAY: Final = 20_517  # 2026-03-05
CONTRACTION: Final = Appetites({"individual": Switch("individual", "contraction", DAY, "c-7", 1_200)}).encode()
SWITCHED: Final = Sweep(DAY, bucket=200).begun(DAY, "c-7", 3)


@pytest.fixture
def shards(redis_server: RedisServer) -> list[str]:
    """The words that name a deployment of four shards: one has just switched, one is on the way, one goes on in the sweep of the next day, one
    has done with both."""
    application = f"s{uuid.uuid4().hex}"
    on_the_way = SWITCHED.moved(200, b"a-1")
    next_day = on_the_way.begun(DAY + 1, "day:2026-03-06")
    sweeps = [SWITCHED, on_the_way, next_day.moved(55, b"a-9"), next_day.moved(256, b"")]
    with redis.Redis.from_url(redis_server.url) as client:
        for shard, sweep in enumerate(sweeps):
            fields: dict[str, bytes | int] = {keys.PARTITIONS: 4, keys.SEQUENCE: 9, keys.APPETITES: CONTRACTION, keys.SWEEP: sweep.encode()}
            client.hset(keys.ShardKeys(application, shard).shard, mapping=dict(fields))
    return ["appetite", "status", "--redis", redis_server.url, "--application", application]


def test_how_far_the_accounts_are(shards: list[str]) -> None:
    told = say(*shards)
    assert (told.exit_code, told.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in told.stdout.splitlines() if line.startswith("│")]
    appetite = ["individual contraction", "2026-03-05"]
    assert rows == [
        ["0", *appetite, "0 %", "control 0/256"],
        ["1", *appetite, "78 %", "control 200/256"],
        ["2", *appetite, "99 %", "2026-03-06 55/256"],
        ["3", *appetite, "all", "2026-03-06 done"],
    ]


def test_as_json(shards: list[str]) -> None:
    told = say(*shards, "--json")
    plain = json.loads(told.stdout)
    assert plain["agree"]
    assert [shard["buckets_followed"] for shard in plain["shards"]] == [0, 200, 255, 256]
    assert [shard["sweep"]["cause"] for shard in plain["shards"]] == ["c-7", "c-7", "day:2026-03-06", "day:2026-03-06"]
    assert {switch["control_id"] for shard in plain["shards"] for switch in shard["appetites"]} == {"c-7"}


def test_shards_that_differ_are_a_finding(shards: list[str]) -> None:
    with redis.Redis.from_url(shards[3]) as client:
        client.hdel(keys.ShardKeys(shards[5], 2).shard, keys.APPETITES)
    told = say(*shards)
    assert told.exit_code == 1
    assert "not all shards decide by the same appetite" in told.stderr
    assert "neutral" in told.stdout
