"""The contract of a shard's store, for every store there is."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from engine.core.packed import Packed
from engine.local.redis_server import RedisServer
from engine.settings import Redis
from engine.state import keys
from engine.state.digest import digest_of
from engine.state.keys import BUCKETS, bucket_of
from engine.state.masters import Masters, connect
from engine.state.memory_store import MemoryStore
from engine.state.outputs import NO_OUTPUTS
from engine.state.record import InputCut, JournalRecord
from engine.state.redis_store import RedisStore, StoreAway, eviction_problem
from engine.state.states import States
from engine.state.store import OTHER_JOURNAL, ShardStore
from schemas.topics import JOURNAL
from tests.e2e.cluster import Cluster


def record(sequence: int, accounts: dict[bytes, bytes | None], **fields: bytes) -> JournalRecord:
    return JournalRecord(
        application="limits",
        shard=3,
        sequence=sequence,
        engine_version="0",
        policy_hash="",
        tick_ms=1000 + sequence,
        events=0,
        cuts=(InputCut("purchases", 10 * sequence, 10 * sequence + 10, 5),),
        accounts=States.of(sorted(accounts.items())),
        fields=tuple(sorted(fields.items())),
        outputs=NO_OUTPUTS,
        dead_letters=(),
        counts=(),
    )


@pytest.fixture(params=["memory", "valkey", "redis_installed", "cluster"])
def store(request: pytest.FixtureRequest) -> ShardStore:
    if request.param == "memory":
        return MemoryStore("ours")
    if request.param == "cluster":
        cluster: Cluster = request.getfixturevalue(request.param)
        return RedisStore(Masters.of_settings(cluster.servers[0].settings), f"test-{uuid.uuid4().hex}", 3, "ours")
    server: RedisServer = request.getfixturevalue(request.param)
    return RedisStore(connect(server.settings), f"test-{uuid.uuid4().hex}", 3, "ours")


async def test_a_new_shard_is_empty(store: ShardStore) -> None:
    assert await store.shard_fields() == {}
    loaded = await store.load(Packed.of([b"a", b"b"]))
    assert (loaded.applied, list(loaded.values)) == (0, [None, None])


async def test_records_apply_in_sequence_and_once(store: ShardStore) -> None:
    assert await store.apply(record(2, {b"a": b"too early"}), 1) == 0
    assert await store.apply(record(1, {b"a": b"1"}), 0) == 1
    assert await store.apply(record(1, {b"a": b"again"}), 0) == 1
    assert await store.apply(record(2, {b"a": b"2", b"b": b"2"}), 1) == 2
    assert await store.apply(record(1, {b"a": b"late"}), 0) == 2
    loaded = await store.load(Packed.of([b"b", b"c", b"a"]))
    assert (loaded.applied, list(loaded.values)) == (2, [b"2", None, b"2"])


async def test_an_account_without_a_state_is_removed(store: ShardStore) -> None:
    neighbours = [name for name in (b"%d" % n for n in range(2000)) if bucket_of(name) == bucket_of(b"a")]
    await store.apply(record(1, {b"a": b"1", neighbours[0]: b"1", neighbours[1]: b"1", b"z": b"1"}), 0)
    assert await store.apply(record(1, {b"a": None}), 0) == 1  # not the next record: nothing happens
    assert list((await store.load(Packed.of([b"a"]))).values) == [b"1"]
    removing = record(2, {b"a": None, neighbours[0]: b"2", neighbours[1]: None, b"never-there": None})
    assert await store.apply(removing, 1) == 2
    assert await store.apply(removing, 1) == 2
    loaded = await store.load(Packed.of([b"a", neighbours[0], neighbours[1], b"z", b"never-there"]))
    assert (loaded.applied, list(loaded.values)) == (2, [None, b"2", None, b"1", None])
    assert [item async for item in store.accounts(bucket_of(b"a"))] == [(neighbours[0], b"2")]
    await store.apply(record(3, {b"a": b"3"}), 2)
    assert list((await store.load(Packed.of([b"a"]))).values) == [b"3"]


async def test_thousands_of_accounts_are_removed_by_one_record(store: ShardStore) -> None:
    names = [f"account-{n}".encode() for n in range(4000)]
    await store.apply(record(1, dict.fromkeys(names, b"1")), 0)
    await store.apply(record(2, {name: None if n % 3 else b"2" for n, name in enumerate(names)}), 1)
    assert list((await store.load(Packed.of(names))).values) == [None if n % 3 else b"2" for n in range(4000)]


async def test_the_shard_hash_says_where_to_continue(store: ShardStore) -> None:
    await store.apply(record(1, {}, policy=b"{}"), 7)
    await store.apply(record(2, {}), 9)
    fields = await store.shard_fields()
    assert fields["sequence"] == b"2"
    assert fields["journal_offset"] == b"9"
    assert fields["next:purchases"] == b"30"
    assert fields["clock:purchases"] == b"5"
    assert fields["tick_ms"] == b"1002"
    assert fields["policy"] == b"{}"


async def test_thousands_of_accounts_in_one_record(store: ShardStore) -> None:
    accounts: dict[bytes, bytes | None] = {f"account-{n}".encode(): bytes([n % 256]) * (n % 700) for n in range(4000)}
    assert await store.apply(record(1, accounts), 0) == 1
    asked = [*list(accounts)[::-1], b"unknown"]
    assert list((await store.load(Packed.of(asked))).values) == [*(accounts[a] for a in asked[:-1]), None]


async def test_accounts_lie_in_their_buckets_in_order(store: ShardStore) -> None:
    accounts: dict[bytes, bytes | None] = {f"{n}".encode(): b"%d" % n for n in range(600)}
    await store.apply(record(1, accounts), 0)
    found: dict[bytes, bytes] = {}
    for bucket in range(BUCKETS):
        items = [item async for item in store.accounts(bucket)]
        assert items == sorted(items)
        assert all(bucket_of(account) == bucket for account, _ in items)
        found.update(items)
    assert found == accounts


@pytest.mark.parametrize("most", [1, 7, 100, 1000])
async def test_slices_go_through_all_accounts_in_order(store: ShardStore, most: int) -> None:
    """From any bucket on, and round to it; the ids of a bucket in the order of their bytes, whatever the server's language."""
    accounts: dict[bytes, bytes | None] = {f"{'aAzZ-é_'[n % 7]}{n}".encode(): b"%d" % n for n in range(600 if most > 1 else 60)}
    await store.apply(record(1, accounts), 0)
    bucket, left, after = 200, BUCKETS, b""
    found: list[tuple[bytes, bytes]] = []
    while left:
        part = await store.slice(bucket, after, min(50, left), most)
        assert part.applied == 1
        assert len(part.accounts) <= most
        found += part.accounts.held()
        bucket, left, after = (bucket + part.buckets) % BUCKETS, left - part.buckets, part.after
    assert found == sorted(accounts.items(), key=lambda item: ((bucket_of(item[0]) - 200) % BUCKETS, item[0]))


async def test_values_are_bytes(store: ShardStore) -> None:
    value = bytes(range(256))
    await store.apply(record(1, {value[:64]: value}), 0)
    assert list((await store.load(Packed.of([value[:64]]))).values) == [value]


async def test_scripts_are_sent_again_to_a_server_that_forgot_them(redis_server: RedisServer) -> None:
    redis = connect(redis_server.settings)
    store = RedisStore(redis, f"test-{uuid.uuid4().hex}", 0)
    await store.apply(record(1, {b"a": b"1"}), 0)
    await redis.script_flush()
    assert await store.apply(record(2, {b"a": b"2"}), 1) == 2
    await redis.aclose()


async def test_a_server_that_is_not_there_is_away() -> None:
    redis = connect(Redis(url="redis://127.0.0.1:1/0"))
    with pytest.raises(StoreAway, match="Redis"):
        await RedisStore(redis, "test", 0).load(Packed.of([b"a"]))
    await redis.aclose()


@pytest.mark.parametrize("turns", range(12))
async def test_no_cancellation_is_swallowed(redis_server: RedisServer, turns: int) -> None:
    """Whenever it comes: before, during or together with an answer."""
    redis = connect(redis_server.settings, connections=8)
    store = RedisStore(redis, f"test-{uuid.uuid4().hex}", 0)
    await store.load(Packed.of([b"a"]))

    async def work() -> None:
        while True:
            await store.load(Packed.of([b"a"]))

    for _ in range(5):
        task = asyncio.create_task(work())
        for _ in range(20 + turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()
    await redis.aclose()


async def test_eviction_is_noticed(redis_server: RedisServer) -> None:
    redis = connect(redis_server.settings)
    assert await eviction_problem(redis) is None
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "allkeys-lru" in (await eviction_problem(redis) or "")
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.aclose()


async def test_a_beginning_voids_what_was_before(store: ShardStore) -> None:
    """From any sequence on, and once."""
    await store.apply(record(1, {f"account-{n}".encode(): b"1" for n in range(600)}, policy=b"{}", outputs=b"7"), 4)
    anew = record(9, {b"account-3": b"9", b"z": b"9"}, beginning=b"a test")
    assert await store.apply(record(9, {b"a": b"no beginning"}), 0) == 1
    assert await store.apply(anew, 0) == 9
    assert await store.apply(record(10, {b"account-3": b"10"}), 2) == 10
    assert await store.apply(anew, 0) == 10
    held = [item for bucket in range(BUCKETS) for item in [found async for found in store.accounts(bucket)]]
    assert sorted(held) == [(b"account-3", b"10"), (b"z", b"9")]
    fields = await store.shard_fields()
    assert (fields["beginning"], fields["sequence"], fields["journal_offset"]) == (b"a test", b"10", b"2")
    assert fields.keys() & {"policy", "outputs"} == set()


async def test_a_beginning_is_the_first_record_of_an_empty_store(store: ShardStore) -> None:
    assert await store.apply(record(40, {b"a": b"40"}, beginning=b"a test"), 7) == 40
    assert list((await store.load(Packed.of([b"a"]))).values) == [b"40"]


async def test_a_digest_is_of_what_is_held_whatever_the_order(store: ShardStore) -> None:
    accounts: dict[bytes, bytes | None] = {f"{n}".encode(): b"%d" % n for n in range(700)}
    await store.apply(record(1, accounts, policy=b"{}"), 0)
    other = MemoryStore()
    await other.apply(record(1, dict(reversed(accounts.items())), policy=b"{}"), 0)
    mine = await digest_of(store)
    assert mine == await digest_of(other)
    assert (mine.sequence, mine.accounts) == (1, 700)
    for change in (record(2, {b"5": None}), record(2, {b"5": b"55"}), record(2, {})):
        another = MemoryStore()
        await another.apply(record(1, accounts, policy=b"{}"), 0)
        await another.apply(change, 1)
        assert (await digest_of(another)).digest != mine.digest


async def test_what_was_made_from_another_journal_is_left_alone(store: ShardStore) -> None:
    name = keys.topic_id(JOURNAL.name)
    await store.apply(record(1, {b"a": b"1"}, **{name: b"other"}), 0)
    assert await store.apply(record(2, {b"a": b"2"}), 1) == OTHER_JOURNAL
    assert (await store.load(Packed.of([b"a"]))).applied == OTHER_JOURNAL
    assert (await store.slice(0, b"", BUCKETS, 10)).applied == OTHER_JOURNAL
    assert (await store.shard_fields())["sequence"] == b"1"
    # Only a beginning makes it another one's.
    begun = record(1, {b"b": b"1"}, **{name: b"ours", keys.BEGINNING: b"test"})
    assert await store.apply(begun, 0) == 1
    loaded = await store.load(Packed.of([b"a", b"b"]))
    assert (loaded.applied, list(loaded.values)) == (1, [None, b"1"])
