"""The roofline: fetch, decode, one write to Redis a batch, and no logic. What the engine's path costs before it does anything.

The same consumer settings and the same decoder as the engine's; the write stores as many accounts as the batch has, a fixed 700 bytes each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from prometheus_client import Counter, start_http_server
from redis.asyncio import Redis

from engine.policy.compile import compile_policy
from engine.policy.source import load_policy
from engine.settings import load_settings
from engine.stream.decode.decoder import Decoder
from engine.stream.record_batches import as_columns
from engine.stream.records import TOPICS, Chunk
from engine.stream.transport import FETCH_BYTES_MAX, FETCH_PARTS_MAX
from scripts.benchmark.load import TOPICS as NAMES

VALUE: Final = bytes(700)
POLICY: Final = Path(__file__).resolve().parents[2] / "policies" / "default.yaml"
RECORDS: Final = Counter("limits_records", "Records that were taken")


async def work(partitions: int) -> None:
    """Read the topics from their beginning, for ever."""
    settings = load_settings()
    rules = compile_policy(load_policy(POLICY, datetime.now(UTC)), settings.key).decode
    decoders = [Decoder(rules, settings.key, partition, partitions) for partition in range(partitions)]
    redis = Redis.from_url(settings.redis.url)
    consumer: Any = AIOKafkaConsumer(
        *NAMES,
        bootstrap_servers=settings.kafka.bootstrap,
        group_id="roofline",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        value_deserializer=as_columns,
        fetch_max_bytes=FETCH_BYTES_MAX,
        max_partition_fetch_bytes=FETCH_BYTES_MAX // 4,
    )
    await consumer.start()
    while True:
        for place, parts in (await consumer.getmany(timeout_ms=500, max_records=FETCH_PARTS_MAX)).items():
            chunk = Chunk.joined(TOPICS[place.topic], parts)
            decoded = decoders[place.partition].decode(chunk)
            if not decoded.accepted.all():
                sys.exit(f"the load has records that cannot be taken: {decoded.rejects[:3]}")
            await redis.hset(f"roofline:{place.partition}", mapping=dict.fromkeys((key for key in chunk.keys if key), VALUE))
            RECORDS.inc(len(chunk))


if __name__ == "__main__":
    start_http_server(int(os.environ["BENCH_METRICS_PORT"]))
    asyncio.run(work(int(sys.argv[1])))
