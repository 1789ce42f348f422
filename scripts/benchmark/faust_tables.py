"""A Faust agent with a table, as Faust's documentation has it: what is held of an account lies in memory and goes to a changelog topic of Kafka.

The job is ``scripts/benchmark/job.py``. A table must be partitioned as the topics that it follows; at least once is what Faust promises.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import faust
from prometheus_client import start_http_server

from scripts.benchmark import job


def create_app(bootstrap: str, partitions: int, directory: Path) -> faust.App:
    """The application, its files in a directory."""
    app = faust.App(
        "faust-tables",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=directory,
        topic_partitions=partitions,
        web_enabled=False,
    )
    accounts = app.Table("accounts", default=dict, partitions=partitions)
    changes = app.topic(job.CHANGES_TOPIC, value_serializer="raw")

    @app.agent(app.topic(*job.MODELS, value_serializer="raw", key_serializer="raw"))  # type: ignore[untyped-decorator]
    async def rescore(stream: Any) -> None:
        async for event in stream.events():
            topic = event.message.topic
            account_id, day, amount_minor = job.validated(topic, event.value)
            accounts[account_id], change = job.rescored(accounts[account_id], account_id, topic, day, amount_minor)
            if change is not None:
                await changes.send(key=account_id, value=change)

    return app


def main() -> None:
    """Work until SIGTERM."""
    start_http_server(int(os.environ["BENCH_METRICS_PORT"]))
    app = create_app(os.environ["LIMITS_KAFKA__BOOTSTRAP"], int(sys.argv[1]), Path(os.environ["BENCH_DIRECTORY"]))
    faust.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False, console_port=None).execute_from_commandline()


if __name__ == "__main__":
    main()
