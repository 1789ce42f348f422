"""``limit-engine rebuild``: the state in Redis made anew, while no worker works."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from engine.cli.common import Application, AsJson, Bootstrap, RedisUrl, emit, fail, messages, progress, settings_from, speaks

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.settings import Settings
    from engine.stream.rebuild import Rebuilt
    from engine.stream.topics import TopicState

Source = Literal["journal", "redis", "inputs"]
ASKED: Final = {
    "journal": "Empties {shards} in {redis}, and applies the journal to it. Nothing is lost that the journal has.",
    "redis": "Writes the state of every shard in {redis}, as it is, to a new journal.",
    "inputs": "Makes the state of {shards} in {redis} and in the journal anew, from the inputs and from limit-changes. What was there is void.",
}


@speaks
def rebuild(
    source: Annotated[Source, typer.Option("--from", help="What to make it from.")],
    shard: Annotated[list[int] | None, typer.Option("--shard", min=0, metavar="N", help="Only this shard (may be repeated).")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    kafka: Bootstrap = None,
    redis: RedisUrl = None,
    application: Application = None,
    as_json: AsJson = False,
) -> None:
    """Make the state in Redis, or the journal, anew; stop the workers first. It may be killed and run again.

    From the journal all of it comes back to the byte. From Redis, where the journal's topic was lost and Redis was not: likewise. From the
    inputs, where neither has all: what they say as far as they go back, and the standings as they were announced last (docs/recovery.md).
    """
    import asyncio

    settings = settings_from(kafka, redis, application)
    if source == "redis" and shard:
        fail("--shard is not for --from redis, which does all shards or none")
    if not yes:
        told = f"shard{'s' if len(shard) > 1 else ''} {', '.join(map(str, shard))}" if shard else "every shard"
        messages.print(ASKED[source].format(shards=told, redis=settings.redis.address), markup=False)
        typer.confirm("Rebuild?", abort=True, err=True)
    with progress("rebuilding") as bar:
        done = asyncio.run(_rebuild(settings, source, shard or [], bar))
    if as_json:
        emit({"application": settings.application, "from": source, "shards": [asdict(each) for each in done]})
        return
    records = f"{sum(each.records for each in done):,} journal records"
    if source != "inputs":
        messages.print(f"{len(done)} shards rebuilt: {records} {'applied' if source == 'journal' else 'written'}")
    else:
        inputs, standings = sum(each.inputs for each in done), sum(each.standings for each in done)
        messages.print(
            f"{len(done)} shards rebuilt: {inputs:,} inputs taken again in {records}, {standings:,} standings put in force behind them"
        )


async def _rebuild(settings: Settings, source: str, wanted: list[int], bar: Callable[[int, int], None]) -> list[Rebuilt]:
    """Shard by shard. Raises EngineError, KafkaError, OSError."""
    import asyncio

    from engine.cli.lookup import client_of
    from engine.errors import EngineError
    from engine.state.redis_store import EVICTION_CURE, RedisStore
    from engine.stream.clients import KafkaClients
    from engine.stream.rebuild import Rebuild
    from engine.stream.rejournal import rejournal
    from engine.stream.topics import identity_of
    from schemas.topics import JOURNAL

    there = identity_of(await asyncio.to_thread(_described, settings))
    partitions = there.shards
    unknown = [shard for shard in wanted if shard >= partitions]
    if unknown:
        raise EngineError(f"there is no shard {unknown[0]}: the topics have {partitions} partitions", where="--shard")
    shards = sorted(set(wanted)) or list(range(partitions))
    clients, done = KafkaClients(settings.kafka), []
    async with client_of(settings) as client:
        if source == "redis":
            stores = [RedisStore(client, settings.application, shard) for shard in shards]
            return await rejournal(settings, there, stores, clients, bar)
        for place, shard in enumerate(shards):
            store = RedisStore(client, settings.application, shard, there.ids[JOURNAL.name])
            evicts = await store.problem()
            if evicts is not None:
                raise EngineError(evicts, where="Redis", cure=EVICTION_CURE)

            def told(behind: int, total: int, place: int = place) -> None:
                bar(place * 1_000 + 1_000 * behind // max(1, total), 1_000 * len(shards))

            work = Rebuild(settings, shard, there, store, clients, told)
            done.append(await (work.from_journal() if source == "journal" else work.from_inputs()))
    return done


def _described(settings: Settings) -> list[TopicState]:
    """The topics, fit to work on, while nobody works on them. Raises EngineError, KafkaError."""
    from engine.stream import topics

    topics.check_stopped(settings.kafka, settings.application)
    states = topics.described(settings.kafka)
    for problem in topics.problems(states):
        raise problem
    return states
