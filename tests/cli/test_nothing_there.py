"""No Kafka, no Redis: every command says so within seconds, where it looked and what to do, and nothing is left waiting."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from engine.settings import Settings
from tests.cli.program import DATA, ended, say, started, unused_port

RECORD: Final = '{"account_id": "a-1"}'
COMMANDS: Final = {
    "doctor": ("doctor",),
    "doctor --json": ("doctor", "--json"),
    "doctor --quiet": ("doctor", "--quiet"),
    "topics describe": ("topics", "describe"),
    "topics create": ("topics", "create"),
    "policy promote": ("policy", "promote", str(DATA / "policy.yaml")),
    "policy status": ("policy", "status"),
    "policy monitor": ("policy", "monitor", "--since", "2026-10-01", "--against", "2026-07-01..2026-10-01"),
    "account show": ("account", "show", "a-1"),
    "account history": ("account", "history", "a-1"),
    "account forget": ("account", "forget", "a-1", "--yes"),
    "dlq list": ("dlq", "list"),
    "dlq replay": ("dlq", "replay", "--all"),
    "follow": ("follow", "--to", "redis://127.0.0.1:1/0", "--once"),
    "state digest": ("state", "digest"),
    "rebuild": ("rebuild", "--from", "journal", "--yes"),
    "reshard": ("reshard", "--partitions", "4", "--yes"),
    "send": ("send", "purchases", RECORD),
    "tail": ("tail", "-n", "1"),
}
OF_KAFKA: Final = (
    "topics describe", "topics create", "policy promote", "policy monitor", "account history", "dlq list", "dlq replay", "send", "tail",
    "follow", "rebuild", "reshard",
)  # fmt: skip


class Ended:
    """Every command, run at the same time, against ports that nobody listens on."""

    def __init__(self, directory: Path) -> None:
        self.kafka, self.redis = f"127.0.0.1:{unused_port()}", f"127.0.0.1:{unused_port()}"
        settings = {
            "LIMITS_KAFKA__BOOTSTRAP": self.kafka,
            "LIMITS_REDIS__URL": f"redis://me:secret@{self.redis}/0",
            "LIMITS_KAFKA_FETCH_MAX_WAIT_MS": "5",  # an underscore too few
            "LIMITS_SERVICE_HOST": "10.0.0.1",  # Kubernetes sets such variables
        }
        (directory / "limits.toml").write_text("[shard]\nbatch_records = 123\n")
        self._running: dict[str, subprocess.Popen[bytes]] = {
            name: started(*words, directory=directory, **settings) for name, words in COMMANDS.items()
        }
        self._ended: dict[str, tuple[int, bytes, str]] = {}

    def of(self, name: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command."""
        if name not in self._ended:
            self._ended[name] = ended(self._running[name])
        code, out, err = self._ended[name]
        return code, out.decode(), err

    def stop(self) -> None:
        """End what is still running."""
        for program in self._running.values():
            program.kill()


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    """The commands at work."""
    commands = Ended(tmp_path_factory.mktemp("nothing"))
    yield commands
    commands.stop()


@pytest.mark.parametrize("name", OF_KAFKA)
def test_kafka_is_not_there(name: str, nothing: Ended) -> None:
    code, out, err = nothing.of(name)
    assert (code, out) == (2, "")
    assert err.startswith("error Kafka: ")
    assert nothing.kafka in err
    assert err.endswith("\n  cure is it there, and is the address right? `limit-engine doctor` looks\n")


@pytest.mark.parametrize("name", ["policy status", "account show", "account forget", "state digest"])
def test_redis_is_not_there(name: str, nothing: Ended) -> None:
    code, out, err = nothing.of(name)
    assert (code, out) == (2, "")
    assert err.startswith(f"error Redis: redis://***@{nothing.redis}/0 does not answer: ")
    assert err.endswith("\n  cure is it there, and is the address right? `limit-engine doctor` looks\n")


def test_the_doctor_tells_everything(nothing: Ended) -> None:
    code, out, err = nothing.of("doctor")
    assert (code, err) == (1, "")
    assert "secret" not in out
    lines = out.splitlines()
    for line in (
        "ok     settings file limits.toml: read",
        f"ok     kafka.bootstrap = {nothing.kafka}  (LIMITS_KAFKA__BOOTSTRAP)",
        f"ok     redis.url = redis://***@{nothing.redis}/0  (LIMITS_REDIS__URL)",
        "ok     shard.batch_records = 123  (limits.toml)",
        f"ok     shard.cache_accounts = {Settings().shard.cache_accounts}  (default)",
        "ok     fingerprint_key is the published default",
        "ok     LIMITS_SERVICE_HOST is set, and there is no such setting",
        "WRONG  LIMITS_KAFKA_FETCH_MAX_WAIT_MS is set, and there is no such setting",
        "        cure: did you mean 'LIMITS_KAFKA__FETCH_MAX_WAIT_MS'?",
        "        cure: start it (`limit-engine local up`), or point LIMITS_KAFKA__BOOTSTRAP or --kafka at it",
        "        cure: start it (`limit-engine local up`), or point LIMITS_REDIS__URL or --redis at it",
    ):
        assert line in lines
    assert any(line.startswith(f"WRONG  Kafka at {nothing.kafka} does not answer: ") for line in lines)
    assert any(line.startswith(f"WRONG  Redis at redis://***@{nothing.redis}/0 does not answer: ") for line in lines)


def test_the_doctor_can_be_short(nothing: Ended) -> None:
    code, out, _ = nothing.of("doctor --quiet")
    assert code == 1
    assert [line.split()[:2] for line in out.splitlines() if not line.startswith(" ")] == [
        ["WRONG", "LIMITS_KAFKA_FETCH_MAX_WAIT_MS"], ["WRONG", "Kafka"], ["WRONG", "Redis"],
    ]  # fmt: skip


def test_the_doctor_speaks_json(nothing: Ended) -> None:
    code, out, err = nothing.of("doctor --json")
    assert (code, err) == (1, "")
    findings = [json.loads(line) for line in out.splitlines()]
    assert all(set(finding) == {"ok", "what", "cure"} for finding in findings)
    wrong = [finding for finding in findings if not finding["ok"]]
    assert [finding["what"].partition(" ")[0] for finding in wrong] == ["LIMITS_KAFKA_FETCH_MAX_WAIT_MS", "Kafka", "Redis"]
    assert all(finding["cure"] for finding in wrong)


# What is wrong before any server is asked

SENT = {
    "an unknown topic": (["send", "purchase", RECORD], "'purchase' is not an input topic; there are repayments, purchases"),
    "not JSON": (["send", "purchases", RECORD, "{"], "record:2: a record is a JSON object with an account_id: "),
    "no account": (["send", "purchases", "{}"], "record:1: a record is a JSON object with an account_id: account_id is missing"),
    "a list": (["send", "purchases", "[]"], "record:1: a record is a JSON object with an account_id: "),
    "no record": (["send", "purchases"], "there is no record: give some as arguments, by --file, or as lines on stdin"),
    "no file": (["send", "purchases", "--file", "nothing.ndjson"], "nothing.ndjson: No such file or directory"),
    "both": (["send", "purchases", RECORD, "--file", "nothing.ndjson"], "records are given as arguments or by --file, not both"),
    "a dead letter without a place": (["dlq", "show", "purchases"], "'purchases' is no place: it is PARTITION@OFFSET, such as 2@17"),
    "a place elsewhere": (["dlq", "replay", "purchases-2@17"], "'purchases-2@17' is in purchases; a dead letter is named by its place in"),
    "an unknown disposition": (["dlq", "list", "--disposition", "mis"], "--disposition: there is no 'mis'; there are not_json, invalid"),
    "a filter without --all": (["dlq", "replay", "--topic", "purchases"], "filters narrow --all, which is not given"),
    "places and a filter": (["dlq", "replay", "2@17", "--all"], "dead letters are chosen by PLACE, or by --all and filters, not by both"),
    "all of them again": (["dlq", "replay", "--all", "--again"], "--again is for dead letters that are named by PLACE"),
    "nothing to replay": (["dlq", "replay"], "nothing is chosen"),
    "no corrected values": (["dlq", "replay", "--corrected", "nothing.ndjson"], "nothing.ndjson: No such file or directory"),
    "since when": (["dlq", "list", "--since", "yesterday"], "--since: 'yesterday' is no instant"),
    "tail of an unknown topic": (["tail", "limit-change"], "'limit-change' is not a topic of the engine; there are limit-changes"),
}


@pytest.mark.parametrize("case", SENT)
def test_mistakes_are_told_before_kafka_is_asked(case: str) -> None:
    words, message = SENT[case]
    told = say(*words, "--kafka", "127.0.0.1:1", stdin="")
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith(f"error {message}")


def test_a_mistake_in_a_file_of_records_is_told_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "records.ndjson"
    file.write_text(f'{RECORD}\n\n{{"account_id": "a\u2028b"}}\n[5]\n', "utf-8")
    for told in (say("send", "purchases", "--file", file), say("send", "purchases", "--file", "-", stdin=file.read_bytes())):
        assert (told.exit_code, told.stdout) == (2, "")
        assert ":4: a record is a JSON object with an account_id: " in told.stderr
    assert say("send", "purchases", "--file", file).stderr.startswith(f"error {file}:4: ")


def test_retention_is_a_topic_and_days() -> None:
    for wrong in ("purchases", "purchases=long", "purchase=3", "="):
        told = say("topics", "create", "--retention", wrong, "--kafka", "127.0.0.1:1")
        assert told.exit_code == 2
        assert repr(wrong) in told.stderr


def test_local_servers_that_were_never_started(tmp_path: Path) -> None:
    told = say("local", "status", "--data", tmp_path)
    assert (told.exit_code, told.stdout, told.stderr) == (1, "", "kafka: down\nredis: down\n")
    told = say("local", "down", "--data", tmp_path)
    assert (told.exit_code, told.stdout, told.stderr) == (0, "", "nothing was running\n")
    file = tmp_path / "file"
    file.touch()
    told = say("local", "status", "--data", file)
    assert (told.exit_code, told.stdout) == (2, "")
    assert str(file) in told.stderr
