"""How much a customer's state takes: ``python -m scripts.benchmark.memory``, a year of synthetic customers under the default policy.

Prints the mean size of a value, how long writing and reading one takes, what a worker's cache has for an account behind the rows, and INFO memory
of a real Redis over accounts; for the last two each is held twenty times under another id, so that what they need for themselves does not count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from redis import Redis

from engine.core.fingerprint import FingerprintKey
from engine.core.packed import Packed
from engine.core.rows import blank_row
from engine.local.redis_server import RedisServer
from engine.policy.compile import compile_policy
from engine.policy.promote import promote
from engine.policy.source import load_policy
from engine.state import keys
from engine.state.codec import RowCodec
from engine.state.state_cache import StateCache
from engine.stream import offline
from engine.stream.offline import LogRecord
from engine.stream.records import TOPICS
from scripts.personas import midnight_before, population
from scripts.spoil import encode

KEY: Final = FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")
POLICY: Final = Path(__file__).resolve().parents[2] / "policies" / "default.yaml"
COPIES: Final = 20
CACHE_BYTES: Final = 64_000_000
DAYS: Final = 360


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    now = datetime.now(UTC)
    policy = promote(load_policy(POLICY, now), None, now)
    items = population(options.accounts, options.seed, midnight_before(now, DAYS), DAYS)
    log = [
        LogRecord(TOPICS[item.topic], place, item.at_ms, item.value["account_id"].encode(), encode(item.value))
        for place, item in enumerate(items, 1)
    ]
    states: dict[bytes, bytes] = {}
    for record in offline.decide([offline.activation(policy), *log], KEY, "limits"):
        states.update((account, value) for account, value in record.accounts if value is not None)
    accounts, values = Packed.of(states), Packed.of(states.values())

    layout = compile_policy(policy, KEY).layout
    codec, slots = RowCodec(layout), np.arange(len(values))
    rows = np.tile(blank_row(layout), (len(values), 1))
    began = time.perf_counter()
    codec.decode(accounts, values, rows, slots)
    decoded = time.perf_counter()
    codec.encode(rows, slots)
    encoded = time.perf_counter()
    print(f"{len(values)} accounts: a value has {values.size() / len(values):.0f} bytes on average, {values.lengths().max()} at most")
    print(f"read in {1e6 * (decoded - began) / len(values):.1f} µs, written in {1e6 * (encoded - decoded) / len(values):.1f} µs")
    copies = {account + b"%02d" % copy: value for account, value in states.items() for copy in range(COPIES)}
    cache = StateCache(CACHE_BYTES)
    cache.keep(Packed.of(copies), Packed.of(copies.values()))
    print(f"cached: {cache.size / len(cache):.0f} bytes an account, {len(cache)} of them")
    with tempfile.TemporaryDirectory(prefix="limit-engine-memory-") as name:
        print(f"Redis: {redis_bytes(Path(name), copies):.0f} bytes of INFO memory an account")


def redis_bytes(directory: Path, states: dict[bytes, bytes]) -> float:
    """INFO memory per account."""
    server = RedisServer(directory / "redis")
    server.start()
    try:
        client, shard = Redis.from_url(server.url), keys.ShardKeys("limits", 0)
        before = client.info("memory")["used_memory"]
        with client.pipeline() as pipeline:
            for account, value in states.items():
                pipeline.hset(shard.accounts(keys.bucket_of(account)), account, value)
            pipeline.execute()
        return float(client.info("memory")["used_memory"] - before) / len(states)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
