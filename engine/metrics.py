"""What a worker tells Prometheus. One prefix, base units, never an account as a label; the names and their meaning are this table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import start_http_server
from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from engine.stream.worker import Worker

Name = Literal[
    "limits_records_total",
    "limits_changes_total",
    "limits_dead_letters_total",
    "limits_commits_total",
    "limits_lag_records",
    "limits_seconds_since_commit",
    "limits_shard_running",
    "limits_policy_info",
]
LABELS: Final[dict[Name, tuple[str, ...]]] = {"limits_policy_info": ("policy", "version", "hash")}  # besides the shard
MEANINGS: Final[dict[Name, str]] = {
    "limits_records_total": "Input records taken since this worker owns the shard",
    "limits_changes_total": "Limit changes announced since this worker owns the shard",
    "limits_dead_letters_total": "Records that became dead letters since this worker owns the shard",
    "limits_commits_total": "Committed batches since this worker owns the shard",
    "limits_lag_records": "Input records that could be read and were not taken yet",
    "limits_seconds_since_commit": "Time since the shard's last commit",
    "limits_shard_running": "1 while the shard runs, 0 while it waits, is taken over or is stopped",
    "limits_policy_info": "Always 1; the labels say by which version of the policy the shard decides",
}


class ShardCollector:
    """Reads the shards' progress when Prometheus asks."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """One family per name, one sample per shard (of the policy none before there is one)."""
        now = time.monotonic()
        for name, meaning in MEANINGS.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(name, meaning, labels=["shard", *LABELS.get(name, ())])
            for number, shard in list(self._worker.shards.items()):
                progress = shard.progress
                if name == "limits_policy_info":
                    if progress.version is not None:
                        family.add_metric([str(number), *map(str, progress.version)], 1)
                    continue
                values: dict[Name, float] = {
                    "limits_records_total": progress.records,
                    "limits_changes_total": progress.changes,
                    "limits_dead_letters_total": progress.dead_letters,
                    "limits_commits_total": progress.commits,
                    "limits_lag_records": shard.lag(),
                    "limits_seconds_since_commit": now - progress.last_commit_at,
                    "limits_shard_running": float(progress.state.value == "running"),
                }
                family.add_metric([str(number)], values[name])
            yield family


def serve_metrics(port: int, worker: Worker) -> None:
    """Serve ``/metrics`` on a port; 0 serves nothing."""
    REGISTRY.register(ShardCollector(worker))
    if port:
        start_http_server(port)
