"""Where contenders run: a Kafka with the load in it, a Redis for each, and processes that are watched from outside.

A contender tells on /metrics how many records it has taken. Throughput and CPU time (of its processes, of their children and of Redis, user and
system) are taken between the first and the last look at which it was at work, so starting, compiling and the customers' profiles (which only the
complete policy needs) do not count. Kafka's own CPU time counts for nobody.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil
from kafka.admin import NewTopic
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from engine.local.kafka import KafkaBroker
from engine.local.ports import LOOPBACK, choose_port
from engine.local.process import ServerProcess
from engine.local.redis_server import RedisServer
from engine.policy.source import load_policy
from engine.stream import control, topics
from schemas.topics import TOPICS
from scripts.benchmark.job import CHANGES_TOPIC
from scripts.benchmark.load import Load, events, profiles
from scripts.benchmark.screen import Show
from scripts.spoil import Arrival
from scripts.traffic import Publisher

ROOT: Final = Path(__file__).resolve().parents[2]
LOOK_EVERY_S: Final = 0.2
SHARE_OF_START: Final = 0.05  # what is taken before the first look that counts
START_WITHIN_S: Final = 240.0
IDLE_S: Final = 10.0  # who has taken nothing for so long is done
STOP_WITHIN_S: Final = 15.0

POLICIES: Final = {"engine": ROOT / "scripts" / "benchmark" / "simple.yaml", "engine-complete": ROOT / "policies" / "default.yaml"}

RUN_ENGINE: Final = ("-m", "engine", "run")


class Failed(Exception):
    """A contender did not do its job; what it said last."""


class TooShortError(Exception):
    """A contender did its job before it could be watched: the log is too short for it."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A name, the module (and its arguments) that runs it, for how long at most it is watched, the policy that is in force while it runs, the
    environment of its own that it needs, whether it keeps something in Redis, and how many processes share the work."""

    name: str
    command: tuple[str, ...]
    seconds_max: float = 600.0
    policy: Path = POLICIES["engine"]
    environment: str | None = None
    has_redis: bool = True
    workers: int = 1

    @property
    def has_profiles(self) -> bool:
        """Whether the customers' profiles come before their events."""
        return self.policy != POLICIES["engine"]

    @property
    def is_engine(self) -> bool:
        """Whether it is this engine: it journals what it decides."""
        return self.command == RUN_ENGINE


@dataclass(frozen=True, slots=True)
class Look:
    """At one moment: records taken and changes announced so far, CPU seconds of the processes, of their stages and of Redis, resident bytes."""

    at: float
    records: int
    changes: int
    process_s: float
    redis_s: float
    stages: Mapping[str, float]
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a contender did between two looks; ``accounts`` are all of the load."""

    name: str
    accounts: int
    records: int
    changes: int
    seconds: float
    process_s: float
    redis_s: float
    stages: Mapping[str, float]  # CPU seconds of the process by stage; empty: it does not tell
    begins_s: float  # from its start to the first record taken
    resident_bytes: tuple[int, int]  # when it began and in the end
    is_done: bool  # whether it took all records
    redis_bytes: int = 0  # what Redis holds in the end, and did not when it started

    @property
    def per_second(self) -> float:
        """Records a second."""
        return self.records / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Records a second of CPU time, the processes and Redis together."""
        return self.records / (self.process_s + self.redis_s)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "records": self.records,
            "changes": self.changes,
            "seconds": round(self.seconds, 2),
            "events_per_second": round(self.per_second),
            "events_per_cpu_second": round(self.per_cpu_second),
            "process_us_per_event": round(1e6 * self.process_s / self.records, 2),
            "redis_us_per_event": round(1e6 * self.redis_s / self.records, 2),
            "redis_bytes_per_account": round(self.redis_bytes / self.accounts),
            "begins_s": round(self.begins_s, 1),
            "resident_mb": [round(held / 1e6) for held in self.resident_bytes],
            "stages_us_per_event": {stage: round(1e6 * seconds / self.records, 2) for stage, seconds in self.stages.items()},
        }


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of a contender, and where it tells."""

    process: ServerProcess
    port: int
    log: Path

    def family(self) -> list[psutil.Process]:
        """It and all that descends from it, as far as it runs."""
        try:
            itself = psutil.Process(self.process.pid)
            return [itself, *itself.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """End it and, by their ids, the descendants that outlive it."""
        family = self.family()
        self.process.stop(STOP_WITHIN_S)
        for process in family[1:]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def last_words(self) -> str:
        """The end of its log."""
        return f"the end of its log:\n{self.log.read_text(errors='replace')[-3000:]}"


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that runs."""

    contender: Contender
    workers: list[Worker]
    redis: psutil.Process | None
    redis_url: str

    def last_words(self) -> str:
        """The ends of its logs."""
        return "\n".join(worker.last_words() for worker in self.workers)

    def await_shards(self, partitions: int) -> None:
        """Wait until each worker has shards, and together they have all. Raises ``Failed``."""
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            self.look(LOOK_EVERY_S)
            owned = [shards_of(told(worker.port)) for worker in self.workers]
            if all(owned) and sum(map(len, owned)) == partitions:
                return
            if time.monotonic() > deadline:
                raise Failed(f"the workers of {self.contender.name} do not share the work: {owned}; {self.last_words()}")

    def look(self, after_s: float) -> Look:
        """What it says and uses after a while; if it does not answer it has taken nothing yet. Raises ``Failed`` if it has ended."""
        for worker in self.workers:
            if worker.process.ends_within(after_s / len(self.workers)):
                raise Failed(f"{self.contender.name} has ended; {worker.last_words()}")
        stages: defaultdict[str, float] = defaultdict(float)
        totals: defaultdict[str, float] = defaultdict(float)
        families = [family for worker in self.workers for family in told(worker.port)]
        for sample in (sample for family in families for sample in family.samples):
            totals[sample.name] += sample.value
            if sample.name == "limits_stage_seconds_total":
                stages[sample.labels["stage"]] += sample.value
        processes = [process for worker in self.workers for process in worker.family()]
        return Look(
            time.monotonic(),
            int(totals["limits_records_total"]),
            int(totals["limits_changes_total"]),
            sum(map(cpu_seconds, processes)),
            cpu_seconds(self.redis) if self.redis else 0.0,
            stages,
            sum(map(resident_bytes, processes)),
        )


class Scene:
    """A Kafka with a policy and the load in it, and a Redis that each contender finds empty. For one run of the engine: a second one would find
    the first one's journal. ``is_gated``: the policy comes into force when all workers have shards; until then they take nothing, so that none of
    them is ahead."""

    def __init__(self, directory: Path, partitions: int, load: Load, policy: Path, *, has_profiles: bool, is_gated: bool = False) -> None:
        self.directory = directory
        self.partitions = partitions
        self.load = load
        self.policy = policy
        self.has_profiles = has_profiles
        self.is_gated = is_gated
        self.records = 0  # that there are to take, without the policy's
        self.kafka = KafkaBroker(directory / "kafka")

    def prepare(self, show: Show, source: Iterable[Arrival] | None = None) -> None:
        """Start Kafka, create the topics, publish the load, or what comes from ``source`` instead of its events."""
        self.kafka.start()
        admin = topics.connect(self.kafka.settings)
        topics.create(admin, self.partitions, 1, {spec.name: -1 for spec in TOPICS})
        admin.create_topics([NewTopic(CHANGES_TOPIC, self.partitions, 1)])
        admin.close()
        if not self.is_gated:
            self._activate()
        publisher, count, total = Publisher(self.kafka.address), 0, self.load.events + self.load.accounts * self.has_profiles
        for arrivals in (profiles(self.load) if self.has_profiles else (), events(self.load) if source is None else source):
            for arrival in arrivals:
                publisher.publish(arrival)
                count += 1
                if count % 1_000 == 0:
                    publisher.poll()
                    show(count, max(count, total))
        publisher.settle()
        self.records = count

    def _activate(self) -> None:
        """Put the policy in force."""
        began = datetime.fromtimestamp(self.load.start_ms / 1000, UTC)
        policy = load_policy(self.policy, began)
        control.publish(self.kafka.settings, control.activation(policy, None, "bench", None, began), self.load.start_ms)

    @contextmanager
    def running(self, contender: Contender, python: Path = Path(sys.executable)) -> Iterator[Running]:
        """A contender while it runs, on a Redis of its own. Raises ``Failed`` if a gated one does not share the work."""
        with ExitStack() as stack:
            redis = RedisServer(self.directory / f"redis-{contender.name}")
            if contender.has_redis:
                stack.callback(redis.stop)
                redis.start()
            running = Running(contender, [], psutil.Process(redis.process.pid) if redis.process else None, redis.url)
            for number in range(contender.workers):
                running.workers.append(self._start(contender, number, python, redis.url))
                stack.callback(running.workers[-1].stop)
            if self.is_gated:
                running.await_shards(self.partitions)
                self._activate()
            yield running

    def _start(self, contender: Contender, number: int, python: Path, redis_url: str) -> Worker:
        """Start one of its processes."""
        port = choose_port(0, service="metrics", option="--port")
        directory = self.directory / f"{contender.name}-{number}"
        directory.mkdir()
        settings = {
            "LIMITS_KAFKA__BOOTSTRAP": self.kafka.address,
            "LIMITS_REDIS__URL": redis_url,
            "LIMITS_CLOCK": "records",
            "LIMITS_METRICS_PORT": port,
            "LIMITS_LOG_FORMAT": "json",
            "BENCH_METRICS_PORT": port,
            "BENCH_DIRECTORY": directory,
            "PYTHONUNBUFFERED": 1,
        }
        words = ["env", *(f"{name}={value}" for name, value in settings.items()), str(python), *contender.command]
        log = self.directory / f"{contender.name}-{number}.log"
        return Worker(ServerProcess.spawn(words, log=log, directory=ROOT, bound=True), port, log)

    def run(self, contender: Contender, show: Show, python: Path = Path(sys.executable)) -> Result:
        """Let one contender work on the whole log, or as long as it may. Raises ``Failed``."""
        with ExitStack() as stack:
            running = stack.enter_context(self.running(contender, python))
            if not contender.has_redis:
                return self._watch(running, show)
            client = stack.enter_context(Redis.from_url(running.redis_url))
            before = client.info("memory")["used_memory"]
            result = self._watch(running, show)
            return replace(result, redis_bytes=client.info("memory")["used_memory"] - before)

    def _watch(self, running: Running, show: Show) -> Result:
        contender = running.contender
        before = self.records - self.load.events
        begun: Look | None = None
        first: Look | None = None
        last: Look | None = None
        started_at = time.monotonic()
        while True:
            look = running.look(LOOK_EVERY_S)
            show(look.records, self.records)
            if begun is None and look.records:
                begun = look
            if first is None or begun is None:
                if look.records > before + min(SHARE_OF_START * self.load.events, 2_000):
                    first = last = look
                elif look.at > started_at + START_WITHIN_S:
                    raise Failed(f"{contender.name} has not begun; {running.last_words()}")
                continue
            assert last is not None
            if look.records > last.records:
                last = look
            if look.records >= self.records or look.at - first.at > contender.seconds_max or look.at - last.at > IDLE_S:
                if last is first:
                    raise TooShortError(f"{contender.name} was done before it could be watched: more events are needed")
                return Result(
                    contender.name,
                    self.load.accounts,
                    last.records - first.records,
                    last.changes - first.changes,
                    last.at - first.at,
                    last.process_s - first.process_s,
                    last.redis_s - first.redis_s,
                    {stage: seconds - first.stages.get(stage, 0.0) for stage, seconds in last.stages.items()},
                    begun.at - started_at,
                    (begun.resident_bytes, last.resident_bytes),
                    last.records >= self.records,
                )


def told(port: int) -> list[Any]:
    """What /metrics says: nothing as long as nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:
            return list(text_string_to_metric_families(answer.read().decode()))
    except OSError:
        return []


def shards_of(families: Iterable[Any]) -> set[str]:
    """The shards of which a worker of the engine tells."""
    return {sample.labels["shard"] for family in families for sample in family.samples if sample.name == "limits_shard_running"}


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process so far, and of its children that have ended."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0


def resident_bytes(process: psutil.Process) -> int:
    """What a process holds in memory; 0 if it has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
