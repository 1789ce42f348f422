"""A command of ``limit-engine`` that dies at a certain step, by SIGKILL, at the n-th time that it comes to it.

``python -m tests.e2e.recovery.dying POINT N WORDS...``; the product knows nothing of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from aiokafka import AIOKafkaProducer

from engine.cli.main import app
from engine.state.redis_store import RedisStore
from tests.chaos.failpoints import Die, after, at_pass, before, end_sent

POINTS: Final[dict[str, Callable[[Die], None]]] = {
    "emptied": after(RedisStore, "empty"),
    "applied": after(RedisStore, "apply"),
    "before EndTxn": before(AIOKafkaProducer, "commit_transaction"),
    "EndTxn sent": end_sent,
    "after EndTxn": after(AIOKafkaProducer, "commit_transaction"),
}

if __name__ == "__main__":
    point, n, *words = sys.argv[1:]
    POINTS[point](at_pass(int(n)))
    app(words)
