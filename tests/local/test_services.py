"""``limit-engine local``: the pair of servers is started, found again, stopped; what is in the way is told."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from tests.cli.program import say


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose servers are gone in the end."""
    yield tmp_path / "local"
    say("local", "down", "--data", str(tmp_path / "local"))


def local(verb: str, data: Path, *options: str, code: int = 0) -> dict[str, Any]:
    """What a local command says as JSON."""
    done = say("local", verb, "--data", str(data), *options, "--json")
    assert done.exit_code == code, done.output
    return dict(json.loads(done.stdout))


def test_up_status_down(data: Path) -> None:
    assert local("status", data, code=1)["kafka"]["running"] is False
    first = local("up", data)
    assert all(service["running"] for service in first.values())
    assert local("up", data) == first, "what runs stays as it is"
    assert local("status", data) == first
    with redis.Redis.from_url(f"redis://{first['redis']['address']}/0") as client:
        client.set("kept", "1")
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    told = say("local", "status", "--data", str(data))
    assert f"export LIMITS_KAFKA__BOOTSTRAP={first['kafka']['address']}" in told.stdout

    # One of them dies: only that one is started again, where it was, with its data.
    os.kill(first["redis"]["pid"], signal.SIGKILL)
    psutil.wait_procs([process for process in psutil.process_iter() if process.pid == first["redis"]["pid"]], timeout=10)
    assert local("status", data, code=1)["redis"]["running"] is False
    second = local("up", data)
    assert second["kafka"] == first["kafka"]
    assert second["redis"]["address"] == first["redis"]["address"]
    with redis.Redis.from_url(f"redis://{first['redis']['address']}/0") as client:
        assert client.get("kept") == b"1"

    assert local("down", data) == {"stopped": ["kafka", "redis"]}
    assert local("down", data) == {"stopped": []}
    assert not psutil.pid_exists(first["kafka"]["pid"])
    local("down", data, "--delete")
    assert not (data / "kafka").exists()


def test_a_port_that_is_taken_is_named(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = say("local", "up", "--data", str(data), "--redis-port", str(port))
    assert done.exit_code == 2
    assert str(port) in done.stderr
    assert "--redis-port" in done.stderr
    assert local("status", data, code=1)["kafka"]["running"] is False
