"""A Redis Cluster loses a master while events flow: its shards wait for the failover, go on by themselves, and the audit finds nothing wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.local.kafka import KafkaBroker
from engine.policy.promote import promote
from engine.policy.source import load_policy
from scripts.personas import midnight_before
from scripts.spoil import LATE_DAYS
from tests.e2e.audit import audit
from tests.e2e.cluster import Cluster, ClusterServer
from tests.e2e.deployment import ROOT, Deployment

PARTITIONS: Final = 12
ACCOUNTS: Final = 100
DAYS: Final = 60
RATE: Final = 1_000
BACK_WITHIN_S: Final = 10.0


@dataclass
class ClusterDeployment(Deployment):
    """Its ``redis`` is the member of the cluster that is asked first."""

    cluster: Cluster | None = None

    def fields(self, shard: int) -> dict[str, bytes]:
        """See ``Deployment``."""
        assert self.cluster is not None
        return self.cluster.fields(self.application, shard)

    def told(self, number: int) -> list[dict[str, Any]]:
        """What a worker has said."""
        return [json.loads(line) for line in self.log_of(number).splitlines()]


@pytest.fixture
def clustered(tmp_path: Path) -> Iterator[ClusterDeployment]:
    cluster, kafka = Cluster(tmp_path, with_replicas=True), KafkaBroker(tmp_path / "kafka")
    d = ClusterDeployment(kafka, cluster.servers[0], tmp_path, PARTITIONS, cluster=cluster)
    try:
        cluster.start()
        kafka.start()
        d.create_topics()
        yield d
    finally:
        d.stop()
        kafka.stop()
        cluster.stop()
        for number in range(len(d.workers)):
            print(f"worker {number}: ...{d.log_of(number)[-3000:]}")


@pytest.mark.slow
def test_a_master_is_lost_under_load(clustered: ClusterDeployment) -> None:
    d = clustered
    assert d.cluster is not None
    servers = d.cluster.servers
    start_ms = midnight_before(datetime.now(UTC), DAYS + LATE_DAYS)
    policy = load_policy(ROOT / "policies" / "minimal.yaml")
    d.promote(policy, start_ms)
    d.start_worker()
    d.wait(lambda: d.log_of(0).count('"event": "policy in force"') == PARTITIONS, "the policy is in force everywhere", 180)
    options = {"--kafka": d.kafka.address, "--accounts": ACCOUNTS, "--days": DAYS, "--rate": RATE, "--start-ms": start_ms, "--seed": 5}
    traffic = d.run("-m", "scripts.traffic", *(str(word) for pair in options.items() for word in pair), log="traffic.log")
    d.wait(lambda: d.taken() > RATE, "it works", 60)

    # The very server that the worker was pointed to is lost.
    lost = d.cluster.shards_of(0, d.application, PARTITIONS)
    assert lost
    d.redis = servers[1]
    before = {shard: d.fields(shard) for shard in range(PARTITIONS)}
    killed_at = datetime.now(UTC)
    servers[0].kill()
    d.wait(lambda: set(lost) <= {line["shard"] for line in d.told(0) if line["event"] == "goes on"}, "every shard is back", 60)
    back_s = {
        line["shard"]: (datetime.fromisoformat(line["timestamp"]) - killed_at).total_seconds()
        for line in d.told(0)
        if line["event"] == "goes on"
    }
    print(f"back after the loss of a master, in s: {back_s}")
    assert max(back_s.values()) < BACK_WITHIN_S
    assert traffic.is_running(), "it was under load all the while"
    d.wait(lambda: all(moved(before[shard], d.fields(shard)) for shard in lost), "they work", 30)

    # It comes back as a replica, by which commands find the others.
    servers[0].start()
    shards = json.loads(said(servers[0], "policy", "status", "--json"))["shards"]
    assert len(shards) == PARTITIONS
    assert "is a cluster of 3 masters" in said(servers[0], "doctor", "--kafka", d.kafka.address)

    d.wait(lambda: not traffic.is_running(), "all events are sent", 60)
    d.wait(d.is_all_taken, "everything is taken", 60)
    assert d.workers[0].is_running()
    inputs, journal, changes = d.inputs(), d.journal(), d.changes()
    account = next(change["account_id"] for mine in changes.values() for change in mine)
    assert json.loads(said(servers[2], "account", "show", account, "--json"))["account_id"] == account
    counts = audit(promote(policy, None, datetime.fromtimestamp(start_ms / 1000, UTC)), inputs, journal, changes, d.accounts)
    assert counts["records"] > 10 * RATE
    assert counts["dead_letters"] == len(d.dead_letters())
    assert "Traceback" not in d.log_of(0)


def moved(before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """Whether a shard has applied more."""
    return int(after.get("sequence", 0)) > int(before["sequence"])


def said(server: ClusterServer, *words: str) -> str:
    """What a command says that is pointed to one of the servers."""
    result = CliRunner().invoke(app, [*words, "--redis", server.url])
    assert result.exit_code == 0, result.output
    return result.stdout
