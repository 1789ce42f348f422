"""A second Redis that follows the journal, compared with the workers'."""

from __future__ import annotations

import json
from typing import Any

from engine.local.redis_server import RedisServer
from tests.e2e.deployment import Deployment


def follow_once(d: Deployment, to: RedisServer, within_s: float = 60) -> list[dict[str, Any]]:
    """Let it follow to the journal's end; what is told of each shard."""
    done = d.command("follow", "--to", to.url, "--once", "--json", within_s=within_s)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["shards"])


def compared(d: Deployment, with_: RedisServer, within_s: float = 60) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of the comparison, and what is told of each shard."""
    done = d.command("state", "digest", "--against", with_.url, "--json", within_s=within_s)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, list(json.loads(done.stdout)["shards"])


def digests(d: Deployment) -> list[dict[str, Any]]:
    """Of the workers' Redis, by shard."""
    done = d.command("state", "digest", "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["shards"])
