"""The yardstick: a Faust agent as its documentation and redis-py's would have one write it, event by event.

For each event: validate it with the contract's pydantic model, add it to the account's daily counts and sums in Redis, read the account back in
the same pipeline, score 30 days of it, and send a limit change when the band is another. It does far less than the engine (three features,
no duplicates, no reasons, no guards) and promises less: an event may be lost or counted twice.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any, Final

import faust
from prometheus_client import Counter, start_http_server
from redis.asyncio import Redis

from schemas.purchases import Purchase
from schemas.repayments import Repayment
from schemas.transfers import Transfer

MODELS: Final[dict[str, Any]] = {"purchases": Purchase, "transfers": Transfer, "repayments": Repayment}
WINDOW_DAYS: Final = 30
BANDS: Final = ((0, "none", 0), (40, "basic", 500_000), (80, "regular", 2_000_000), (120, "premier", 5_000_000))

RECORDS: Final = Counter("limits_records", "Records that were taken")


def score(held: dict[bytes, bytes], today: int) -> int:
    """Points for how often, how much and how regularly, over the last 30 days."""
    recent = [(name.decode().split(":"), int(value)) for name, value in held.items() if name != b"band"]
    window = [(topic, what, value) for (topic, what, day), value in recent if today - int(day) < WINDOW_DAYS]
    purchases = sum(value for topic, what, value in window if topic == "purchases" and what == "count")
    moved = sum(value for topic, what, value in window if topic == "transfers" and what == "sum")
    repaid = sum(value for topic, what, value in window if topic == "repayments" and what == "count")
    return min(purchases, 60) + min(moved // 50_000, 40) + min(repaid * 5, 40)


def create_app(bootstrap: str, redis_url: str) -> faust.App:
    """The application."""
    app = faust.App("plain-agent", broker=f"kafka://{bootstrap}", store="memory://", web_enabled=False, value_serializer="raw")
    redis = Redis.from_url(redis_url)
    changes = app.topic("plain-changes", value_serializer="raw")

    @app.agent(app.topic(*MODELS, value_serializer="raw", key_serializer="raw"))  # type: ignore[untyped-decorator]
    async def rescore(stream: Any) -> None:
        async for event in stream.events():
            topic = event.message.topic
            record = MODELS[topic].model_validate_json(event.value)
            moment: datetime = record.occurred_at
            day = int(moment.timestamp()) // 86_400
            key = f"plain:{record.account_id}"
            async with redis.pipeline(transaction=True) as pipeline:
                pipeline.hincrby(key, f"{topic}:count:{day}", 1)
                pipeline.hincrby(key, f"{topic}:sum:{day}", record.amount_minor)
                pipeline.hgetall(key)
                held = (await pipeline.execute())[-1]
            points = score(held, day)
            band, limit = next((name, limit) for lower, name, limit in reversed(BANDS) if points >= lower)
            if held.get(b"band") != band.encode():
                await redis.hset(key, "band", band)
                change = {"account_id": record.account_id, "limit_minor": limit, "band": band, "score": points}
                await changes.send(key=record.account_id, value=json.dumps(change).encode())
            RECORDS.inc()

    return app


def main() -> None:
    """Work until SIGTERM."""
    start_http_server(int(os.environ["BENCH_METRICS_PORT"]))
    app = create_app(os.environ["LIMITS_KAFKA__BOOTSTRAP"], os.environ["LIMITS_REDIS__URL"])
    faust.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False, console_port=None).execute_from_commandline()


if __name__ == "__main__":
    main()
