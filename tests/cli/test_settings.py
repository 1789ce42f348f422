"""A wrong setting is named, by where it was set, and ends the program before it does anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.common import names_of, settings_from
from engine.settings import Settings
from tests.cli.program import DATA, say

LOG, POLICY = DATA / "log.ndjson", DATA / "policy.yaml"


def refused(*flags: str) -> str:
    """What is said of the settings by a command that needs no server."""
    result = say("account", "show", "a-1", *flags)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


VARIABLES = {
    "LIMITS_SHARD__BATCH_RECORDS": ("0", "setting LIMITS_SHARD__BATCH_RECORDS: Input should be greater than or equal to 1"),
    "LIMITS_SHARD__CACHE_ACCOUNTS": ("many", "setting LIMITS_SHARD__CACHE_ACCOUNTS: Input should be a valid integer"),
    "LIMITS_KAFKA__SESSION_TIMEOUT_S": ("-1", "setting LIMITS_KAFKA__SESSION_TIMEOUT_S: Input should be greater than 0"),
    "LIMITS_KAFKA__BOOTSTRP": ("x:1", "setting LIMITS_KAFKA__BOOTSTRP: there is no such setting (did you mean 'kafka.bootstrap'?)"),
    "LIMITS_KAFKA__BOOTSTRAP": ("http://kafka:9092", "setting LIMITS_KAFKA__BOOTSTRAP: must be HOST:PORT, or several with commas"),
    "LIMITS_REDIS__URL": ("http://me:secret@redis", "setting LIMITS_REDIS__URL: must be a URL such as redis://127.0.0.1:6379/0"),
    "LIMITS_FINGERPRINT_KEY": ("abc", "setting LIMITS_FINGERPRINT_KEY: must be 32 hexadecimal digits"),
    "LIMITS_APPLICATION": ("My App", "setting LIMITS_APPLICATION: String should match pattern '^[a-z][a-z0-9-]{0,47}$'"),
    "LIMITS_LOG_FORMAT": ("xml", "setting LIMITS_LOG_FORMAT: Input should be 'auto', 'json' or 'text'"),
    "LIMITS_KAFKA": ('{"bootstrap": 5}', "setting kafka.bootstrap in LIMITS_KAFKA: Input should be a valid string"),
    "LIMITS_SHARD": ("{", 'error parsing value for field "shard"'),
    "LIMITS_CONFIG": ("nothing.toml", "LIMITS_CONFIG: nothing.toml is not a file"),
    "LIMITS_SECRETS_DIR": ("nowhere", "LIMITS_SECRETS_DIR: nowhere is not a directory"),
}


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_wrong_variable(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, words = VARIABLES[variable]
    monkeypatch.setenv(variable, value)
    said = refused()
    assert words in said
    assert said.startswith("error ")
    assert "secret" not in said


FILES = {
    "an unknown key": ("nonsense = 1", "setting nonsense in limits.toml: there is no such setting"),
    "a key like another": (
        "[shard]\nbatch_record = 5",
        "setting shard.batch_record in limits.toml: there is no such setting (did you mean 'shard.ba",
    ),
    "a wrong value": (
        "[shard]\nbatch_records = 0",
        "setting shard.batch_records in limits.toml: Input should be greater than or equal to 1",
    ),
    "a value for a section": ("kafka = 3", "setting kafka in limits.toml: "),
    "no TOML": ("what is this", "limits.toml: Expected '=' after a key in a key/value pair (at line 1, column 6)"),
    "no text": ("\udcff", "limits.toml: 'utf-8' codec can't decode"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file(case: str, tmp_path: Path) -> None:
    text, words = FILES[case]
    (tmp_path / "limits.toml").write_text(text, "utf-8", errors="surrogateescape")
    assert f"error {words}" in refused()


FLAGS = {
    "--redis": ["nonsense", "http://x", "redis://", "redis://host:99999/0", "redis://host/first", "unix://"],
    "--application": ["", "Bad", "a b"],
}


@pytest.mark.parametrize(("flag", "value"), [(flag, value) for flag, values in FLAGS.items() for value in values])
def test_a_wrong_flag(flag: str, value: str) -> None:
    assert refused(flag, value).startswith(f"error setting {'redis.url' if flag == '--redis' else 'application'}: ")


@pytest.mark.parametrize("value", ["", ":9092", "a b:1", "host:port", "host:1,", "host:1, other:2", "kafka://host:1"])
def test_a_wrong_kafka_flag(value: str) -> None:
    for command in (
        ["topics", "describe"],
        ["policy", "promote", str(POLICY)],
        ["account", "history", "a"],
        ["send", "purchases", '{"account_id":1}'],
    ):
        result = say(*command, "--kafka", value)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error setting kafka.bootstrap: must be HOST:PORT")


@pytest.mark.parametrize("value", ["host", "host:9092", "a.b-c_d:1,10.0.0.1:2,[::1]:3"])
def test_a_good_kafka_address(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMITS_KAFKA__ALLOW_PLAINTEXT", "true")
    assert settings_from(kafka=value).kafka.bootstrap == value


def test_addresses_are_shown_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMITS_REDIS__ALLOW_PLAINTEXT", "true")
    shown = {
        "redis://127.0.0.1:6379/0": "redis://127.0.0.1:6379/0",
        "rediss://me:secret@redis:6380": "rediss://***@redis:6380",
        "redis://redis/1?password=secret": "redis://redis/1",
        "unix:///run/redis.sock?db=2": "unix:///run/redis.sock",
    }
    assert {url: settings_from(redis=url).redis.address for url in shown} == shown


def test_all_mistakes_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text("[redis]\nurl = 5\n")
    monkeypatch.setenv("LIMITS_CLOCK", "sun")
    assert [line.partition(": ")[0] for line in refused("--application", "A").splitlines()] == [
        "error setting application", "error setting redis.url in limits.toml", "error setting LIMITS_CLOCK",
    ]  # fmt: skip


def test_flag_over_environment_over_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text(
        '[kafka]\nbootstrap = "file:1"\nsession_timeout_s = 1\nfetch_max_wait_ms = 1\nallow_plaintext = true\n'
        '[redis]\nurl = "redis://file"\nallow_plaintext = true\n'
    )
    monkeypatch.setenv("LIMITS_KAFKA__BOOTSTRAP", "environment:1")
    monkeypatch.setenv("LIMITS_KAFKA__SESSION_TIMEOUT_S", "2")
    found = settings_from(kafka="flag:1")
    assert (found.kafka.bootstrap, found.kafka.session_timeout_s, found.kafka.fetch_max_wait_ms) == ("flag:1", 2, 1)
    assert (found.redis.url, found.shard.batch_records) == ("redis://file", Settings().shard.batch_records)


def test_every_setting_is_known_by_name() -> None:
    names = names_of(Settings)
    assert {"application", "kafka.bootstrap", "redis.url", "shard.batch_records", "fingerprint_key"} <= set(names)
    assert len(set(names)) == len(names)


def test_settings_are_looked_at_before_files() -> None:
    result = say("decide", "nothing.ndjson", "--policy", "nothing.yaml")
    assert "nothing.yaml" in result.stderr
