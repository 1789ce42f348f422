"""Runs the contenders one after the other on one machine and one log, and prints what each made of it.

Each is a process of its own that tells on /metrics how many records it has taken. Throughput and CPU time (of the process and of Redis, user and
system) are taken between the first and the last look at which it was at work, so starting and compiling do not count. Kafka's own CPU time
counts for nobody. Timings vary between runs and machines: compare the ratios of one run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
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
from schemas.topics import TOPICS
from scripts.benchmark.load import Load, events, profiles
from scripts.personas import midnight_before
from scripts.traffic import Publisher

ROOT: Final = Path(__file__).resolve().parents[2]
LOOK_EVERY_S: Final = 0.2
SHARE_OF_START: Final = 0.05  # what is taken before the first look that counts
START_WITHIN_S: Final = 240.0
MIN_WIDTH: Final = 130  # of the table, also where it goes into a file

messages = Console(stderr=True, highlight=False)


POLICIES: Final = {"engine": ROOT / "scripts" / "benchmark" / "simple.yaml", "engine-complete": ROOT / "policies" / "default.yaml"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A name, the command that runs it, for how long at most it is watched, and the policy that is in force while it runs."""

    name: str
    command: tuple[str, ...]
    seconds_max: float
    policy: Path = POLICIES["engine"]


@dataclass(frozen=True, slots=True)
class Look:
    """At one moment: records taken so far, CPU seconds of the process and of Redis."""

    at: float
    records: int
    process_s: float
    redis_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a contender did between two looks."""

    name: str
    records: int
    seconds: float
    process_s: float
    redis_s: float
    redis_bytes: int  # what Redis holds in the end, and did not when it started

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
            "seconds": round(self.seconds, 2),
            "events_per_second": round(self.per_second),
            "events_per_cpu_second": round(self.per_cpu_second),
            "process_us_per_event": round(1e6 * self.process_s / self.records, 2),
            "redis_us_per_event": round(1e6 * self.redis_s / self.records, 2),
            "redis_bytes_per_account": round(self.redis_bytes / accounts),
        }


class Stage:
    """A Kafka with a policy and the load in it, and a Redis that each contender finds empty. For one run of the engine: a second one would find
    the first one's journal."""

    def __init__(self, directory: Path, partitions: int, load: Load, policy: Path) -> None:
        self.directory = directory
        self.partitions = partitions
        self.load = load
        self.policy = policy
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
        for source in (profiles(self.load), events(self.load)):
            for count, arrival in enumerate(source, 1):
                publisher.publish(arrival)
                if count % 1_000 == 0:
                    publisher.poll()
        publisher.settle()

    def run(self, contender: Contender) -> Result:
        """Let one contender work on the whole log, or as long as it may."""
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
            client = Redis.from_url(redis.url)
            before = client.info("memory")["used_memory"]
            result = self._watch(contender, process, psutil.Process(process.pid), psutil.Process(redis.process.pid), port, log)
            return replace(result, redis_bytes=client.info("memory")["used_memory"] - before)

    def _watch(
        self, contender: Contender, process: ServerProcess, worker: psutil.Process, redis: psutil.Process, port: int, log: Path
    ) -> Result:
        total = self.load.events
        first: Look | None = None
        last: Look | None = None
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            if process.ends_within(LOOK_EVERY_S):
                raise SystemExit(f"{contender.name} has ended; the end of its log:\n{log.read_text()[-3000:]}")
            look = Look(time.monotonic(), taken(port), cpu_seconds(worker), cpu_seconds(redis))
            if first is None:
                if look.records > min(SHARE_OF_START * total, 2_000):
                    first = last = look
                elif look.at > deadline:
                    raise SystemExit(f"{contender.name} has not begun; the end of its log:\n{log.read_text()[-3000:]}")
                continue
            assert last is not None
            if look.records > last.records:
                last = look
            if look.records >= total or look.at - first.at > contender.seconds_max or look.at - last.at > 10:
                return Result(
                    contender.name,
                    last.records - first.records,
                    last.at - first.at,
                    last.process_s - first.process_s,
                    last.redis_s - first.redis_s,
                    redis_bytes=0,
                )


def taken(port: int) -> int:
    """How many records a contender says that it has taken; 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return 0
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return int(sum(sample.value for sample in samples if sample.name == "limits_records_total"))


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
    table = Table("", "events", "events/s", "events/CPU-s", "worker µs/event", "Redis µs/event", "Redis B/account", "times the plain agent")
    for result in listed:
        told = result.plain(load.accounts)
        ratio = f"{result.per_cpu_second / plain.per_cpu_second:.1f}" if plain else "-"
        table.add_row(
            result.name,
            f"{result.records:,}",
            f"{told['events_per_second']:,}",
            f"{told['events_per_cpu_second']:,}",
            str(told["process_us_per_event"]),
            str(told["redis_us_per_event"]),
            f"{told['redis_bytes_per_account']:,}",
            ratio,
        )
    Console(width=max(MIN_WIDTH, messages.width)).print(table)


def main() -> None:
    """Run the contest."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_500_000)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain-seconds", type=float, default=15.0, help="how long the plain agent is watched: it would take far longer")
    parser.add_argument("--only", choices=["engine", "plain-agent", "roofline", "engine-complete"], help="run only this one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    days = options.events // (options.accounts * 4) + 2
    load = Load(options.events, options.accounts, midnight_before(datetime.now(UTC), days), seed=options.seed)
    chosen = [contender for contender in contenders(options.partitions, options.plain_seconds) if options.only in (None, contender.name)]
    results = []
    for policy in dict.fromkeys(contender.policy for contender in chosen):
        with tempfile.TemporaryDirectory(prefix="limit-engine-bench-", ignore_cleanup_errors=True) as name:
            stage = Stage(Path(name), options.partitions, load, policy)
            try:
                messages.print(f"publishing {load.events:,} events of {load.accounts:,} accounts to {options.partitions} partitions ...")
                stage.prepare()
                for contender in chosen:
                    if contender.policy == policy:
                        messages.print(f"running {contender.name} ...")
                        results.append(stage.run(contender))
            finally:
                stage.kafka.stop()
    report(results, load, options.partitions, as_json=options.json)


if __name__ == "__main__":
    main()
