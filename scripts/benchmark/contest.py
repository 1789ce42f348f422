"""Runs the contenders one after the other on one machine and one log, and prints what each made of it.

Each is a process of its own that tells on /metrics how many records it has taken. Throughput and CPU time (of the process and of Redis, user and
system) are taken between the first and the last look at which it was at work, so starting, compiling and the customers' profiles (which only the
complete policy needs) do not count. Kafka's own CPU time counts for nobody. Where the engine's time goes is what its own metrics say. Timings
vary between runs and machines: compare the ratios of one run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
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
from rich.console import Console
from rich.table import Table

from engine.local.kafka import KafkaBroker
from engine.local.ports import LOOPBACK, choose_port
from engine.local.process import ServerProcess
from engine.local.redis_server import RedisServer
from engine.policy.source import load_policy
from engine.stream import control, topics
from engine.stream.stages import Stage
from schemas.topics import TOPICS
from scripts.benchmark.load import Load, events, profiles
from scripts.personas import midnight_before
from scripts.traffic import Publisher

ROOT: Final = Path(__file__).resolve().parents[2]
LOOK_EVERY_S: Final = 0.2
SHARE_OF_START: Final = 0.05  # what is taken before the first look that counts
START_WITHIN_S: Final = 240.0
DAYS: Final = 90
MIN_WIDTH: Final = 150  # of the table, also where it goes into a file

messages = Console(stderr=True, highlight=False)


POLICIES: Final = {"engine": ROOT / "scripts" / "benchmark" / "simple.yaml", "engine-complete": ROOT / "policies" / "default.yaml"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A name, the command that runs it, for how long at most it is watched, and the policy that is in force while it runs."""

    name: str
    command: tuple[str, ...]
    seconds_max: float
    policy: Path = POLICIES["engine"]

    @property
    def has_profiles(self) -> bool:
        """Whether the customers' profiles come before their events."""
        return self.policy != POLICIES["engine"]


@dataclass(frozen=True, slots=True)
class Look:
    """At one moment: records taken and changes announced so far, CPU seconds of the process, of its stages and of Redis, resident bytes."""

    at: float
    records: int
    changes: int
    process_s: float
    redis_s: float
    stages: Mapping[str, float]
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a contender did between two looks."""

    name: str
    records: int
    changes: int
    seconds: float
    process_s: float
    redis_s: float
    stages: Mapping[str, float]  # CPU seconds of the process by stage; empty: it does not tell
    begins_s: float  # from its start to the first record taken
    resident_bytes: tuple[int, int]  # when it began and in the end
    redis_bytes: int = 0  # what Redis holds in the end, and did not when it started

    @property
    def per_second(self) -> float:
        """Records a second."""
        return self.records / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Records a second of CPU time, the process and Redis together."""
        return self.records / (self.process_s + self.redis_s)

    def plain(self, accounts: int) -> dict[str, Any]:
        """As JSON; ``accounts`` are all of the load."""
        return {
            "name": self.name,
            "records": self.records,
            "changes": self.changes,
            "seconds": round(self.seconds, 2),
            "events_per_second": round(self.per_second),
            "events_per_cpu_second": round(self.per_cpu_second),
            "process_us_per_event": round(1e6 * self.process_s / self.records, 2),
            "redis_us_per_event": round(1e6 * self.redis_s / self.records, 2),
            "redis_bytes_per_account": round(self.redis_bytes / accounts),
            "begins_s": round(self.begins_s, 1),
            "resident_mb": [round(held / 1e6) for held in self.resident_bytes],
            "stages_us_per_event": {stage: round(1e6 * seconds / self.records, 2) for stage, seconds in self.stages.items()},
        }


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that runs."""

    contender: Contender
    process: ServerProcess
    worker: psutil.Process
    redis: psutil.Process
    redis_url: str
    port: int
    log: Path

    def last_words(self) -> str:
        """The end of its log."""
        return f"the end of its log:\n{self.log.read_text()[-3000:]}"

    def look(self, after_s: float) -> Look:
        """What it says and uses after a while; if it does not answer it has taken nothing yet."""
        if self.process.ends_within(after_s):
            raise SystemExit(f"{self.contender.name} has ended; {self.last_words()}")
        stages: defaultdict[str, float] = defaultdict(float)
        totals: defaultdict[str, float] = defaultdict(float)
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=5) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
        except OSError:
            families = []
        for sample in (sample for family in families for sample in family.samples):
            totals[sample.name] += sample.value
            if sample.name == "limits_stage_seconds_total":
                stages[sample.labels["stage"]] += sample.value
        return Look(
            time.monotonic(),
            int(totals["limits_records_total"]),
            int(totals["limits_changes_total"]),
            cpu_seconds(self.worker),
            cpu_seconds(self.redis),
            stages,
            self.worker.memory_info().rss,
        )


class Scene:
    """A Kafka with a policy and the load in it, and a Redis that each contender finds empty. For one run of the engine: a second one would find
    the first one's journal."""

    def __init__(self, directory: Path, partitions: int, load: Load, policy: Path, *, has_profiles: bool) -> None:
        self.directory = directory
        self.partitions = partitions
        self.load = load
        self.policy = policy
        self.has_profiles = has_profiles
        self.kafka = KafkaBroker(directory / "kafka")

    def prepare(self) -> None:
        """Start Kafka, create the topics, publish the load."""
        self.kafka.start()
        admin = topics.connect(self.kafka.settings)
        topics.create(admin, self.partitions, 1, {spec.name: -1 for spec in TOPICS})
        admin.create_topics([NewTopic("plain-changes", self.partitions, 1)])
        admin.close()
        began = datetime.fromtimestamp(self.load.start_ms / 1000, UTC)
        policy = load_policy(self.policy, began)
        control.publish(self.kafka.settings, control.activation(policy, None, "bench", None, began), self.load.start_ms)
        publisher = Publisher(self.kafka.address)
        for source in (profiles(self.load) if self.has_profiles else (), events(self.load)):
            for count, arrival in enumerate(source, 1):
                publisher.publish(arrival)
                if count % 1_000 == 0:
                    publisher.poll()
        publisher.settle()

    @contextmanager
    def running(self, contender: Contender) -> Iterator[Running]:
        """A contender while it runs, on a Redis of its own."""
        with ExitStack() as stack:
            redis = RedisServer(self.directory / f"redis-{contender.name}")
            stack.callback(redis.stop)
            redis.start()
            port = choose_port(0, service="metrics", option="--port")
            settings = {
                "LIMITS_KAFKA__BOOTSTRAP": self.kafka.address,
                "LIMITS_REDIS__URL": redis.url,
                "LIMITS_CLOCK": "records",
                "LIMITS_METRICS_PORT": port,
                "LIMITS_LOG_FORMAT": "json",
                "BENCH_METRICS_PORT": port,
                "PYTHONUNBUFFERED": 1,
            }
            words = ["env", *(f"{name}={value}" for name, value in settings.items()), sys.executable, *contender.command]
            log = self.directory / f"{contender.name}.log"
            process = ServerProcess.spawn(words, log=log, directory=ROOT, bound=True)
            stack.callback(process.stop, 15)
            assert redis.process is not None
            yield Running(contender, process, psutil.Process(process.pid), psutil.Process(redis.process.pid), redis.url, port, log)

    def run(self, contender: Contender) -> Result:
        """Let one contender work on the whole log, or as long as it may."""
        with self.running(contender) as running, Redis.from_url(running.redis_url) as client:
            before = client.info("memory")["used_memory"]
            result = self._watch(running)
            return replace(result, redis_bytes=client.info("memory")["used_memory"] - before)

    def _watch(self, running: Running) -> Result:
        contender = running.contender
        before = self.load.accounts if self.has_profiles else 0
        total = before + self.load.events
        begun: Look | None = None
        first: Look | None = None
        last: Look | None = None
        started_at = time.monotonic()
        while True:
            look = running.look(LOOK_EVERY_S)
            if begun is None and look.records:
                begun = look
            if first is None or begun is None:
                if look.records > before + min(SHARE_OF_START * self.load.events, 2_000):
                    first = last = look
                elif look.at > started_at + START_WITHIN_S:
                    raise SystemExit(f"{contender.name} has not begun; {running.last_words()}")
                continue
            assert last is not None
            if look.records > last.records:
                last = look
            if look.records >= total or look.at - first.at > contender.seconds_max or look.at - last.at > 10:
                return Result(
                    contender.name,
                    last.records - first.records,
                    last.changes - first.changes,
                    last.at - first.at,
                    last.process_s - first.process_s,
                    last.redis_s - first.redis_s,
                    {stage: seconds - first.stages.get(stage, 0.0) for stage, seconds in last.stages.items()},
                    begun.at - started_at,
                    (begun.resident_bytes, last.resident_bytes),
                )


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def contenders(partitions: int, plain_seconds: float) -> Iterable[Contender]:
    """All of them; the engine with a policy that asks for as much as other stream processors are measured with, and with the complete one."""
    run_engine = ("-m", "engine", "run")
    return (
        Contender("engine", run_engine, 600.0),
        Contender("plain-agent", ("-m", "scripts.benchmark.plain_agent"), plain_seconds),
        Contender("roofline", ("-m", "scripts.benchmark.roofline", str(partitions)), 600.0),
        Contender("engine-complete", run_engine, 600.0, POLICIES["engine-complete"]),
    )


def report(results: Iterable[Result], load: Load, partitions: int, *, as_json: bool) -> None:
    """Print the results side by side; ratios are of events per CPU-second to the plain agent's."""
    listed = list(results)
    plain = next((result for result in listed if result.name == "plain-agent"), None)
    if as_json:
        ratios = {r.name: round(r.per_cpu_second / plain.per_cpu_second, 1) for r in listed} if plain else {}
        shape = {"events": load.events, "accounts": load.accounts, "partitions": partitions, "seed": load.seed}
        print(json.dumps({**shape, "results": [result.plain(load.accounts) for result in listed], "times_the_plain_agent": ratios}))
        return
    columns = ("events", "changes", "events/s", "events/CPU-s", "worker µs/event", "Redis µs/event", "Redis B/account")
    table = Table("", *columns, "starts in", "resident MB", "times the plain agent")
    for result in listed:
        told = result.plain(load.accounts)
        ratio = f"{result.per_cpu_second / plain.per_cpu_second:.1f}" if plain else "-"
        table.add_row(
            result.name,
            f"{result.records:,}",
            f"{result.changes:,}",
            f"{told['events_per_second']:,}",
            f"{told['events_per_cpu_second']:,}",
            str(told["process_us_per_event"]),
            str(told["redis_us_per_event"]),
            f"{told['redis_bytes_per_account']:,}",
            f"{told['begins_s']} s",
            " → ".join(map(str, told["resident_mb"])),
            ratio,
        )
    console = Console(width=max(MIN_WIDTH, messages.width))
    console.print(table)
    stages = Table("µs of CPU an event", *Stage, "the rest of the worker", "Redis")
    for result in listed:
        if result.stages:
            told = result.plain(load.accounts)
            by_stage = told["stages_us_per_event"]
            rest = told["process_us_per_event"] - sum(by_stage.values())
            stages.add_row(result.name, *(f"{by_stage[stage]:.2f}" for stage in Stage), f"{rest:.2f}", f"{told['redis_us_per_event']:.2f}")
    console.print(stages)


def main() -> None:
    """Run the contest."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--skew", type=float, default=1.0, help="of the accounts' shares (Zipf's exponent; 0: all the same)")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain-seconds", type=float, default=15.0, help="how long the plain agent is watched: it would take far longer")
    parser.add_argument("--only", choices=["engine", "plain-agent", "roofline", "engine-complete"], help="run only this one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    start_ms = midnight_before(datetime.now(UTC), DAYS + 1)
    load = Load(options.events, options.accounts, start_ms, days=DAYS, skew=options.skew, seed=options.seed)
    chosen = [contender for contender in contenders(options.partitions, options.plain_seconds) if options.only in (None, contender.name)]
    results = []
    for policy, has_profiles in dict.fromkeys((contender.policy, contender.has_profiles) for contender in chosen):
        with tempfile.TemporaryDirectory(prefix="limit-engine-bench-", ignore_cleanup_errors=True) as name:
            scene = Scene(Path(name), options.partitions, load, policy, has_profiles=has_profiles)
            try:
                messages.print(f"publishing {load.events:,} events of {load.accounts:,} accounts to {options.partitions} partitions ...")
                scene.prepare()
                for contender in chosen:
                    if contender.policy == policy:
                        messages.print(f"running {contender.name} ...")
                        results.append(scene.run(contender))
            finally:
                scene.kafka.stop()
    report(results, load, options.partitions, as_json=options.json)


if __name__ == "__main__":
    main()
