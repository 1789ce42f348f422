"""``limit-engine state``: what a Redis holds of each shard, told by a fingerprint."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cli.common import FINDINGS, Application, AsJson, RedisUrl, emit, messages, progress, settings_from, speaks

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.settings import Settings
    from engine.state.digest import Digest

app = typer.Typer(no_args_is_help=True)

MOVES = "it is written to"


@app.command()
@speaks
def digest(
    redis: RedisUrl = None,
    against: Annotated[str | None, typer.Option(metavar="URL", help="Compare with what this Redis holds.")] = None,
    application: Application = None,
    as_json: AsJson = False,
) -> None:
    """Print each shard's sequence and a fingerprint of its fields and accounts: two stores at one sequence have the same (exit code 1 with
    --against: they differ, or could not be compared)."""
    import asyncio

    settings = settings_from(redis=redis, application=application)
    other = None if against is None else settings_from(redis=against, application=application)
    with progress("reading the shards") as told:
        mine = asyncio.run(_digests(settings, told))
        theirs = None if other is None else asyncio.run(_digests(other, told))
    if theirs is not None and len(theirs) != len(mine):
        messages.print(f"[red]problem[/] {len(mine)} shards are here and {len(theirs)} there")
        raise typer.Exit(FINDINGS)
    rows = [_row(shard, found, None if theirs is None else theirs[shard]) for shard, found in enumerate(mine)]
    if as_json:
        emit({"application": settings.application, "shards": rows})
    else:
        _show(rows)
    if any(row.get("against", {}).get("result", "same") != "same" for row in rows) or (theirs is None and None in [m.digest for m in mine]):
        raise typer.Exit(FINDINGS)


async def _digests(settings: Settings, told: Callable[[int, int], None]) -> list[Digest]:
    """Of every shard. Raises EngineError."""
    from engine.cli.lookup import client_of, shards_of
    from engine.state import keys
    from engine.state.digest import digest_of
    from engine.state.redis_store import RedisStore
    from schemas.topics import JOURNAL

    shards, found = await shards_of(settings), []
    async with client_of(settings) as client:
        for shard, fields in enumerate(shards):
            told(shard, len(shards))
            journal_id = fields.get(keys.topic_id(JOURNAL.name), b"").decode()  # whichever it was made from
            found.append(await digest_of(RedisStore(client, settings.application, shard, journal_id)))
    return found


def _row(shard: int, mine: Digest, theirs: Digest | None) -> dict[str, Any]:
    row: dict[str, Any] = {"shard": shard, **asdict(mine)}
    if theirs is not None:
        if mine.digest is None or theirs.digest is None:
            result = "moving"
        elif mine.sequence != theirs.sequence:
            result = "behind" if theirs.sequence < mine.sequence else "ahead"
        else:
            result = "same" if mine.digest == theirs.digest else "different"
        row["against"] = {**asdict(theirs), "result": result}
    return row


def _show(rows: list[dict[str, Any]]) -> None:
    columns = ["shard", "sequence", "accounts", "digest"]
    is_compared = "against" in rows[0]
    table = Table(*columns, *(["there", "sequence there"] if is_compared else []))
    for row in rows:
        cells = [str(row["shard"]), f"{row['sequence']:,}", f"{row['accounts']:,}", row["digest"] or MOVES]
        if is_compared:
            cells += [row["against"]["result"], f"{row['against']['sequence']:,}"]
        table.add_row(*cells)
    Console(soft_wrap=True).print(table)
