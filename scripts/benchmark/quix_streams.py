"""A Quix Streams application with a stateful operator, as its documentation has it: what is held of an account lies in RocksDB and goes to a
changelog topic of Kafka, at least once, with a checkpoint each five seconds.

The job is ``scripts/benchmark/job.py``. The three topics become one dataframe, which Quix Streams keeps in the order of the records' times; the
key of a record is what its state belongs to. It runs in an environment of its own (``environments.py``).
"""

from __future__ import annotations

import os
from functools import partial

from prometheus_client import start_http_server
from quixstreams import Application
from quixstreams.state import State

from scripts.benchmark import job


def rescore(event: tuple[str, bytes], state: State) -> bytes | None:
    """Take an event; the change to announce, if there is one."""
    topic, value = event
    account_id, day, amount_minor = job.validated(topic, value)
    held, change = job.rescored(state.get("held") or {}, account_id, topic, day, amount_minor)
    state.set("held", held)
    return change


def create_app(bootstrap: str, directory: str) -> Application:
    """The application, its state in a directory."""
    app = Application(bootstrap, consumer_group="quix-streams", auto_offset_reset="earliest", state_dir=directory, loglevel="WARNING")
    topics = {name: app.topic(name, key_deserializer="bytes", value_deserializer="bytes") for name in job.MODELS}
    streams = [app.dataframe(topic).apply(partial(named, name)) for name, topic in topics.items()]
    events = streams[0].concat(streams[1]).concat(streams[2])
    changes = events.apply(rescore, stateful=True).filter(is_change)
    changes.to_topic(app.topic(job.CHANGES_TOPIC, key_serializer="bytes", value_serializer="bytes"))
    return app


def named(topic: str, value: bytes) -> tuple[str, bytes]:
    """A value with the topic that it comes from."""
    return topic, value


def is_change(change: bytes | None) -> bool:
    """Whether there is something to announce."""
    return change is not None


if __name__ == "__main__":
    start_http_server(int(os.environ["BENCH_METRICS_PORT"]))
    create_app(os.environ["LIMITS_KAFKA__BOOTSTRAP"], os.environ["BENCH_DIRECTORY"]).run()
