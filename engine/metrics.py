"""What a worker tells Prometheus. One prefix, base units, never an account as a label; the names and their meaning are this table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import start_http_server
from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from engine.stream.tally import SCORE_BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.stream.progress import Progress
    from engine.stream.shard import Shard
    from engine.stream.worker import Worker

Name = Literal[
    "limits_records_total",
    "limits_changes_total",
    "limits_dead_letters_total",
    "limits_commits_total",
    "limits_journal_bytes_total",
    "limits_lag_records",
    "limits_seconds_since_commit",
    "limits_shard_running",
    "limits_policy_info",
    "limits_band_changes_total",
    "limits_score",
    "limits_arrears_total",
    "limits_features_total",
    "limits_withheld_total",
    "limits_rolls_total",
    "limits_swept_total",
    "limits_raised_minor",
    "limits_breaker_tripped",
    "limits_stage_seconds_total",
]
LABELS: Final[dict[Name, tuple[str, ...]]] = {  # besides the shard
    "limits_policy_info": ("policy", "version", "hash"),
    "limits_band_changes_total": ("segment", "from", "to"),
    "limits_score": ("segment",),
    "limits_arrears_total": ("segment", "bucket"),
    "limits_features_total": ("segment", "value"),
    "limits_withheld_total": ("guard",),
    "limits_rolls_total": ("segment", "from", "to"),
    "limits_swept_total": ("segment", "bucket"),
    "limits_raised_minor": ("segment",),
    "limits_breaker_tripped": ("segment",),
    "limits_stage_seconds_total": ("stage",),
}
HISTOGRAM: Final[Name] = "limits_score"
MEANINGS: Final[dict[Name, str]] = {
    "limits_records_total": "Input records taken since this worker owns the shard",
    "limits_changes_total": "Limit changes announced since this worker owns the shard",
    "limits_dead_letters_total": "Records that became dead letters since this worker owns the shard",
    "limits_commits_total": "Committed batches since this worker owns the shard",
    "limits_journal_bytes_total": "Bytes of the committed journal records, before they are compressed",
    "limits_lag_records": "Input records that could be read and were not taken yet",
    "limits_seconds_since_commit": "Time since the shard's last commit",
    "limits_shard_running": "1 while the shard runs, 0 while it waits, is taken over or is stopped",
    "limits_policy_info": "Always 1; the labels say by which version of the policy the shard decides",
    "limits_band_changes_total": "Announced limit changes that moved the standing band, by the bands before and after (- is none)",
    "limits_score": "Scores of the announced limit changes",
    "limits_arrears_total": "Announced limit changes by the arrears bucket (0 is current) at the decision",
    "limits_features_total": "Scorecard features of the announced limit changes, by whether their value was known or missing",
    "limits_withheld_total": "Advisories that an increase is withheld, by the guard",
    "limits_rolls_total": "Accounts that moved to another arrears bucket (0 is current), by a record or by the passing of time",
    "limits_swept_total": "Accounts that sweeps have looked at, by the arrears bucket in which they were",
    "limits_raised_minor": "By how much limits were raised on the day of the segment's budget",
    "limits_breaker_tripped": "1 while the segment's breaker stops decreases",
    "limits_stage_seconds_total": "CPU time by the stages of a batch",
}
Sample = tuple[tuple[str, ...], float]
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class ShardCollector:
    """Reads the shards' progress when Prometheus asks, in a thread of its own: what grows meanwhile is copied first."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Family]:
        """One family per name, its samples by shard: of plain numbers one, of labelled ones as many as there is something to tell of."""
        now = time.monotonic()
        for name, meaning in MEANINGS.items():
            labels = ["shard", *LABELS.get(name, ())]
            shards = [(str(number), shard) for number, shard in list(self._worker.shards.items())]
            if name == HISTOGRAM:
                histogram = HistogramMetricFamily(name, meaning, labels=labels)
                for number, shard in shards:
                    for segment, counts in dict(shard.progress.tally.scores).items():
                        histogram.add_metric([number, segment], _buckets(counts), sum_value=None)
                yield histogram
                continue
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(name, meaning, labels=labels)
            for number, shard in shards:
                for values, sample in _samples(name, shard, now):
                    family.add_metric([number, *values], sample)
            yield family


def _samples(name: Name, shard: Shard, now: float) -> Iterable[Sample]:
    """A shard's samples of a name: the labels' values, and the number."""
    progress = shard.progress
    tally = progress.tally
    match name:
        case "limits_policy_info":
            return [] if progress.version is None else [(tuple(map(str, progress.version)), 1)]
        case "limits_band_changes_total":
            return list(dict(tally.band_changes).items())
        case "limits_arrears_total":
            return [((segment, str(bucket)), count) for (segment, bucket), count in dict(tally.arrears).items()]
        case "limits_features_total":
            return list(dict(tally.features).items())
        case "limits_withheld_total":
            return [((guard,), count) for guard, count in dict(tally.withheld).items()]
        case "limits_rolls_total":
            return list(dict(tally.rolls).items())
        case "limits_swept_total":
            return list(dict(tally.swept).items())
        case "limits_raised_minor":
            return [((segment,), counts.raised_minor) for segment, counts in progress.brakes.by_segment.items()]
        case "limits_stage_seconds_total":
            return [((stage,), seconds) for stage, seconds in progress.stages.seconds.items()]
        case "limits_breaker_tripped":
            return [((segment,), float(counts.is_tripped)) for segment, counts in progress.brakes.by_segment.items()]
    return [((), _number(name, progress, shard.lag(), now))]


def _number(name: Name, progress: Progress, lag: int, now: float) -> float:
    values: dict[Name, float] = {
        "limits_records_total": progress.records,
        "limits_changes_total": progress.changes,
        "limits_dead_letters_total": progress.dead_letters,
        "limits_commits_total": progress.commits,
        "limits_journal_bytes_total": progress.journal_bytes,
        "limits_lag_records": lag,
        "limits_seconds_since_commit": now - progress.last_commit_at,
        "limits_shard_running": float(progress.state.value == "running"),
    }
    return values[name]


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    """The cumulative counts by upper bound, as Prometheus has them. There is no sum: scores may be negative, and a counter only grows."""
    bounds = [*(f"{bound:.1f}" for bound in SCORE_BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))


def serve_metrics(port: int, worker: Worker) -> None:
    """Serve ``/metrics`` on a port; 0 serves nothing."""
    REGISTRY.register(ShardCollector(worker))
    if port:
        start_http_server(port)
