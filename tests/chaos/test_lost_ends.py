"""Transactions that lose their end in some partitions, on a real Kafka: what was committed is there in the end, once, whatever it was and
however far its owner and the next ones came; in the end the audit of everything."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from aiokafka.client import AIOKafkaClient

from engine.policy.source import load_policy
from engine.stream.hanging import ends_of
from engine.stream.shard import AGAIN, ENDED
from schemas.topics import CHANGES, JOURNAL
from scripts.personas import midnight_before
from scripts.spoil import LATE_DAYS
from scripts.traffic import Publisher
from tests.chaos.failpoints import HANGING, MENDING
from tests.chaos.run import POLICY
from tests.chaos.test_failpoints import DAYS, PARTITIONS, SETTINGS, Failing, arrivals, publish
from tests.e2e.books import audit_books
from tests.e2e.conftest import Unverifying, deployed
from tests.e2e.deployment import Deployment


async def left_hanging(address: str) -> list[str]:
    """The topics in which something hangs, of all shards."""
    client = AIOKafkaClient(bootstrap_servers=address)
    try:
        await client.bootstrap()
        return [topic for shard in range(PARTITIONS) for topic in (await ends_of(client, shard)).hanging]
    finally:
        await client.close()


def mending(point: str) -> list[str]:
    """Where the next owners die, one behind the other."""
    aborted, record, outputs = MENDING
    if not point.endswith(", applied"):
        return [aborted]
    return [aborted, *([record] if point.startswith(("the journal", "both")) else []), *([outputs] if "outputs" in point else [])]


def has_ended(d: Deployment) -> bool:
    """Whether every transaction has an end everywhere."""
    return not asyncio.run(left_hanging(d.kafka.address))


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_transaction_may_have_no_end(tmp_path: Path) -> None:
    """In some of its partitions, whatever it was and however far its owner came, and the next ones."""
    for d in deployed(tmp_path, PARTITIONS, broker=Unverifying):
        d.settings = SETTINGS
        start_ms = midnight_before(datetime.now(UTC), DAYS + LATE_DAYS)
        d.promote(load_policy(POLICY), start_ms)
        failing, publisher, lives = Failing(d), Publisher(d.kafka.address), arrivals(start_ms)
        publish(publisher, lives)
        assert failing.die_at("8 apply: after", 6) == -signal.SIGKILL  # behind the policy, so that there are changes
        for point in HANGING:
            for n in (2, 4):
                for _ in range(3):  # enough for a change among them
                    publish(publisher, lives)
                for where, time in ((point, n), *((where, 1) for where in mending(point) if n == 4)):
                    assert failing.die_at(where, time) == -signal.SIGKILL, f"{point}, time {n}: {where}"
                    failing.bury()
        failing.stop()
        worker = d.start_worker()
        d.wait(d.is_all_taken, "everything is taken", 60)
        d.wait(partial(has_ended, d), "every transaction has an end", 60)
        worker.stop(20)
        said = [json.loads(line) for line in (d.directory / "failing.log").read_text().splitlines() if line.startswith("{")]
        mended = Counter((line["event"], topic) for line in said if line["event"] in (ENDED, AGAIN) for topic in line["topics"])
        print(dict(mended))
        assert all(mended[event, topic] for event in (ENDED, AGAIN) for topic in (JOURNAL.name, CHANGES.name))
        counts, violations = audit_books(d.kafka.address, d.redis.url, d.application, PARTITIONS)
        print(dict(counts))
        assert violations == []
