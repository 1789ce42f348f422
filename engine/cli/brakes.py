"""``limit-engine brakes``: what the portfolio's brakes have counted, and the release of a breaker."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from engine.cli.common import FINDINGS, Application, AsJson, Bootstrap, RedisUrl, emit, messages, settings_from, speaks

app = typer.Typer(no_args_is_help=True)

Segment = Annotated[Literal["individual", "enterprise"] | None, typer.Option(help="The clientele; without it every one.")]


@app.command()
@speaks
def release(
    reason: Annotated[str, typer.Option(help="Why so many limits may fall; it is kept with the record.")],
    issued_by: Annotated[str, typer.Option(help="Who releases it.")],
    approved_by: Annotated[str | None, typer.Option(help="Who approved it.")] = None,
    segment: Segment = None,
    kafka: Bootstrap = None,
    dry_run: Annotated[bool, typer.Option(help="Show what would be written, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Release the breakers that are tripped: what they withheld is decided anew, and counting begins again."""
    from engine.stream import control

    cluster = settings_from(kafka).kafka
    policy = control.active_policy(cluster)
    record = control.release_breaker(policy, segment, reason, issued_by, approved_by, control.utc_now())
    if dry_run:
        emit(record)
        return
    shards = control.publish(cluster, record)
    if as_json:
        emit({"control_id": record["control_id"], "segment": segment, "shards": shards})
    else:
        messages.print(f"the release ({record['control_id']}) is on its way to {shards} shards; `limit-engine brakes status` follows")


@app.command()
@speaks
def status(redis: RedisUrl = None, application: Application = None, as_json: AsJson = False) -> None:
    """Show what each shard has counted, beside its share of what the policy allows (exit code 1: a breaker is tripped)."""
    import asyncio

    from engine.cli.lookup import shards_of
    from engine.policy.document import Policy
    from engine.state import keys
    from engine.stream.brakes import Brakes, told

    settings = settings_from(redis=redis, application=application)
    held = asyncio.run(shards_of(settings))
    shards: list[dict[str, Any]] = []
    for number, fields in enumerate(held):
        if keys.POLICY in fields:
            policy, brakes = Policy.from_plain(json.loads(fields[keys.POLICY])), Brakes.decode(fields.get(keys.BRAKES, b""))
            shards += [{"shard": number, **plain} for plain in told(policy, brakes, number, len(held))]
    if as_json:
        emit({"application": settings.application, "shards": shards})
    elif shards:
        _show(shards)
    else:
        messages.print("no segment has brakes: they stand in the policy under segments.brakes")
    if any(plain["breaker"] == "tripped" for plain in shards):
        messages.print("[red]problem[/] a breaker is tripped: no limit falls there that neither law, arrears nor the customer ask for")
        messages.print("  [green]cure[/] find out why so many limits are to fall; then `limit-engine brakes release`")
        raise typer.Exit(FINDINGS)


def _show(shards: list[dict[str, Any]]) -> None:
    table = Table("shard", "segment", "day", "raised", "of", "evaluated", "lowered", "expected", "breaker")
    for plain in shards:
        table.add_row(*("-" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in plain.values()))
    Console(soft_wrap=True).print(table)
