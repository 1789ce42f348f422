"""``limit-engine appetite``: set the lender's risk appetite for a segment, and see how far the accounts have followed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from engine.cli.common import FINDINGS, Application, AsJson, Bootstrap, RedisUrl, emit, messages, settings_from, speaks

if TYPE_CHECKING:
    from engine.stream.in_force import ShardStatus

app = typer.Typer(no_args_is_help=True)

Segment = Annotated[Literal["individual", "enterprise"], typer.Argument(help="The clientele.")]
Mode = Annotated[Literal["expansion", "neutral", "contraction"], typer.Argument(help="What the policy in force says of it.")]


@app.command("set")
@speaks
def set_appetite(
    segment: Segment,
    mode: Mode,
    expected_decreases: Annotated[int, typer.Option(min=0, help="How many limits are expected to fall, in all.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the record.")],
    issued_by: Annotated[str, typer.Option(help="Who sets it.")],
    approved_by: Annotated[str, typer.Option(help="Who approved it: another person.")],
    kafka: Bootstrap = None,
    dry_run: Annotated[bool, typer.Option(help="Show what would be written, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set the appetite for a segment: in force from its control record on; a sweep brings the accounts without events."""
    from engine.stream import control

    cluster = settings_from(kafka).kafka
    record = control.appetite(
        control.active_policy(cluster), segment, mode, expected_decreases, reason, issued_by, approved_by, control.utc_now()
    )
    if dry_run:
        emit(record)
        return
    shards = control.publish(cluster, record)
    if as_json:
        emit({"control_id": record["control_id"], "segment": segment, "mode": mode, "shards": shards})
    else:
        messages.print(
            f"{mode} of {segment} ({record['control_id']}) is on its way to {shards} shards; `limit-engine appetite status` follows"
        )


@app.command()
@speaks
def status(redis: RedisUrl = None, application: Application = None, as_json: AsJson = False) -> None:
    """Show the appetite that each shard decides by, and how far the accounts have followed (exit code 1: not all by the same)."""
    import asyncio

    from engine.cli.lookup import shards_of
    from engine.cli.policies import sweep_told
    from engine.stream.in_force import status_of

    settings = settings_from(redis=redis, application=application)
    shards = [status_of(number, fields) for number, fields in enumerate(asyncio.run(shards_of(settings)))]
    agree = len({tuple(_told(shard)) for shard in shards}) == 1
    if as_json:
        emit(
            {
                "application": settings.application,
                "agree": agree,
                "shards": [{**s.plain(), "appetites": s.appetites.plain(), "buckets_followed": s.buckets_followed} for s in shards],
            }
        )
    else:
        table = Table("shard", "appetite", "since", "followed", "sweep")
        for shard in shards:
            modes, days = zip(*_told(shard), strict=True)
            table.add_row(str(shard.shard), "\n".join(modes), "\n".join(days), _followed(shard), sweep_told(shard))
        Console(soft_wrap=True).print(table)
    if not agree:
        messages.print("[red]problem[/] not all shards decide by the same appetite")
        messages.print(
            "  [green]cure[/] look again: each shard switches when it comes to the control record (`limit-engine tail dead-letters`)"
        )
        raise typer.Exit(FINDINGS)


def _told(shard: ShardStatus) -> list[tuple[str, str]]:
    """The appetites of a shard, by segment: what, and since which day."""
    return [(f"{switch['segment']} {switch['mode']}", str(switch["since"])) for switch in shard.appetites.plain()] or [("neutral", "")]


def _followed(shard: ShardStatus) -> str:
    """The share of a shard's accounts that were looked at since its newest control record."""
    from engine.state.keys import BUCKETS

    return "all" if shard.buckets_followed == BUCKETS else f"{100 * shard.buckets_followed // BUCKETS} %"
