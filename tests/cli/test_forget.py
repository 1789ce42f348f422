"""``account forget`` refuses what it cannot do before it writes anything, and says why; ``account show`` knows who was forgotten."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Final

import pytest

from engine.core.layout import Topic
from engine.local.redis_server import RedisServer
from engine.state.masters import connect
from engine.state.redis_store import RedisStore
from engine.stream.records import Chunk
from scripts.personas import DAY_MS, instant
from tests.cli.program import say
from tests.stream.runs import START_MS, Inputs, Shard, activation, control, promoted

NO_KAFKA: Final = "127.0.0.1:1"


def profiles(*records: tuple[str, str | None]) -> Inputs:
    """A shard's topics with profiles (account, status), a day apart; without a status: the wish to forget."""
    values: list[bytes | None] = []
    times = [START_MS + n * DAY_MS for n in range(len(records))]
    for n, (account, status) in enumerate(records):
        at = instant(times[n])
        fields = {"event_id": f"p-{n}", "account_id": account, "occurred_at": at, "as_of": at, "segment": "individual", "currency": "CNY"}
        granted = {"limit_minor": 50_000, "band": "starter", "since": "2025-01-01"}
        values.append(None if status is None else json.dumps(fields | {"status": status, "granted": granted}).encode())
    names: list[bytes | None] = [account.encode() for account, _ in records]
    return {
        Topic.CONTROL: control(activation(promoted("default"))),
        Topic.PROFILE: Chunk.of(Topic.PROFILE, list(range(len(records))), times, names, values, None),
    }


@pytest.fixture(scope="module")
def application(valkey: RedisServer) -> str:
    """A deployment of one shard in Redis: an open line, a closed one, and a forgotten account (its rate and its close were told)."""
    name = f"f{uuid.uuid4().hex}"
    inputs = profiles(
        ("open", "active"), ("closed", "active"), ("closed", "closed"), ("gone", "active"), ("gone", "closed"), ("gone", None)
    )

    async def apply() -> None:
        client = connect(valkey.settings)
        for record in await Shard.of(inputs, 10).journal():
            await RedisStore(client, name, 0).apply(record, -1)
        await client.aclose()

    asyncio.run(apply())
    return name


@pytest.mark.parametrize("flags", [(), ("--yes",), ("--yes", "--json")])
@pytest.mark.parametrize(
    ("account", "said"),
    [
        ("nobody", "nobody: the engine has accepted no record of this account; there is nothing to remove"),
        ("open", "open: its line is open (limit 50000 CNY minor): close it first, by a profile with status closed; then forget it"),
        (
            "gone",
            "gone: was forgotten; what is left in Redis is the account_id and the sequence of its last change (2); there is nothing to",
        ),
    ],
)
def test_what_cannot_be_forgotten_is_refused(
    account: str, said: str, flags: tuple[str, ...], application: str, valkey: RedisServer
) -> None:
    told = say("account", "forget", account, *flags, "--kafka", NO_KAFKA, "--redis", valkey.url, "--application", application)
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr.startswith(said)


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_it_asks_first(answer: str, application: str, valkey: RedisServer) -> None:
    words = ("account", "forget", "closed", "--kafka", NO_KAFKA, "--redis", valkey.url, "--application", application)
    told = say(*words, stdin=answer)
    assert told.exit_code == 1
    assert "Removes standing closed, what 2 records left in 0 measures, 0 instalments, the profile of closed from Redis" in told.stderr
    assert "Aborted" in told.stderr


def test_without_kafka_nothing_is_done(application: str, valkey: RedisServer) -> None:
    words = ("account", "forget", "closed", "--kafka", NO_KAFKA, "--redis", valkey.url, "--application", application)
    for told in (say(*words, "--yes"), say(*words, stdin="y\n")):
        assert told.exit_code == 2
        assert "is forgotten" not in told.stdout
        assert "error Kafka" in told.stderr


def test_show_knows_who_was_forgotten(application: str, valkey: RedisServer) -> None:
    words = ("account", "show", "gone", "--redis", valkey.url, "--application", application)
    told = say(*words)
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == "gone: was forgotten; what is left in Redis is the account_id and the sequence of its last change (2)\n"
    told = say(*words, "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout) == {"account_id": "gone", "shard": 0, "forgotten": True, "sequence": 2}
