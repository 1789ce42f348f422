"""The doctor on a real Kafka and a real Redis: whether evidence is kept as long as the policies in force ask."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import pytest
import redis
from kafka.admin import ConfigResource, ConfigResourceType

from engine.local.kafka import KafkaBroker
from engine.local.redis_server import RedisServer
from engine.policy.promote import canonical_bytes, promote
from engine.policy.source import load_policy
from engine.state import keys
from engine.stream import control, topics
from schemas.topics import evidence_ms
from tests.cli.program import ROOT, say

DEFAULT: Final = load_policy(ROOT / "policies" / "default.yaml", date(2026, 3, 1))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker of this module's own."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


def complaints(broker: KafkaBroker, valkey: RedisServer, application: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of the doctor and what it finds wrong."""
    told = say("doctor", "--json", "--kafka", broker.address, "--redis", valkey.url, "--application", application)
    return told.exit_code, [finding for finding in map(json.loads, told.stdout.splitlines()) if not finding["ok"]]


def keep(broker: KafkaBroker, topic: str, retention_ms: int) -> None:
    """Do what the doctor says."""
    admin = topics.connect(broker.settings)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": str(retention_ms)})])
    admin.close()


def test_the_doctor_compares_retentions_with_the_policies_in_force(broker: KafkaBroker, valkey: RedisServer) -> None:
    application = f"d{uuid.uuid4().hex}"
    created = say("topics", "create", "--partitions", "2", "--retention", "limit-changes=1825", "--kafka", broker.address)
    assert created.exit_code == 0
    assert "limit-changes is evidence, and is kept 1825 days: `limit-engine doctor` compares" in created.stderr
    assert "limit-advisories is evidence" not in created.stderr

    code, (wrong,) = complaints(broker, valkey, application)  # no policy is in force
    assert code == 1
    assert wrong["what"] == (
        "topics: limit-changes keeps records 1825 days (retention.ms=157680000000): "
        "a policy that does not say otherwise asks for 60 months of evidence, 1860 days"
    )
    assert f"--bootstrap-server {broker.address} --alter --entity-type topics --entity-name limit-changes" in wrong["cure"]
    assert "retention.ms=160704000000" in wrong["cure"]
    keep(broker, "limit-changes", 160_704_000_000)
    assert complaints(broker, valkey, application) == (0, [])

    # A policy that asks for more, in force by limit-control
    longer = DEFAULT.model_copy(update={"evidence_months": 84})
    control.publish(broker.settings, control.activation(longer, None, "test", None, control.utc_now()))
    code, found = complaints(broker, valkey, application)
    assert code == 1
    assert [finding["what"].split()[1] for finding in found] == ["limit-commands", "limit-changes", "limit-advisories"]
    assert all("policy default version 1 asks for 84 months" in finding["what"] for finding in found)
    for topic in ("limit-commands", "limit-changes", "limit-advisories"):
        keep(broker, topic, evidence_ms(84))
    assert complaints(broker, valkey, application) == (0, [])

    # The journal must reach back as far as a backup may be old
    keep(broker, "limit-journal", 86_400_000)
    code, (wrong,) = complaints(broker, valkey, application)
    assert (code, wrong["what"]) == (
        1,
        "topics: limit-journal keeps records 1 days (retention.ms=86400000): a backup of Redis may be 7 days old (redis.backup_days)",
    )
    assert "--entity-name limit-journal --add-config retention.ms=604800000" in wrong["cure"]
    keep(broker, "limit-journal", 604_800_000)
    assert complaints(broker, valkey, application) == (0, [])

    # And one that a shard still goes by
    before = promote(DEFAULT.model_copy(update={"evidence_months": 120, "policy": "of_old"}), None, control.utc_now())
    with redis.Redis.from_url(valkey.url) as client:
        client.hset(keys.ShardKeys(application, 0).shard, mapping={keys.PARTITIONS: 2, keys.SEQUENCE: 1})
        client.hset(keys.ShardKeys(application, 1).shard, mapping={keys.POLICY: canonical_bytes(before)})
    code, found = complaints(broker, valkey, application)
    assert (code, len(found)) == (1, 3)
    assert all("policy of_old version 1 asks for 120 months" in finding["what"] for finding in found)
