"""The proxies: what they hold, deliver late, and cut."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import redis

from engine.local.ports import LOOPBACK
from engine.local.redis_server import RedisServer
from engine.state.redis_store import APPLY, LOAD
from tests.chaos.proxy import Link, Proxies
from tests.chaos.requests import KafkaRequests, RedisRequests
from tests.chaos.servers import free_port

SILENCE_S = 0.3


@pytest.fixture
def link(valkey: RedisServer) -> Iterator[Link]:
    proxies = Proxies()
    yield proxies.link(free_port("redis"), valkey.port, RedisRequests)
    proxies.stop()


def client(link: Link, timeout: float = SILENCE_S) -> redis.Redis:
    return redis.Redis(LOOPBACK, link.port, socket_timeout=timeout, retry=None)  # type: ignore[arg-type]


def test_what_is_held_arrives_late(link: Link, valkey: RedisServer) -> None:
    behind, direct = client(link), redis.Redis(LOOPBACK, valkey.port)
    direct.delete("a")
    behind.ping()
    link.close("requests")
    with pytest.raises(redis.TimeoutError):
        behind.set("a", "1")
    behind.close()
    assert direct.get("a") is None
    link.open(reset=False)
    until(lambda: direct.get("a") == b"1")


def test_what_is_reset_never_arrives(link: Link, valkey: RedisServer) -> None:
    behind, direct = client(link), redis.Redis(LOOPBACK, valkey.port)
    direct.delete("a")
    behind.ping()
    link.close("requests", "replies")
    with pytest.raises(redis.TimeoutError):
        behind.set("a", "1")
    link.open(reset=True)
    assert client(link).ping()
    assert direct.get("a") is None


def test_replies_alone_can_be_held(link: Link, valkey: RedisServer) -> None:
    behind, direct = client(link), redis.Redis(LOOPBACK, valkey.port)
    direct.delete("a")
    behind.ping()
    link.close("replies")
    with pytest.raises(redis.TimeoutError):
        behind.set("a", "1")
    assert direct.get("a") == b"1"
    link.open(reset=False)


def test_answers_about_certain_keys_come_later(link: Link) -> None:
    behind = client(link, 5)
    link.delay(SILENCE_S, b"slow")

    def seconds(key: str) -> float:
        began = time.monotonic()
        behind.set(key, "1")
        return time.monotonic() - began

    behind.ping()
    assert seconds("slow") >= SILENCE_S
    assert seconds("other") < SILENCE_S
    link.delay(0.0)
    assert seconds("slow") < SILENCE_S


def test_an_answer_is_cut_after_the_request_was_done(link: Link, valkey: RedisServer) -> None:
    """Only of the kind that was asked for, and as often."""
    direct = redis.Redis(LOOPBACK, valkey.port)
    direct.script_load(APPLY.text)
    direct.script_load(LOAD.text)
    direct.delete("{0}:shard")
    behind = client(link, 5)
    link.cut_answers("apply", 1)
    assert behind.evalsha(LOAD.digest, 1, "{0}:shard", "") == [0]
    words = ("{0}:shard", "", 1, 0, 2, "sequence", "1")  # of any journal, the first record, which voids nothing
    with pytest.raises(redis.ConnectionError):
        behind.evalsha(APPLY.digest, 1, *words)
    assert link.cuts == 1
    assert direct.hget("{0}:shard", "sequence") == b"1"
    assert behind.evalsha(APPLY.digest, 1, *words) == 1
    direct.delete("{0}:shard")


def test_kafkas_requests_are_told_apart_however_they_are_cut_into_packets() -> None:
    requests = b"".join(
        struct.pack(">ihhi", 8 + len(rest), key, 0, 1) + rest for key, rest in ((0, b"x" * 50), (26, b""), (3, b"?"), (12, b""))
    )
    for size in (1, 3, 7, 64, 1_000):
        follow = KafkaRequests()
        packets = (requests[at : at + size] for at in range(0, len(requests), size))
        assert [name for packet in packets for name in follow.names(packet)] == ["Produce", "EndTxn", "", "Heartbeat"]


def test_a_server_that_is_away_is_a_reset(link: Link) -> None:
    link.server_port = free_port("nothing")
    with socket.create_connection((LOOPBACK, link.port), timeout=5) as connection, suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
