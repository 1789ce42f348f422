"""A shard in a Redis Cluster: it is found whichever server is asked, followed where it moves, and waits while it is on its way."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from redis.crc import key_slot

from engine.core.packed import Packed
from engine.local.ports import LOOPBACK
from engine.state.keys import ShardKeys
from engine.state.masters import Masters
from engine.state.redis_store import RedisStore, StoreAway
from tests.e2e.cluster import Cluster, ClusterServer
from tests.state.test_store_contract import record

SHARD = 3


@pytest.fixture
def application() -> str:
    return f"test-{uuid.uuid4().hex}"


def source_and_target(cluster: Cluster) -> tuple[ClusterServer, ClusterServer]:
    """Who has the shard now, and another server."""
    slot = key_slot(ShardKeys("any", SHARD).shard)
    (owner,) = {port for begin, end, (_, port, *_), *_ in cluster.servers[0].ask("CLUSTER SLOTS") if begin <= slot <= end}
    mine, *others = sorted(cluster.servers, key=lambda server: server.port != owner)
    return mine, others[0]


async def test_every_server_leads_to_the_shard(cluster: Cluster, application: str) -> None:
    for sequence, server in enumerate(cluster.servers, 1):
        masters = Masters.of_settings(server.settings)
        store = RedisStore(masters, application, SHARD)
        assert await store.apply(record(sequence, {b"a": b"%d" % sequence}), sequence) == sequence
        assert sorted(address for address, _ in await masters.every()) == sorted(server.address for server in cluster.servers)
        await masters.aclose()


async def test_a_shard_moves_to_another_master(cluster: Cluster, application: str) -> None:
    masters = Masters.of_settings(cluster.servers[0].settings)
    store, slot = RedisStore(masters, application, SHARD), key_slot(ShardKeys(application, SHARD).shard)
    assert await store.apply(record(1, {b"a": b"1"}), 0) == 1
    source, target = source_and_target(cluster)

    source_id, target_id = source.ask("CLUSTER MYID"), target.ask("CLUSTER MYID")
    target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
    source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
    assert list((await store.load(Packed.of([b"a"]))).values) == [b"1"]
    with pytest.raises(StoreAway, match="on its way to another master"):  # a bucket that is not there may be there already
        await store.load(Packed.of([b"a", b"new"]))
    names = source.ask("CLUSTER GETKEYSINSLOT", slot, 1_000)
    source.ask("MIGRATE", LOOPBACK, target.port, "", 0, 5_000, "KEYS", *names)
    with pytest.raises(StoreAway, match="on its way to another master"):
        await store.shard_fields()
    for server in (target, source, *cluster.servers):
        server.ask("CLUSTER SETSLOT", slot, "NODE", target_id)

    # The old master answers where the shard is now; the new one has never seen the scripts.
    loaded = await store.load(Packed.of([b"a", b"new"]))
    assert (loaded.applied, list(loaded.values)) == (1, [b"1", None])
    assert await store.apply(record(2, {b"new": b"2"}), 1) == 2
    assert [item async for item in RedisStore(masters, application, SHARD).accounts(0)] == []
    await masters.aclose()


async def test_a_server_that_is_lost_is_told_and_another_is_asked(cluster: Cluster, application: str) -> None:
    """Without replicas nobody takes over; the shard is there again when its master is."""
    source, _ = source_and_target(cluster)
    other = next(server for server in cluster.servers if server is not source)
    masters = Masters.of_settings(source.settings)
    store = RedisStore(masters, application, SHARD)
    assert await store.apply(record(1, {b"a": b"1"}), 0) == 1
    source.kill()
    with pytest.raises(StoreAway):
        await store.load(Packed.of([b"a"]))
    assert dict(await masters.every()).keys() >= {other.address}, "the others were asked"
    source.start()
    async with asyncio.timeout(30):
        while (await _applied(store)) != 1:  # it loads its file, and the others hear of it
            await asyncio.sleep(0.05)
    await masters.aclose()


async def _applied(store: RedisStore) -> int | None:
    try:
        return (await store.load(Packed.of([b"a"]))).applied
    except StoreAway:
        return None
