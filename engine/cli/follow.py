"""``limit-engine follow``: a second Redis follows the journal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.common import Application, AsJson, Bootstrap, RedisUrl, emit, fail, messages, settings_from, speaks
from engine.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.settings import Settings
    from engine.stream.following import Follower


@speaks
def follow(
    to: Annotated[str, typer.Option(metavar="URL", help="The Redis that follows, as redis://host:port/db.")],
    once: Annotated[bool, typer.Option("--once", help="End when it has caught up.")] = False,
    kafka: Bootstrap = None,
    redis: RedisUrl = None,
    application: Application = None,
    as_json: AsJson = False,
) -> None:
    """Let a second Redis follow the journal: what the workers commit is applied to it too, until interrupted."""
    import asyncio

    from engine import logs

    settings, target = settings_from(kafka, redis, application), settings_from(kafka, to, application)
    if target.redis.url == settings.redis.url:
        fail(EngineError("that is the Redis of the workers, which apply to it themselves", where="--to", cure="name another one"))
    logs.configure(settings.log_format, quiet=True)
    with _bar() as told:
        follower = asyncio.run(_follow(target, told, once=once))
    shards = [at.plain() for at in follower.shards.values()]
    if as_json:
        emit({"application": settings.application, "shards": shards})
    else:
        messages.print(
            f"{target.redis.address} has caught up: {sum(at['applied'] for at in shards):,} records of {len(shards)} shards applied"
        )


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """How many records were applied and how many are still to come, on stderr; nothing where that is no terminal."""
    from rich.progress import BarColumn, Progress

    columns = ("following", BarColumn(), "{task.completed:,.0f} records applied, {task.fields[behind]:,} behind")
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as bar:
        task = bar.add_task("following", total=None, behind=0)
        yield lambda done, behind: bar.update(task, completed=done, total=done + behind, behind=behind)


async def _follow(target: Settings, told: Callable[[int, int], None], *, once: bool) -> Follower:
    """Follow until the end of the journal (``once``), or for ever. Raises EngineError, KafkaError, OSError."""
    import asyncio

    from engine.cli.lookup import client_of
    from engine.state.redis_store import EVICTION_CURE, RedisStore
    from engine.stream import topics
    from engine.stream.clients import KafkaClients
    from engine.stream.following import Follower
    from schemas.topics import JOURNAL

    states = await asyncio.to_thread(topics.described, target.kafka)
    for problem in topics.problems(states):
        raise problem
    there = topics.identity_of(states)
    partitions, journal_id = there.shards, there.ids[JOURNAL.name]
    async with client_of(target, partitions) as client:
        evicts = await RedisStore(client, target.application, 0).problem()
        if evicts is not None:
            raise EngineError(evicts, where=f"Redis at {target.redis.address}", cure=EVICTION_CURE)
        follower = Follower(
            target.application,
            partitions,
            journal_id,
            KafkaClients(target.kafka),
            lambda shard: RedisStore(client, target.application, shard, journal_id),
            is_patient=not once,
        )
        try:
            await follower.begin()
            await _work(follower, told, once=once)
        finally:
            await follower.stop()
    return follower


async def _work(follower: Follower, told: Callable[[int, int], None], *, once: bool) -> None:
    """Apply what comes; say how far it is."""
    has_caught_up = False
    while not (once and has_caught_up):
        applied = sum(at.records for at in follower.shards.values())
        told(applied, follower.behind)
        await follower.step()
        if follower.behind == 0 and not has_caught_up:
            has_caught_up = True
            if not once:
                applied = sum(at.records for at in follower.shards.values())
                messages.print(f"caught up after {applied:,} records; follows until interrupted (Ctrl-C)")
