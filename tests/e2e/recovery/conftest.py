"""One deployment for all of these tests: each finds it at rest and leaves it so, fit to go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.local.redis_server import RedisServer
from tests.e2e.deployment import Deployment
from tests.e2e.recovery.lived import lived_deployment


@pytest.fixture(scope="package")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment of three shards whose customers have lived, and answered, for three months; stopped."""
    yield from lived_deployment(tmp_path_factory.mktemp("lived"), 3, 50, 90, "--answer")


@pytest.fixture
def second(tmp_path: Path) -> Iterator[RedisServer]:
    """A second Redis."""
    server = RedisServer(tmp_path / "second")
    server.start()
    yield server
    server.stop()
