"""Writing the wish to forget an account: a record of ``account-profiles`` with its key and without a value."""

from __future__ import annotations

from kafka import KafkaProducer

from engine.connections import kafka_client
from engine.errors import EngineError
from engine.settings import Kafka
from engine.stream.topics import CREATE
from schemas.topics import PROFILES


def publish_tombstone(kafka: Kafka, account: bytes, shard: int, partitions: int) -> int:
    """Write a tombstone to the account's partition, which is its shard; its offset. Raises EngineError if the topic does not have as many
    partitions as the state was made with: the account's place in it would be another."""
    producer = kafka_client(
        KafkaProducer,
        kafka,
        acks="all",
        enable_idempotence=True,
        max_block_ms=30_000,
    )
    try:
        there = producer.partitions_for(PROFILES.name)
        if not there:
            raise EngineError(f"{PROFILES.name}: not there", where="topics", cure=CREATE)
        if len(there) != partitions:
            raise EngineError(
                f"{PROFILES.name} has {len(there)} partitions, and the state in Redis was made with {partitions}",
                where="topics",
                cure="do --kafka and --redis belong to one deployment? `limit-engine doctor` looks",
            )
        placed = producer.send(PROFILES.name, key=account, value=None, partition=shard).get(timeout=30)
        return int(placed.offset)
    finally:
        producer.close(timeout=5)
