"""Looking accounts and shards up in Redis, for the commands that tell of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.cli.common import LOOK

if TYPE_CHECKING:
    from engine.settings import Settings
    from engine.state.masters import Masters


@dataclass(frozen=True, slots=True)
class Held:
    """What Redis holds at one moment: the account's value (None: nothing is known of it) and the hash of its shard."""

    account: bytes
    shard: int
    partitions: int
    fields: dict[str, bytes]
    value: bytes | None


async def look_up(account: bytes, settings: Settings) -> Held:
    """Read an account. Raises EngineError."""
    from engine.core.packed import Packed
    from engine.state.redis_store import RedisStore
    from engine.stream.decode.misrouting import partition_of

    async with client_of(settings) as client:
        partitions = _partitions(await RedisStore(client, settings.application, 0).shard_fields(), settings)
        shard = partition_of(account, partitions)
        store = RedisStore(client, settings.application, shard)
        # The value is not older than the fields: what they say was taken, it has.
        fields, loaded = await store.shard_fields(), await store.load(Packed.of([account]))
    return Held(account, shard, partitions, fields, loaded.values[0])


async def shards_of(settings: Settings) -> list[dict[str, bytes]]:
    """The hash of every shard. Raises EngineError."""
    from engine.state.redis_store import RedisStore

    async with client_of(settings) as client:
        first = await RedisStore(client, settings.application, 0).shard_fields()
        others = range(1, _partitions(first, settings))
        return [first, *[await RedisStore(client, settings.application, shard).shard_fields() for shard in others]]


@asynccontextmanager
async def client_of(settings: Settings, connections: int = 1) -> AsyncIterator[Masters]:
    """Connections to Redis; raises EngineError where it does not answer."""
    from engine.connections import redis_refusal
    from engine.errors import EngineError
    from engine.state.masters import Masters
    from engine.state.redis_store import StoreAway

    client = Masters.of_settings(settings.redis, connections)
    try:
        yield client
    except StoreAway as away:
        raise redis_refusal(settings.redis, away) or EngineError(
            f"{settings.redis.address} does not answer: {str(away).removeprefix('Redis: ')}", where="Redis", cure=LOOK
        ) from away
    finally:
        await client.aclose()


def _partitions(fields: dict[str, bytes], settings: Settings) -> int:
    """How many shards there are, by the hash of shard 0."""
    from engine.errors import EngineError
    from engine.state import keys

    partitions = fields.get(keys.PARTITIONS)
    if partitions is None:
        raise EngineError(
            f"application {settings.application!r} has no state there", where="Redis", cure="is a worker running? `limit-engine doctor`"
        )
    return int(partitions)


def left_of(held: Held) -> int | None:
    """The sequence that is left of an account that was forgotten; None for any other. Raises EngineError."""
    from engine.errors import EngineError
    from engine.state.codec import StateFormatError, forgotten_sequence

    try:
        return None if held.value is None else forgotten_sequence(held.value)
    except StateFormatError as error:
        raise EngineError(error.what, where=f"shard {held.shard}", cure=error.cure) from error


def inspected(held: Held, settings: Settings) -> dict[str, Any]:
    """Everything about an account of which something is known, as plain values. Raises EngineError."""
    from engine.errors import EngineError
    from engine.policy.compile import compile_policy
    from engine.policy.document import Policy
    from engine.state import keys
    from engine.state.codec import StateFormatError
    from engine.stream.appetite import Appetites
    from engine.stream.brakes import Brakes
    from engine.stream.inspection import inspect_account

    assert held.value is not None
    policy = compile_policy(Policy.from_plain(json.loads(held.fields[keys.POLICY])), settings.key)
    Appetites.decode(held.fields.get(keys.APPETITES, b"")).write(policy.program)
    brakes = Brakes.decode(held.fields.get(keys.BRAKES, b""))
    brakes.write(policy.program, policy.document, held.shard, int(held.fields[keys.PARTITIONS]))
    named = {"policy": {"name": policy.document.policy, "version": policy.document.version, "hash": policy.hash}, "shard": held.shard}
    try:
        return named | inspect_account(policy, settings.application, held.account, held.value, int(held.fields[keys.TICK_MS]))
    except StateFormatError as error:
        raise EngineError(error.what, where=f"shard {held.shard}", cure=error.cure) from error
