"""Where everything is put together: the Faust application of a worker, its checks before the start, and its run.

Faust brings the consumer group, the agent and the worker's life; ``engine.stream.transport`` makes it speak by the batch. Tests come in through
the same door (``run_worker``).
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable
from typing import Any, Final

import faust
import structlog
from kafka.errors import KafkaError
from redis.exceptions import RedisError
from yarl import URL

from engine import __version__, logs
from engine.connections import redis_refusal
from engine.core.packed import Packed
from engine.errors import EngineError
from engine.memory import give_memory_back, trim_heaps
from engine.metrics import serve_metrics
from engine.settings import Settings
from engine.state.masters import Masters
from engine.state.redis_store import EVICTION_CURE, RedisStore
from engine.state.store import ShardStore
from engine.stream import topics
from engine.stream.clients import KafkaClients
from engine.stream.topics import Identity, identity_of
from engine.stream.topics_watch import TopicsWatch
from engine.stream.transport import BatchTransport, FaustWorker, NoTables
from engine.stream.warm_up import warm_up
from engine.stream.worker import Worker
from schemas.topics import INPUTS, JOURNAL

log = structlog.get_logger("engine")

ASK_AGAIN_S: Final = 1.0
WATCH_EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 1.5
COLLECT_EVERY_S: Final = 60.0
EXIT_STALLED: Final = 3
GARBAGE_OBJECTS: Final = 100_000


def run_worker(settings: Settings) -> int:
    """Check, then work until SIGINT or SIGTERM. Returns the exit code. Raises EngineError when the deployment is not fit to start on."""
    logs.configure(settings.log_format)
    give_memory_back()
    log.info("starting", version=__version__, application=settings.application, kafka=settings.kafka.bootstrap)
    at_start = await_deployment(settings)
    log.info("compiling the decision kernel; it takes about half a minute the first time on a machine")
    warm_up()
    # A batch makes tens of thousands of objects and few cycles: collect seldom, and never look at what is here for good.
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)
    log.info("ready to join", partitions=at_start.shards)
    return _work(create_app(settings, at_start))


def create_app(settings: Settings, at_start: Identity) -> faust.App:
    """The Faust application of a worker on these topics."""
    app = faust.App(
        settings.application,
        broker=f"kafka://{settings.kafka.bootstrap}",
        version=1,
        id_format="{id}",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        stream_wait_empty=False,
        store="memory://",
        TableManager=NoTables,
        broker_session_timeout=settings.kafka.session_timeout_s,
        broker_heartbeat_interval=settings.kafka.heartbeat_interval_s,
    )
    app.boot_strategy.enable_kafka_producer = False  # the shards have their own
    transport = BatchTransport([URL(f"kafka://{settings.kafka.bootstrap}")], app)
    masters = Masters.of_settings(settings.redis, connections=at_start.shards)

    def store(shard: int) -> ShardStore:
        return RedisStore(masters, settings.application, shard, at_start.ids[JOURNAL.name])

    def fail(error: Exception) -> None:
        logs.leave_the_last_word()
        app.failure = error
        app.ending = asyncio.ensure_future(app.crash(error))

    worker = Worker(settings, TopicsWatch(settings.kafka, at_start), store, KafkaClients(settings.kafka), fail)
    transport.feed, transport.kafka = worker, settings.kafka
    app.transport = transport
    app.failure = None
    app.shards = worker

    @app.agent(app.topic(*(spec.name for spec in INPUTS), acks=False, key_serializer="raw", value_serializer="raw"), name="shards")  # type: ignore[untyped-decorator]
    async def feed(stream: Any) -> None:
        """Hands every delivery to its shard; never waits for more than the shard's buffer."""
        async for event in stream.events():
            for tp, delivery in event.message.deliveries:
                await worker.deliver(tp.partition, delivery)
                app.consumer.taken()

    @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]
    async def on_assigned(sender: Any, assigned: Any, **_: Any) -> None:
        await worker.assign(assigned, app.consumer)

    @app.on_before_shutdown.connect  # type: ignore[untyped-decorator]
    async def on_shutdown(sender: Any, **_: Any) -> None:
        await worker.leave()

    @app.task  # type: ignore[untyped-decorator]
    async def watchdog() -> None:
        while not app.should_stop:
            await worker.look_at_group()
            stalled = worker.stalled()
            if stalled:
                # Nothing here can be trusted any more, not even an orderly end: a supervisor starts the worker again.
                log.critical("stalled: work to do and no commit", shards=stalled, seconds=settings.shard.watchdog_s)
                os._exit(EXIT_STALLED)
            await app.sleep(WATCH_EVERY_S)

    @app.task  # type: ignore[untyped-decorator]
    async def watch() -> None:
        while not app.should_stop:
            await worker.look_at_deployment()
            await app.sleep(LOOK_EVERY_S)

    @app.task  # type: ignore[untyped-decorator]
    async def collect() -> None:
        """The garbage that clients make without any batch: at a hundred thousand objects it would have grown by megabytes, for an hour."""
        while not app.should_stop:
            await app.sleep(COLLECT_EVERY_S)
            gc.collect()  # of what is not frozen: some milliseconds
            trim_heaps()

    serve_metrics(settings.metrics_port, worker)
    return app


def _work(app: faust.App) -> int:
    service = FaustWorker(app, loglevel="ERROR", override_logging=False, quiet=True, debug=False, redirect_stdouts=False, console_port=None)
    service.spinner = None  # it would write escape codes into the log
    try:
        service.execute_from_commandline()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if app.failure is not None:
            log.error("stopped", reason=str(app.failure))
            return 2
        return code
    return 0


# Before the start


def await_deployment(settings: Settings) -> Identity:
    """Wait until Kafka and Redis answer, saying what is awaited; the topics as they are. Raises EngineError for what waiting will not mend."""
    _await("Kafka", settings.kafka.bootstrap, lambda: topics.connect(settings.kafka).close(), KafkaError)
    states = topics.described(settings.kafka)
    for problem in (*topics.forbidden(states, "engine", settings.application), *topics.problems(states)):
        raise problem
    _await("Redis", settings.redis.address, lambda: asyncio.run(_check_redis(settings)), RedisError)
    return identity_of(states)


async def _check_redis(settings: Settings) -> None:
    masters = Masters.of_settings(settings.redis)
    try:
        store = RedisStore(masters, settings.application, 0)
        problem = await store.problem()
        await store.load(Packed.of([b""]))
    except OSError as error:
        refusal = redis_refusal(settings.redis, error)
        if refusal is not None:
            raise refusal from error
        raise
    finally:
        await masters.aclose()
    if problem is not None:
        raise EngineError(problem, where="Redis", cure=EVICTION_CURE)


def _await(what: str, address: str, ask: Callable[[], object], away: type[Exception]) -> None:
    is_told = False
    while True:
        try:
            ask()
        except (away, OSError) as error:
            if not is_told:
                log.warning(f"waiting for {what}", at=address, reason=str(error) or type(error).__name__)
            is_told = True
            time.sleep(ASK_AGAIN_S)
        else:
            if is_told:
                log.info(f"{what} is there")
            return
