"""The yardstick: a Faust agent as its documentation and redis-py's would have one write it, event by event.

For each event: validate it with the contract's pydantic model, add it to the account's daily counts and sums in Redis, read the account back in
the same pipeline, score 30 days of it, and send a limit change when the band is another. It does far less than the engine (three features,
no duplicates, no reasons, no guards) and promises less: an event may be lost or counted twice.
"""

from __future__ import annotations

import os
from typing import Any

import faust
from prometheus_client import start_http_server
from redis.asyncio import Redis

from scripts.benchmark import job


def score(held: dict[bytes, bytes], today: int) -> int:
    """The points of what Redis holds of an account."""
    recent = [(name.decode().split(":"), int(value)) for name, value in held.items() if name != b"band"]
    window = [(topic, what, value) for (topic, what, day), value in recent if today - int(day) < job.WINDOW_DAYS]
    purchases = sum(value for topic, what, value in window if topic == "purchases" and what == "count")
    moved = sum(value for topic, what, value in window if topic == "transfers" and what == "sum")
    repaid = sum(value for topic, what, value in window if topic == "repayments" and what == "count")
    return job.score(purchases, moved, repaid)


def create_app(bootstrap: str, redis_url: str) -> faust.App:
    """The application."""
    app = faust.App("plain-agent", broker=f"kafka://{bootstrap}", store="memory://", web_enabled=False, value_serializer="raw")
    redis = Redis.from_url(redis_url)
    changes = app.topic(job.CHANGES_TOPIC, value_serializer="raw")

    @app.agent(app.topic(*job.MODELS, value_serializer="raw", key_serializer="raw"))  # type: ignore[untyped-decorator]
    async def rescore(stream: Any) -> None:
        async for event in stream.events():
            topic = event.message.topic
            account_id, day, amount_minor = job.validated(topic, event.value)
            key = f"plain:{account_id}"
            async with redis.pipeline(transaction=True) as pipeline:
                pipeline.hincrby(key, f"{topic}:count:{day}", 1)
                pipeline.hincrby(key, f"{topic}:sum:{day}", amount_minor)
                pipeline.hgetall(key)
                held = (await pipeline.execute())[-1]
            points = score(held, day)
            band, limit_minor = job.band_of(points)
            if held.get(b"band") != band.encode():
                await redis.hset(key, "band", band)
                await changes.send(key=account_id, value=job.change(account_id, band, limit_minor, points))
            job.RECORDS.inc()

    return app


def main() -> None:
    """Work until SIGTERM."""
    start_http_server(int(os.environ["BENCH_METRICS_PORT"]))
    app = create_app(os.environ["LIMITS_KAFKA__BOOTSTRAP"], os.environ["LIMITS_REDIS__URL"])
    faust.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False, console_port=None).execute_from_commandline()


if __name__ == "__main__":
    main()
