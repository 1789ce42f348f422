"""A deployment whose synthetic customers have lived for a while."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.policy.source import load_policy
from engine.state import keys
from engine.stream import control
from schemas.topics import ADVISORIES, CHANGES
from scripts.personas import midnight_before
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.publisher import Publisher


def lived_deployment(directory: Path, partitions: int, accounts: int, days: int, *more: str) -> Iterator[Deployment]:
    """Start, let customers live, stop the worker, give, end."""
    deployments = deployed(directory, partitions)
    d = next(deployments)
    d.settings = {"LIMITS_SHARD__BATCH_RECORDS": "300", "LIMITS_KAFKA__SESSION_TIMEOUT_S": "6"}
    start_ms = midnight_before(datetime.now(UTC), days + 1)
    d.promote(load_policy(ROOT / "policies" / "default.yaml", datetime.now(UTC)), start_ms)
    d.start_worker()
    options = {"--accounts": accounts, "--days": days, "--start-ms": start_ms, "--seed": 5, "--rate": 0}
    words = ("-m", "scripts.traffic", "--kafka", d.kafka.address, *(str(word) for pair in options.items() for word in pair), *more)
    traffic = d.run(*words, log="traffic.log")
    d.wait(lambda: not traffic.is_running(), "all events are sent", 120)
    d.wait(d.is_all_taken, "everything is taken", 120)
    d.stop()
    yield d
    next(deployments, None)


def promote_next(d: Deployment) -> None:
    """Put the next version in force; every shard commits that, and sweeps."""
    active = control.active_policy(d.kafka.address)
    assert active is not None
    d.promote(active.model_copy(update={"version": active.version + 1}), int(time.time() * 1000), active)


def take_the_rest(d: Deployment) -> None:
    """A worker takes what the rebuild left, and goes through everybody once more."""
    worker = d.start_worker()
    d.wait(d.is_all_taken, "everything is taken", 120)
    d.wait(lambda: all(status.buckets_swept == keys.BUCKETS for status in d.status()), "everybody was looked at", 60)
    worker.stop(20)


def goes_on(d: Deployment) -> None:
    """A worker goes on: what it announces bears the next numbers, of each account and of each shard, and contradicts nothing."""
    before = {shard: len(found) for shard, found in d.changes().items()}
    newest = {change["account_id"]: change["standing"] for found in d.changes().values() for change in found}
    asked: set[int] = set()
    for account, standing in sorted(newest.items()):
        publisher = Publisher(d, account)
        if standing["state"] == "open" and publisher.partition not in asked:
            asked.add(publisher.partition)
            kind = "unfreeze" if "legal" in standing["blocks"] else "freeze"
            common = {"command_id": f"{account}-{standing['limit_minor']}-{time.time()}", "account_id": account, "issued_by": "test"}
            command = common | {"issued_at": datetime.now(UTC).isoformat(), "kind": kind, "cause": "legal", "reason": "a test"}
            publisher.publish("limit-commands", json.dumps(command).encode(), account.encode())
            publisher.flush()
    assert len(asked) > 1
    promote_next(d)
    take_the_rest(d)
    assert all(len(d.changes()[shard]) > before.get(shard, 0) for shard in asked), "each shard has announced something"
    by_account: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for found in d.changes().values():
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for change in found:
            by_account[change["account_id"]].append(change)
            numbers[change["account_id"]].append(change["sequence"])
        assert all(mine == sorted(mine) for mine in numbers.values())
    for changes in by_account.values():
        changes.sort(key=lambda change: int(change["sequence"]))  # they may lie in two partitions
        assert [change["sequence"] for change in changes] == list(range(1, len(changes) + 1))
        assert all(a["standing"]["limit_minor"] == b["previous"]["limit_minor"] for a, b in pairwise(changes))
    outputs = d.read(CHANGES.name), d.read(ADVISORIES.name)
    for shard in range(d.partitions):
        numbered = sorted(int(dict(m.headers())["output_sequence"]) for topic in outputs for m in topic[shard])
        assert numbered == list(range(1, len(numbered) + 1))
