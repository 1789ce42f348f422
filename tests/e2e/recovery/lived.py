"""A deployment whose synthetic customers have lived for a while, and how it goes on."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.local.kafka import KafkaBroker
from engine.policy.source import load_policy
from engine.state import keys
from engine.stream import control
from schemas.topics import ADVISORIES, CHANGES
from scripts.personas import midnight_before
from scripts.spoil import LATE_DAYS
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.publisher import Publisher


def lived_deployment(
    directory: Path, partitions: int, accounts: int, days: int, *more: str, broker: type[KafkaBroker] = KafkaBroker
) -> Iterator[Deployment]:
    """Start, let customers live, stop the worker, give, end."""
    deployments = deployed(directory, partitions, broker=broker)
    d = next(deployments)
    d.settings = {"LIMITS_SHARD__BATCH_RECORDS": "300", "LIMITS_KAFKA__SESSION_TIMEOUT_S": "6"}
    start_ms = midnight_before(datetime.now(UTC), days + LATE_DAYS)
    d.promote(load_policy(ROOT / "policies" / "default.yaml", datetime.now(UTC)), start_ms)
    d.start_worker()
    options = {"--accounts": accounts, "--days": days, "--start-ms": start_ms, "--seed": 5, "--rate": 0}
    words = ("-m", "scripts.traffic", "--kafka", d.kafka.address, *(str(word) for pair in options.items() for word in pair), *more)
    traffic = d.run(*words, log="traffic.log")
    d.wait(lambda: not traffic.is_running(), "all events are sent", 120)
    come_to_rest(d)
    d.stop()
    yield d
    next(deployments, None)


def come_to_rest(d: Deployment) -> None:
    """Wait until nothing is left to take or to sweep: a worker that is stopped in between may have committed what it has not applied."""
    d.wait(d.is_all_taken, "everything is taken", 120)
    d.wait(lambda: all(status.buckets_swept == keys.BUCKETS for status in d.status()), "everybody was looked at", 60)


def promote_next(d: Deployment) -> None:
    """Put the next version in force; every shard commits that, and sweeps."""
    active = control.active_policy(d.kafka.settings)
    assert active is not None
    d.promote(active.model_copy(update={"version": active.version + 1}), int(time.time() * 1000), active)


def take_the_rest(d: Deployment) -> None:
    """A worker takes what there is, and goes through everybody once more."""
    worker = d.start_worker()
    come_to_rest(d)
    worker.stop(20)


def goes_on(d: Deployment) -> None:
    """A worker goes on: what it announces bears the next numbers, of each account and of each shard, and contradicts nothing."""
    before = d.changes()
    newest: dict[str, dict[str, Any]] = {}
    for change in (change for found in before.values() for change in found):
        if change["sequence"] > newest.get(change["account_id"], {"sequence": 0})["sequence"]:
            newest[change["account_id"]] = change
    asked: set[int] = set()
    for account, change in sorted(newest.items()):
        publisher, standing = Publisher(d, account), change["standing"]
        if standing["state"] == "open" and publisher.partition not in asked:
            asked.add(publisher.partition)
            kind = "unfreeze" if "legal" in standing["blocks"] else "freeze"
            common = {"command_id": f"{account}-{change['sequence']}", "account_id": account, "issued_by": "test", "reason": "a test"}
            command = common | {"issued_at": datetime.now(UTC).isoformat(), "kind": kind, "cause": "legal"}
            publisher.publish("limit-commands", json.dumps(command).encode(), account.encode())
            publisher.flush()
    assert len(asked) > 1
    promote_next(d)
    take_the_rest(d)
    after = d.changes()
    assert all(len(after[shard]) > len(before.get(shard, ())) for shard in asked), "each shard has announced something"
    by_account: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for found in after.values():
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


def dies(d: Deployment, point: str, n: int, *words: str) -> None:
    """Run a command that is killed at the n-th time that it comes to a point (``dying``)."""
    log = f"dying-{len(list(d.directory.glob('dying-*')))}.log"
    assert d.run("-m", "tests.e2e.recovery.dying", point, str(n), *words, log=log).ends_within(60)
    assert (d.directory / log).read_text() == "", "it is killed before it can say anything"


def complaints(d: Deployment) -> str:
    """What the doctor finds wrong."""
    found = map(json.loads, d.command("doctor", "--json").stdout.splitlines())
    return "\n".join(finding["what"] for finding in found if not finding["ok"])


def stop_of_new_worker(d: Deployment) -> str:
    """What the first shard that stops says to one more worker, which is ended then."""
    number = len(d.workers)
    worker = d.start_worker()
    d.wait(lambda: '"event": "stopped"' in d.log_of(number), "a shard stops", 120)
    worker.stop(20)
    return next(line for line in d.log_of(number).splitlines() if '"event": "stopped"' in line)
