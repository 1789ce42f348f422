"""The results side by side: tables for who reads them, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from rich.console import Console
from rich.table import Column, Table

from engine.stream.stages import Stage
from scripts.benchmark.correct import Checked
from scripts.benchmark.load import Load
from scripts.benchmark.plan import ALONE, ENGINE
from scripts.benchmark.scene import Result
from scripts.benchmark.screen import messages
from scripts.benchmark.sweep import Swept

MIN_WIDTH: Final = 160  # of the table, also where it goes into a file


def report(
    results: Iterable[Result], checks: Mapping[str, Checked], swept: Swept | None, load: Load, partitions: int, *, as_json: bool
) -> None:
    """Print the results side by side; ratios are of events per CPU-second to the plain agent's, and of what is measured alone to the engine's."""
    listed = list(results)
    plain = next((result for result in listed if result.name == "plain-agent"), None)
    beside = compared(listed)
    if as_json:
        ratios = {r.name: round(r.per_cpu_second / plain.per_cpu_second, 1) for r in listed} if plain else {}
        shape = {"events": load.events, "accounts": load.accounts, "partitions": partitions, "seed": load.seed}
        plain_results = [result.plain() for result in listed]
        oracle = {name: checked.plain() for name, checked in checks.items()}
        more = {"times_the_plain_agent": ratios, "times_the_engine": beside, "sweep": swept and swept.plain(), "oracle": oracle}
        print(json.dumps({**shape, "results": plain_results, **more}))
        return
    columns = ("events", "changes", "events/s", "events/CPU-s", "worker µs/event", "Redis µs/event", "Redis B/account")
    table = Table(Column(no_wrap=True), *columns, "starts in", "resident MB", "times the plain agent")
    for result in listed:
        told = result.plain()
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
    if table.row_count:
        console.print(table)
    stages = Table("µs of CPU an event", *Stage, "the rest of the worker", "Redis")
    for result in listed:
        if result.stages:
            told = result.plain()
            by_stage = told["stages_us_per_event"]
            rest = told["process_us_per_event"] - sum(by_stage.values())
            stages.add_row(result.name, *(f"{by_stage[stage]:.2f}" for stage in Stage), f"{rest:.2f}", f"{told['redis_us_per_event']:.2f}")
    if stages.row_count:
        console.print(stages)
    for name, ratios_of in beside.items():
        console.print(
            f"{name}: {ratios_of['rate']:.0%} of the rate of engine, {ratios_of['cpu']:.0%} of its CPU time an event", highlight=False
        )
    if swept is not None:
        console.print(swept.sentence(), highlight=False)
    for name, checked in checks.items():
        console.print(sentence(name, checked), markup=False, highlight=False)
        for line in checked.contradictions:
            console.print(f"  {line}", style="red", markup=False, highlight=False, soft_wrap=True)


def compared(results: Iterable[Result]) -> dict[str, dict[str, float]]:
    """The rate and the CPU time an event of what is measured alone, in parts of those of the engine's plain run."""
    by_name = {result.name: result for result in results}
    plain = by_name.get(ENGINE.name)
    return {
        name: {"rate": round(result.per_second / plain.per_second, 3), "cpu": round(plain.per_cpu_second / result.per_cpu_second, 3)}
        for name, result in by_name.items()
        if plain is not None and name.startswith(tuple(ALONE))
    }


def sentence(name: str, checked: Checked) -> str:
    """What came of the comparison with the oracle."""
    count = len(checked.contradictions)
    verdict = f"contradicts it in {count} {'shard' if count == 1 else 'shards'}" if count else "agrees with it"
    what = f"{checked.changes:,} changes by {checked.records:,} records of {checked.accounts:,} accounts"
    until = "" if checked.unbraked_percent == 100 else f", in the {checked.unbraked_percent} % of the run before a brake of the portfolio's"
    return f"{name}: {what} compared with the oracle{until}: it {verdict}"
