"""``policy status`` on a real Redis: which version each shard decides by, how far its sweep is, and whether all agree."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import redis
from typer.testing import Result

from engine.local.redis_server import RedisServer
from engine.policy.promote import canonical_bytes, policy_hash, promote
from engine.policy.source import load_policy
from engine.state import keys
from engine.stream.sweep import Sweep
from tests.cli.program import DATA, say

FIRST: Final = promote(load_policy(DATA / "policy.yaml"), None, datetime(2026, 3, 1, tzinfo=UTC))
SECOND: Final = promote(FIRST.model_copy(update={"version": 4}), FIRST, datetime(2026, 3, 5, tzinfo=UTC))
DAY: Final = (datetime(2026, 3, 5, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
HALF_WAY: Final = Sweep(DAY, "c-7", 3, bucket=200, after=b"a-1", left=128)
DONE: Final = Sweep(DAY, "day:2026-03-05", bucket=0, left=0)


class Shards:
    """The hashes of a deployment's shards."""

    def __init__(self, server: RedisServer) -> None:
        self.url = server.url
        self.application = f"s{uuid.uuid4().hex}"

    def hold(self, shard: int, fields: Mapping[str, bytes | int]) -> None:
        """Add fields to a shard's hash."""
        with redis.Redis.from_url(self.url) as client:
            client.hset(keys.ShardKeys(self.application, shard).shard, mapping=dict(fields))

    def status(self, *words: str) -> Result:
        """Ask."""
        return say("policy", "status", "--redis", self.url, "--application", self.application, *words)

    def plain(self) -> tuple[int, dict[str, Any]]:
        """Ask for JSON: exit code and what it says."""
        told = self.status("--json")
        (line,) = told.stdout.splitlines()
        return told.exit_code, json.loads(line)


@pytest.fixture
def shards(redis_server: RedisServer) -> Shards:
    """Three shards; two have begun, and have the first version."""
    found = Shards(redis_server)
    for shard, sequence in ((0, 41), (1, 57)):
        found.hold(shard, {keys.PARTITIONS: 3, keys.SEQUENCE: sequence, keys.POLICY: canonical_bytes(FIRST)})
    return found


def test_every_shard_is_told(shards: Shards) -> None:
    shards.hold(0, {keys.SWEEP: HALF_WAY.encode()})
    shards.hold(1, {keys.SWEEP: DONE.encode()})
    shards.hold(2, {keys.PARTITIONS: 3, keys.SEQUENCE: 9, keys.POLICY: canonical_bytes(FIRST)})
    named = {"policy": "corner_shop", "version": 3, "hash": policy_hash(FIRST)}
    sweep = {"day": "2026-03-05", "buckets": 256}
    assert shards.plain() == (
        0,
        {
            "application": shards.application,
            "shards": [
                {"shard": 0, **named, "sequence": 41, "sweep": {**sweep, "cause": "c-7", "buckets_swept": 128}},
                {"shard": 1, **named, "sequence": 57, "sweep": {**sweep, "cause": "day:2026-03-05", "buckets_swept": 256}},
                {"shard": 2, **named, "sequence": 9, "sweep": None},
            ],
            "problem": None,
        },
    )
    told = shards.status()
    assert (told.exit_code, told.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in told.stdout.splitlines() if line.startswith("│")]
    short = ["corner_shop", "3", policy_hash(FIRST)[:12]]
    assert rows == [
        ["0", *short, "41", "control 128/256"],
        ["1", *short, "57", "2026-03-05 done"],
        ["2", *short, "9", "none yet"],
    ]


def test_shards_that_differ_are_a_finding(shards: Shards) -> None:
    shards.hold(1, {keys.POLICY: canonical_bytes(SECOND)})
    one, two = (f"corner_shop version {policy.version} ({policy_hash(policy)[:12]})" for policy in (FIRST, SECOND))
    problem = f"not all shards decide by the same policy: {one} on shard 0; {two} on shard 1; no policy on shard 2"
    code, plain = shards.plain()
    assert (code, plain["problem"]) == (1, problem)
    assert [shard["version"] for shard in plain["shards"]] == [3, 4, None]
    told = shards.status()
    assert told.exit_code == 1
    assert told.stderr.startswith(f"problem {problem}\n  cure look again: ")
    assert told.stdout.count("corner_shop") == 2
    shards.hold(2, {keys.PARTITIONS: 3, keys.POLICY: canonical_bytes(SECOND)})
    assert shards.plain()[1]["problem"] == f"not all shards decide by the same policy: {one} on shard 0; {two} on shards 1, 2"


def test_one_number_and_another_document_are_told_apart(shards: Shards) -> None:
    other = promote(FIRST.model_copy(update={"utc_offset_minutes": 0}), None, datetime(2026, 3, 1, tzinfo=UTC))
    shards.hold(1, {keys.POLICY: canonical_bytes(other)})
    shards.hold(2, {keys.PARTITIONS: 3, keys.POLICY: canonical_bytes(other)})
    assert shards.plain()[0] == 1


def test_a_document_of_a_newer_engine_is_told(shards: Shards) -> None:
    newer = {**json.loads(canonical_bytes(FIRST)), "a_word_to_come": 1}
    for shard in range(3):
        shards.hold(shard, {keys.POLICY: json.dumps(newer).encode()})
    code, plain = shards.plain()
    assert (code, {shard["policy"] for shard in plain["shards"]}) == (0, {"corner_shop"})


def test_a_deployment_that_has_not_begun(redis_server: RedisServer) -> None:
    told = Shards(redis_server).status()
    assert (told.exit_code, told.stdout) == (2, "")
    assert "has no state there" in told.stderr
