"""Every command explains itself, quickly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from engine import __version__
from engine.cli.main import app
from tests.cli.program import ended, environment, say, started


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ALL = list(commands(typer.main.get_command(app)))


def test_the_commands_are_those_that_are_promised() -> None:
    names = {" ".join(path) for path in ALL}
    assert names >= {
        "", "demo", "run", "doctor", "topics create", "topics describe", "send", "tail", "account show", "account history", "account forget",
        "policy check", "policy promote", "policy status", "policy monitor", "dlq list", "dlq show", "dlq replay",
        "decide", "follow", "state digest", "rebuild", "reshard", "local up", "local down", "local status",
    }  # fmt: skip


@pytest.mark.parametrize("path", ALL, ids=[" ".join(("limit-engine", *path)) for path in ALL])
def test_help(path: tuple[str, ...]) -> None:
    result = say(*path, "--help")
    assert result.exit_code == 0
    assert " ".join(("Usage: root", *path)).strip() in result.stdout.replace("limit-engine", "root")
    assert result.stderr == ""
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    assert not lines[1].startswith(("╭", "│")), "it says what it does"


def test_a_group_without_a_command_shows_its_help() -> None:
    for path in ((), ("policy",), ("topics",), ("account",), ("dlq",), ("local",)):
        result = say(*path)
        assert result.exit_code == 2
        assert "Usage:" in result.output


def test_an_unknown_command_is_named() -> None:
    result = say("polcy")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such command 'polcy'" in result.stderr


def test_the_version(tmp_path: Path) -> None:
    assert ended(started("--version", directory=tmp_path)) == (0, f"{__version__}\n".encode(), "")


def test_nothing_heavy_is_loaded_before_a_command_needs_it() -> None:
    code = "import sys, engine.cli.main; print(sorted({'kafka', 'redis', 'aiokafka', 'faust'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
