"""A newcomer's way through the commands, on a deployment of one's own: topics, policy, a worker, records in, changes out, an account."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.local.process import ServerProcess
from tests.e2e.conftest import deployed
from tests.e2e.deployment import Deployment
from tests.e2e.publisher import Publisher


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Deployment]:
    yield from deployed(tmp_path, 2, with_topics=False)


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """A command's standard output."""
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def found(done: subprocess.CompletedProcess[str]) -> str:
    """What a command says that has findings."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def demo_environment(directory: Path) -> dict[str, str]:
    """The environment, with everything temporary in ``directory``."""
    return os.environ | {"TMPDIR": str(directory)}


def still_running(directory: Path) -> list[str]:
    """The command lines of processes that work in a directory."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in word for word in process.info["cmdline"] or []) and process.pid != os.getpid()
    ]


def test_the_way_through(bare: Deployment, tmp_path: Path) -> None:
    d = bare
    # Nothing there yet: every command says so, and what to do.
    assert "not there" in found(d.command("topics", "describe"))
    assert "limit-engine topics create" in found(d.command("doctor"))

    created = json.loads(succeeded(d.command("topics", "create", "--partitions", "2", "--retention", "purchases=-1", "--json")))
    assert "limit-journal" in created["created"]
    assert json.loads(succeeded(d.command("topics", "create", "--json"))) == {"created": []}
    described = json.loads(succeeded(d.command("topics", "describe", "--json")))
    assert {topic["partitions"] for topic in described["topics"]} == {2}
    retentions = {topic["name"]: topic["retention.ms"] for topic in described["topics"]}
    assert (retentions["purchases"], retentions["transfers"]) == ("-1", str(30 * 86_400_000))

    promoted = json.loads(succeeded(d.command("policy", "promote", "policies/minimal.yaml", "--json")))
    assert (promoted["policy"], promoted["shards"]) == ("minimal", 2)
    d.start_worker()
    d.wait(lambda: d.taken() >= 2, "the policy is in force", 120)
    succeeded(d.command("doctor"))

    publisher = Publisher(d, "account-1")
    records = tmp_path / "records.ndjson"
    records.write_text("".join(json.dumps(publisher.good()) + "\n" for _ in range(2)))
    succeeded(d.command("send", "purchases", "--file", str(records)))
    succeeded(d.command("send", "purchases", json.dumps(publisher.good())))
    succeeded(d.command("send", "purchases", '{"account_id": "account-1"}'))
    (line,) = succeeded(d.command("tail", "--from-start", "-n", "1", "--json")).splitlines()
    change = json.loads(line)
    assert (change["topic"], change["key"], change["value"]["kind"]) == ("limit-changes", "account-1", "increase")
    assert "account-1 #1  increase" in succeeded(d.command("tail", "--from-start", "-n", "1"))
    assert "invalid  purchases@" in succeeded(d.command("tail", "dead-letters", "--from-start", "-n", "1"))

    shown = d.inspected("account-1")
    assert (shown["standing"]["limit_minor"], shown["assessment"]["score"], shown["events_accepted"]) == (100_000, 10, 3)
    table = succeeded(d.command("account", "show", "account-1"))
    assert "purchases_30d" in table
    (told,) = succeeded(d.command("account", "history", "account-1", "--json")).splitlines()
    assert json.loads(told) == change["value"]
    assert "account-9" in found(d.command("account", "show", "account-9"))
    assert "account-9" in found(d.command("account", "history", "account-9"))
    freeze = {
        "command_id": "c-1",
        "account_id": "account-1",
        "issued_at": publisher.good()["occurred_at"],
        "issued_by": "ops",
        "reason": "lost phone",
        "kind": "freeze",
        "cause": "customer",
    }
    succeeded(d.command("send", "limit-commands", json.dumps(freeze)))
    assert "command_result  accepted" in succeeded(d.command("tail", "limit-advisories", "--from-start", "-n", "1"))
    assert d.inspected("account-1")["standing"]["drawing_allowed"] is False


def test_the_demo_ends_by_itself_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        ["limit-engine", "demo", "--seconds", "5", "--json", "--accounts", "40", "--days", "60", "--rate", "1000"],
        capture_output=True, text=True, timeout=240, check=False, env=demo_environment(tmp_path),
    )  # fmt: skip
    summary = json.loads(succeeded(done).splitlines()[-1])
    assert summary.keys() == {"events", "limit_changes", "advisories", "dead_letters", "events_per_second", "accounts"}
    assert min(summary["events"], summary["limit_changes"], summary["accounts"]) > 0
    assert list(tmp_path.iterdir()) == []
    assert still_running(tmp_path) == []


def test_ctrl_c_ends_the_demo(tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ["env", f"TMPDIR={scratch}", "limit-engine", "demo", "--accounts", "40", "--days", "60", "--rate", "500"]
    demo = ServerProcess.spawn(words, log=log, directory=tmp_path, bound=True)
    try:
        while "changes:" not in log.read_text():
            assert not demo.ends_within(0.2), log.read_text()
        demo.interrupt()
        assert demo.ends_within(60), log.read_text()
    finally:
        demo.kill()
    assert "Nothing is left running" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert list(scratch.iterdir()) == []
    assert still_running(scratch) == []
