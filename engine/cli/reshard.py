"""``limit-engine reshard``: the same accounts and standings in more partitions, while no worker works."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.common import Application, AsJson, Bootstrap, RedisUrl, emit, messages, progress, settings_from, speaks

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.settings import Settings
    from engine.stream.reshard import Resharded


@speaks
def reshard(
    partitions: Annotated[int, typer.Option(min=2, max=10_000, help="How many partitions every topic is to have: more than now.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    kafka: Bootstrap = None,
    redis: RedisUrl = None,
    application: Application = None,
    as_json: AsJson = False,
) -> None:
    """Give every topic more partitions, and each account the shard that its key now belongs to; stop producers and workers first.

    All of it happens or nothing; it may be killed and run again. There is no way back to fewer. docs/recovery.md says what consumers see.
    """
    import asyncio

    settings = settings_from(kafka, redis, application)
    if not yes:
        messages.print(
            f"Brings application {settings.application!r} to {partitions} partitions. There is no way back to fewer.", markup=False
        )
        typer.confirm("Reshard?", abort=True, err=True)
    with progress("resharding") as bar:
        done = asyncio.run(_reshard(settings, partitions, bar))
    if as_json:
        emit({"application": settings.application, **asdict(done)})
    elif done.was_done:
        messages.print(f"{settings.application!r} has {done.after} partitions already, and Redis has caught up")
    else:
        messages.print(
            f"{done.before} partitions became {done.after}: {done.moved:,} accounts moved, {done.stayed:,} stayed where they were"
        )


async def _reshard(settings: Settings, partitions: int, bar: Callable[[int, int], None]) -> Resharded:
    """Check, grow, write, apply. Raises EngineError, KafkaError, OSError."""
    import asyncio

    from engine.cli.lookup import client_of, shards_of
    from engine.errors import EngineError
    from engine.state import keys
    from engine.state.redis_store import RedisStore
    from engine.stream import reshard as steps
    from engine.stream import topics
    from engine.stream.clients import KafkaClients
    from engine.stream.move import Move, settle
    from engine.stream.rebuild import Rebuild
    from schemas.topics import JOURNAL

    kafka, clients = settings.kafka, KafkaClients(settings.kafka)
    await asyncio.to_thread(topics.check_stopped, kafka, settings.application)
    states = await asyncio.to_thread(topics.described, kafka)
    if not all(state.partitions for state in states):
        raise topics.problems(states)[0]
    there = topics.identity_of(states)
    journal_id = there.ids[JOURNAL.name]
    await settle(settings, clients, there.partitions[JOURNAL.name])
    async with client_of(settings) as client:

        async def catch_up(shards: int) -> None:
            for shard in range(shards):
                store = RedisStore(client, settings.application, shard, journal_id)
                await Rebuild(settings, shard, there, store, clients, lambda _behind, _total: None).catch_up()
                bar(shard + 1, shards)

        await catch_up(there.partitions[JOURNAL.name])
        fields = await shards_of(settings)
        before = len(fields)
        if before == partitions:
            return steps.Resharded(before, partitions, was_done=True)
        held = {int(each.get(keys.PARTITIONS, b"0")) for each in fields}
        if held != {before}:
            raise EngineError(
                "not all shards are there", where="Redis", cure="let the workers take over every shard once, then run this again"
            )
        steps.check_fit(fields, before, partitions)
        await steps.check_taken(clients, fields)
        await asyncio.to_thread(steps.grow, kafka, before, partitions)
        stores = [RedisStore(client, settings.application, shard, journal_id) for shard in range(before)]
        move = Move(settings, steps.Layout(settings.application, fields, partitions), stores, fields)
        await move.write(clients, bar)
        await catch_up(partitions)
        return steps.Resharded(before, partitions, move.moved, move.stayed)
