"""A deployment whose synthetic customers have lived for a while."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from engine.policy.source import load_policy
from engine.stream import control
from scripts.personas import midnight_before
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment


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
