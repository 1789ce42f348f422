"""``limit-engine demo``: the whole engine on this machine, with synthetic customers, until Ctrl-C.

Real parts only: a Kafka, a Redis, one worker and one traffic generator are started as processes of their own, bound to this one. What is shown
is read where an operator and a consumer would read it: from limit-changes, limit-advisories, dead-letters and the worker's metrics.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.cli.common import AsJson, emit, messages, speaks
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.settings import Kafka

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DAY_MS: Final = 86_400_000
CHINA_OFFSET_MS: Final = 8 * 3_600_000
STOP_GRACE_S: Final = 15.0
START_WITHIN_S: Final = 180.0
DRAIN_WITHIN_S: Final = 30.0
LINES_A_SECOND: Final = 5
SHOWN: Final = 14
REASONS_SHOWN: Final = 2
STYLES: Final = {
    **dict.fromkeys(("grant", "increase", "offer", "offer_accepted", "unfreeze", "announce_withdrawn", "temporary_start"), "green"),
    **dict.fromkeys(("decrease", "announce", "temporary_end"), "yellow"),
    **dict.fromkeys(("freeze", "close"), "red"),
}


@speaks
def demo(
    seconds: Annotated[float, typer.Option(min=0, help="End by itself after so long from the first customer on; 0: at Ctrl-C.")] = 0,
    rate: Annotated[float, typer.Option(min=1, help="Records a second.")] = 2_000,
    accounts: Annotated[int, typer.Option(min=1, help="Synthetic customers.")] = 200,
    days: Annotated[int, typer.Option(min=30, max=3_000, help="Days that they live.")] = 360,
    partitions: Annotated[int, typer.Option(min=1, max=64, help="Shards.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the customers' lives.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Start Kafka, Redis, a worker and synthetic customers, and show the limit changes with their reasons as they happen."""
    if not (ROOT / "scripts" / "personas.py").exists():
        raise EngineError("the synthetic customers are not installed with the package", where="demo", cure="run scripts/demo in a checkout")
    console = Console(stderr=as_json)
    with _deployment(partitions, days) as parts:
        view = _View(rate, accounts, parts.start_ms)
        try:
            with parts.traffic(accounts, days, rate, seed):
                _follow(parts, view, console, seconds, is_plain=as_json)
            _drain(parts, view)
        except KeyboardInterrupt:
            messages.print("ending ...")
        _refresh(parts, view)
        summary = view.summary(parts.accounts())
    if as_json:
        emit(summary)
    else:
        console.print(
            f"{summary['events']} events of {summary['accounts']} accounts, {summary['limit_changes']} limit changes,"
            f" {summary['advisories']} advisories, {summary['dead_letters']} dead letters, {summary['events_per_second']} events/s."
            " Nothing is left running."
        )


# The parts


@dataclass
class _Parts:
    """What runs, and how it is asked."""

    kafka: Any
    redis: Any
    worker: Any
    metrics_url: str
    directory: Path
    start_ms: int
    partitions: int
    consumer: Any

    def metrics(self) -> dict[str, float]:
        """The worker's metrics, summed over its shards. Raises EngineError when the worker is gone."""
        from prometheus_client.parser import text_string_to_metric_families

        if not self.worker.is_running():
            raise self.failed("the worker has ended", "worker.log")
        try:
            with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:  # noqa: S310 - our own worker's address
                text = answer.read().decode()
        except OSError:
            return {}
        totals: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                totals[sample.name] += sample.value  # type: ignore[assignment]
        return dict(totals)

    def failed(self, what: str, log: str) -> EngineError:
        """What went wrong, with the end of the log of who knows more."""
        tail = "\n    ".join((self.directory / log).read_text().splitlines()[-12:])
        return EngineError(f"{what}; the end of {log}:\n    {tail}", where="demo")

    @contextmanager
    def traffic(self, accounts: int, days: int, rate: float, seed: int) -> Iterator[None]:
        """Customers live while the context is open."""
        from engine.local.process import ServerProcess

        options = {
            "--kafka": self.kafka.address, "--accounts": accounts, "--days": days, "--rate": rate, "--seed": seed, "--start-ms": self.start_ms,
        }  # fmt: skip
        command = [sys.executable, "-m", "scripts.traffic", *(str(word) for pair in options.items() for word in pair), "--answer"]
        process = ServerProcess.spawn(command, log=self.directory / "traffic.log", directory=ROOT, bound=True)
        try:
            yield
        finally:
            process.stop(STOP_GRACE_S)

    def accounts(self) -> int:
        """Number of accounts in Redis."""
        import redis

        from engine.settings import load_settings
        from engine.state.keys import BUCKETS, ShardKeys

        application = load_settings().application
        with redis.Redis.from_url(self.redis.url) as client, client.pipeline(transaction=False) as pipeline:
            for shard in range(self.partitions):
                names = ShardKeys(application, shard)
                for bucket in range(BUCKETS):
                    pipeline.hlen(names.accounts(bucket))
            return sum(pipeline.execute())


@contextmanager
def _deployment(partitions: int, days: int) -> Iterator[_Parts]:
    """Everything but the traffic, ready. Leaves no process and no file behind."""
    from engine.local.kafka import KafkaBroker
    from engine.local.ports import LOOPBACK, choose_port
    from engine.local.process import ServerProcess
    from engine.local.redis_server import RedisServer
    from engine.policy.source import load_policy
    from engine.stream import control, topics
    from schemas.topics import TOPICS

    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="limit-engine-demo-", ignore_cleanup_errors=True)))
        messages.print("starting Kafka and Redis (the first time on a machine downloads about 50 MB) ...")
        redis = RedisServer(directory / "redis")
        kafka = KafkaBroker(directory / "kafka")
        for server in (redis, kafka):
            stack.callback(server.stop)
            server.start()
        start_ms = (int(time.time() * 1000) // DAY_MS - days) * DAY_MS - CHINA_OFFSET_MS  # a midnight in China
        for_ever = {spec.name: -1 for spec in TOPICS}  # the customers live in the past: no retention may bite
        admin = topics.connect(kafka.settings)
        topics.create(admin, partitions, 1, for_ever)
        admin.close()
        messages.print(f"Kafka at {kafka.address}, Redis at {redis.address}, {len(TOPICS)} topics of {partitions} partitions")
        began = datetime.fromtimestamp(start_ms / 1000, UTC)
        policy = load_policy(ROOT / "policies" / "default.yaml", began)
        control.publish(kafka.settings, control.activation(policy, None, "demo", None, began), start_ms)
        messages.print(
            f"policy {policy.policy} version {policy.version} promoted; the worker compiles its kernel (about half a minute the first time) ..."
        )
        port = choose_port(0, service="metrics", option="--metrics-port")
        settings = {
            "LIMITS_KAFKA__BOOTSTRAP": kafka.address, "LIMITS_REDIS__URL": redis.url,
            "LIMITS_CLOCK": "records", "LIMITS_METRICS_PORT": port, "LIMITS_LOG_FORMAT": "json",
        }  # fmt: skip
        command = ["env", *(f"{name}={value}" for name, value in settings.items()), sys.executable, "-m", "engine", "run"]
        worker = ServerProcess.spawn(command, log=directory / "worker.log", directory=directory, bound=True)
        stack.callback(worker.stop, STOP_GRACE_S)
        consumer = _consumer(kafka.settings)
        stack.callback(consumer.close)
        parts = _Parts(kafka, redis, worker, f"http://{LOOPBACK}:{port}/metrics", directory, start_ms, partitions, consumer)
        deadline = time.monotonic() + START_WITHIN_S
        while parts.metrics().get("limits_commits_total", 0) < partitions:
            if time.monotonic() > deadline:
                raise EngineError(f"the worker is not ready after {START_WITHIN_S:.0f} s", where="demo")
            time.sleep(0.2)
        yield parts


def _consumer(kafka: Kafka) -> Any:
    from kafka import KafkaConsumer

    from engine.connections import kafka_client
    from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS

    return kafka_client(
        KafkaConsumer,
        kafka,
        CHANGES.name,
        ADVISORIES.name,
        DEAD_LETTERS.name,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )


# What is shown


@dataclass
class _View:
    """Counts and the newest changes."""

    wanted_rate: float
    customers: int
    start_ms: int
    events: int = 0
    lag: int = 0
    rate: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    advisories: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    newest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=SHOWN))
    began: float = field(default_factory=time.monotonic)
    worked_s: float = 0.0
    told: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=20))

    def measure(self, metrics: dict[str, float]) -> None:
        """Take the worker's metrics over."""
        if not metrics:
            return
        now, events = time.monotonic(), int(metrics["limits_records_total"])
        if events > self.events:
            self.worked_s = now - self.began
        self.events, self.lag = events, int(metrics["limits_lag_records"])
        self.told.append((now, events))
        then, before = self.told[0]
        self.rate = (events - before) / (now - then) if now > then else 0.0

    def take(self, record: Any) -> dict[str, Any] | None:
        """Count an output; the change, if it is one."""
        if record.topic == "dead-letters":
            self.dead_letters += 1
            return None
        change: dict[str, Any] = json.loads(record.value)
        if record.topic == "limit-advisories":
            self.advisories[change["kind"]] += 1
            return None
        self.kinds[change["kind"]] += 1
        self.newest.append(change)
        return change

    def summary(self, accounts: int) -> dict[str, Any]:
        """What the demo did."""
        return {
            "events": self.events,
            "limit_changes": self.kinds.total(),
            "advisories": self.advisories.total(),
            "dead_letters": self.dead_letters,
            "events_per_second": round(self.events / self.worked_s, 1) if self.worked_s else 0.0,
            "accounts": accounts,
        }

    def status(self) -> str:
        """One line."""
        told = f"changes: {_counts(self.kinds)}; advisories: {_counts(self.advisories)}; dead letters: {self.dead_letters}"
        return f"{self.events} events, {self.rate:.0f}/s, lag {self.lag} records; {told}"

    def rendered(self) -> Group:
        """For a terminal."""
        table = Table(expand=True, box=None, header_style="bold")
        for column in ("simulated time", "account", "change", "limit (CNY)", "band", "reasons"):
            table.add_column(column, no_wrap=column != "reasons", justify="right" if "limit" in column else "left")
        for change in self.newest:
            table.add_row(*_cells(change))
        return Group(table, Text(), Text(self.status(), style="bold"), Text("Ctrl-C ends it", style="dim"))


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none yet"


def _cells(change: dict[str, Any]) -> tuple[Text | str, ...]:
    before, after = change["previous"], change["standing"]
    kind = change["kind"]
    reasons = "; ".join(reason["text"].get("en", reason["code"]) for reason in change["reasons"][:REASONS_SHOWN])
    limit = f"{before['limit_minor'] / 100:,.0f} → {after['limit_minor'] / 100:,.0f}"
    when = change["occurred_at"][:16].replace("T", " ")
    return when, change["account_id"], Text(kind, style=STYLES.get(kind, "")), limit, after["band"] or "-", reasons or "-"


def _follow(parts: _Parts, view: _View, console: Console, seconds: float, *, is_plain: bool) -> None:
    """Show until the time is over, which begins with the first customer."""
    if console.is_terminal and not is_plain:
        with Live(console=console, refresh_per_second=5, transient=True) as live:
            for _ in _refreshed(parts, view, seconds):
                live.update(view.rendered())
        return
    next_status = 0.0
    for changes in _refreshed(parts, view, seconds):
        for change in changes[:LINES_A_SECOND]:
            console.print("  ".join(str(cell) for cell in _cells(change)), markup=False, highlight=False, soft_wrap=True)
        if time.monotonic() >= next_status:
            console.print(view.status(), markup=False, highlight=False, soft_wrap=True)
            next_status = time.monotonic() + 5


def _refreshed(parts: _Parts, view: _View, seconds: float) -> Iterator[list[dict[str, Any]]]:
    """The changes, each time there may be some, for so long from the first customer's record on; 0: for ever. Raises EngineError when none
    comes."""
    has_begun, until = False, time.monotonic() + START_WITHIN_S
    while time.monotonic() < until:
        yield _refresh(parts, view)
        if not has_begun and view.events > parts.partitions:  # each shard has taken the policy
            has_begun, until = True, time.monotonic() + (seconds or math.inf)
    if not has_begun:
        raise parts.failed(f"no customer has begun after {START_WITHIN_S:.0f} s", "traffic.log")


def _refresh(parts: _Parts, view: _View) -> list[dict[str, Any]]:
    """Read what was announced (waits for it up to half a second), then the metrics; the changes."""
    changes = []
    for records in parts.consumer.poll(timeout_ms=500, max_records=5_000).values():
        changes += [change for record in records if (change := view.take(record))]
    view.measure(parts.metrics())
    return changes


def _drain(parts: _Parts, view: _View) -> None:
    """Wait until the worker has decided what was sent, and everything announced was read."""
    deadline = time.monotonic() + DRAIN_WITHIN_S
    idle = 0
    while idle < 3 and time.monotonic() < deadline:
        before = view.events
        changes = _refresh(parts, view)
        idle = idle + 1 if view.lag == 0 and view.events == before and not changes else 0
