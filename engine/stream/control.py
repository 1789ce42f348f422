"""Writing to ``limit-control``: one copy of a record for each shard, all in one transaction; and the policy that was activated last."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from engine.connections import kafka_client
from engine.errors import EngineError
from engine.policy.document import Policy
from engine.policy.promote import canonical_bytes, policy_hash, promote, rfc3339
from engine.settings import Kafka
from engine.stream.appetite import check_switch
from engine.stream.brakes import check_breaker
from engine.stream.topics import CREATE
from schemas.access import CONTROL_ID
from schemas.topics import CONTROL


def active_policy(kafka: Kafka) -> Policy | None:
    """The policy of the newest activation in ``limit-control``, None if there is none. Raises EngineError if the topic is not there."""
    consumer = kafka_client(
        KafkaConsumer,
        kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        consumer_timeout_ms=10_000,
    )
    try:
        if not consumer.partitions_for_topic(CONTROL.name):
            raise EngineError(f"{CONTROL.name}: not there", where="topics", cure=CREATE)
        partition = TopicPartition(CONTROL.name, 0)
        consumer.assign([partition])
        end = consumer.end_offsets([partition])[partition]
        consumer.seek_to_beginning(partition)
        newest = None
        while consumer.position(partition) < end:
            for record in consumer.poll(timeout_ms=1000).get(partition, []):
                value = json.loads(record.value)
                if value["kind"] == "activate":
                    newest = value["policy"]
        return None if newest is None else Policy.from_plain(newest)
    finally:
        consumer.close()


def activation(policy: Policy, previous: Policy | None, issued_by: str, approved_by: str | None, now: datetime) -> dict[str, Any]:
    """The control record that puts a policy in force after ``previous``. Raises EngineError if it is no newer version."""
    promoted = promote(policy, previous, now)
    if previous is not None:
        if policy_hash(promoted) == policy_hash(previous):
            raise EngineError(f"this very policy is in force already ({policy.policy} version {policy.version})", where="policy")
        if promoted.policy == previous.policy and promoted.version <= previous.version:
            cure = f"give it version {previous.version + 1} or higher"
            raise EngineError(
                f"version {previous.version} of {previous.policy} is in force, this is {promoted.version}", where="policy", cure=cure
            )
    record = {
        "control_id": str(uuid.uuid4()),
        "issued_at": rfc3339(now),
        "issued_by": issued_by,
        "kind": "activate",
        "policy": json.loads(canonical_bytes(promoted)),
        "policy_hash": policy_hash(promoted),
    }
    return record if approved_by is None else record | {"approved_by": approved_by}


def appetite(
    policy: Policy | None,
    segment: str,
    mode: str,
    expected_decreases: int,
    reason: str,
    issued_by: str,
    approved_by: str,
    now: datetime,
) -> dict[str, Any]:
    """The control record that puts an appetite in force under the active policy. Raises EngineError if that does not know it, or one person
    alone sets it."""
    if policy is None:
        raise EngineError("no policy is in force", where="policy", cure="`limit-engine policy promote FILE`")
    if issued_by == approved_by:
        raise EngineError(f"{issued_by} cannot approve what {issued_by} sets", where="--approved-by", cure="name the second person")
    try:
        check_switch(policy, segment, mode)
    except ValueError as error:
        raise EngineError(str(error), where="policy") from error
    return {
        "control_id": str(uuid.uuid4()),
        "issued_at": rfc3339(now),
        "issued_by": issued_by,
        "approved_by": approved_by,
        "kind": "appetite",
        "segment": segment,
        "mode": mode,
        "expected_decreases": expected_decreases,
        "reason": reason,
    }


def release_breaker(
    policy: Policy | None, segment: str | None, reason: str, issued_by: str, approved_by: str | None, now: datetime
) -> dict[str, Any]:
    """The control record that releases the tripped breakers of a segment, or of all. Raises EngineError if the active policy has none there."""
    if policy is None:
        raise EngineError("no policy is in force", where="policy", cure="`limit-engine policy promote FILE`")
    try:
        check_breaker(policy, segment)
    except ValueError as error:
        raise EngineError(str(error), where="policy") from error
    record = {
        "control_id": str(uuid.uuid4()),
        "issued_at": rfc3339(now),
        "issued_by": issued_by,
        "approved_by": approved_by,
        "kind": "release_breaker",
        "segment": segment,
        "reason": reason,
    }
    return {name: value for name, value in record.items() if value is not None}


def publish(kafka: Kafka, record: dict[str, Any], timestamp_ms: int | None = None) -> int:
    """Write a control record to every partition, in one transaction; the number of partitions."""
    producer = kafka_client(
        KafkaProducer,
        kafka,
        transactional_id=CONTROL_ID,
        acks="all",
        max_request_size=CONTROL.bytes_max,
        max_block_ms=30_000,
    )
    try:
        producer.init_transactions()
        partitions = producer.partitions_for(CONTROL.name)
        value = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
        producer.begin_transaction()
        sent = [producer.send(CONTROL.name, value, partition=partition, timestamp_ms=timestamp_ms) for partition in sorted(partitions)]
        for future in sent:
            future.get(timeout=30)
        producer.commit_transaction()
        return len(sent)
    finally:
        producer.close(timeout=5)


def utc_now() -> datetime:
    """The wall clock, for records that a person issues."""
    return datetime.now(UTC)
