"""A Bytewax dataflow with a stateful operator, as its documentation has it: what is held of an account lies in memory, and a snapshot of what
changed goes to recovery partitions (SQLite) at the end of each epoch of ten seconds.

The job is ``scripts/benchmark/job.py``. Recovery is what Bytewax offers for durability, and has to be asked for; one worker, as it runs by
default. It runs in an environment of its own (``environments.py``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from prometheus_client import start_http_server

from scripts.benchmark import job

Event = tuple[str, str, int, int]  # account, topic, day, amount


def keyed(message: KafkaSourceMessage[bytes, bytes]) -> tuple[str, Event]:
    """An event by its account."""
    account_id, day, amount_minor = job.validated(message.topic, message.value)
    return account_id, (account_id, message.topic, day, amount_minor)


def rescore(held: dict[str, Any] | None, event: Event) -> tuple[dict[str, Any], list[bytes]]:
    """What is held of an account after an event, and the changes to announce: one or none."""
    after, change = job.rescored(held or {}, *event)
    return after, [] if change is None else [change]


def message_of(announced: tuple[str, bytes]) -> KafkaSinkMessage[bytes, bytes]:
    """A change as Kafka takes it."""
    account_id, change = announced
    return KafkaSinkMessage(account_id.encode(), change)


def create_flow(bootstrap: str) -> Dataflow:
    """The dataflow."""
    flow = Dataflow("bytewax-flow")
    messages = op.input("events", flow, KafkaSource([bootstrap], list(job.MODELS)))
    changes = op.stateful_flat_map("rescore", op.map("validate", messages, keyed), rescore)
    op.output("announce", op.map("as-messages", changes, message_of), KafkaSink([bootstrap], job.CHANGES_TOPIC))
    return flow


def main() -> None:
    """Work until SIGTERM."""
    start_http_server(int(os.environ["BENCH_METRICS_PORT"]))
    directory = Path(os.environ["BENCH_DIRECTORY"])
    init_db_dir(directory, 1)
    cli_main(create_flow(os.environ["LIMITS_KAFKA__BOOTSTRAP"]), recovery_config=RecoveryConfig(directory))


if __name__ == "__main__":
    main()
