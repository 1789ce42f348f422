"""The results side by side: tables for who reads them, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

from engine.stream.stages import Stage
from scripts.benchmark.correct import Checked
from scripts.benchmark.load import Load
from scripts.benchmark.scene import Result
from scripts.benchmark.screen import messages

MIN_WIDTH: Final = 150  # of the table, also where it goes into a file


def report(results: Iterable[Result], checks: Mapping[str, Checked], load: Load, partitions: int, *, as_json: bool) -> None:
    """Print the results side by side; ratios are of events per CPU-second to the plain agent's."""
    listed = list(results)
    plain = next((result for result in listed if result.name == "plain-agent"), None)
    if as_json:
        ratios = {r.name: round(r.per_cpu_second / plain.per_cpu_second, 1) for r in listed} if plain else {}
        shape = {"events": load.events, "accounts": load.accounts, "partitions": partitions, "seed": load.seed}
        plain_results = [result.plain(load.accounts) for result in listed]
        oracle = {name: checked.plain() for name, checked in checks.items()}
        print(json.dumps({**shape, "results": plain_results, "times_the_plain_agent": ratios, "oracle": oracle}))
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
    if stages.row_count:
        console.print(stages)
    for name, checked in checks.items():
        console.print(sentence(name, checked), markup=False, highlight=False)
        for line in checked.contradictions:
            console.print(f"  {line}", style="red", markup=False, highlight=False, soft_wrap=True)


def sentence(name: str, checked: Checked) -> str:
    """What came of the comparison with the oracle."""
    count = len(checked.contradictions)
    verdict = f"contradicts it in {count} {'shard' if count == 1 else 'shards'}" if count else "agrees with it"
    what = f"{checked.changes:,} changes by {checked.records:,} records of {checked.accounts:,} accounts"
    until = "" if checked.unbraked_percent == 100 else f", in the {checked.unbraked_percent} % of the run before a brake of the portfolio's"
    return f"{name}: {what} compared with the oracle{until}: it {verdict}"
