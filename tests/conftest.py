"""The real servers of the test run: started once, when the first test asks for them, and gone with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from engine.core.fingerprint import FingerprintKey
from engine.local.kafka import KafkaBroker
from engine.local.redis_server import RedisServer, installed_program, valkey_program

settings.register_profile("any machine", deadline=None)  # no test is about how long an example takes
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast ones first: whole deployments come last."""
    items.sort(key=lambda item: bool({"e2e", "chaos"} & set(item.path.parts)))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A running broker."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Valkey."""
    yield from running(valkey_program(), tmp_path_factory.mktemp("valkey"))


@pytest.fixture(scope="session")
def redis_installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running redis-server, where one is installed."""
    program = installed_program()
    if program is None:
        pytest.skip("redis-server is not installed")
    yield from running(program, tmp_path_factory.mktemp("redis"))


@pytest.fixture(params=["valkey", "redis_installed"])
def redis_server(request: pytest.FixtureRequest) -> RedisServer:
    """Each kind of server in turn."""
    server: RedisServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def key() -> FingerprintKey:
    """A deployment's fingerprint key."""
    return FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")


def running(program: Path, directory: Path) -> Iterator[RedisServer]:
    """Start a server, give it, end it."""
    server = RedisServer(directory, program=program)
    server.start()
    yield server
    server.stop()
