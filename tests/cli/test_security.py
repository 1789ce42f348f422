"""How the servers are spoken to: refused where it is not safe or cannot be, before anything is sent; and a password is shown nowhere."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import structlog
from pydantic import ValidationError

from engine import logs
from engine.cli.common import settings_from
from engine.connections import host_and_port, kafka_options
from engine.errors import EngineError
from engine.settings import Settings, load_settings
from tests.cli.program import say

CA = "LIMITS_KAFKA__CA_FILE"
REFUSED = {
    "Kafka on another machine": (
        {"LIMITS_KAFKA__BOOTSTRAP": "127.0.0.1:9092,broker-2:9092"},
        "setting kafka: broker-2 is another machine, and nothing is encrypted: set LIMITS_KAFKA__SECURITY_PROTOCOL=SASL_SSL, or SSL, "
        "or LIMITS_KAFKA__ALLOW_PLAINTEXT=true where the network is yours alone",
    ),
    "a password in plain text": (
        {
            "LIMITS_KAFKA__BOOTSTRAP": "[2001:db8::1]:9092",
            "LIMITS_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "LIMITS_KAFKA__USER": "u",
            "LIMITS_KAFKA__PASSWORD": "geheim",
        },
        "setting kafka: [2001:db8::1] is another machine",
    ),
    "Redis on another machine": (
        {"LIMITS_REDIS__URL": "redis://u:geheim@redis:6379/0"},
        "setting redis: redis is another machine, and nothing is encrypted: set LIMITS_REDIS__URL=rediss://..., "
        "or LIMITS_REDIS__ALLOW_PLAINTEXT=true where the network is yours alone",
    ),
    "SASL without a user": (
        {"LIMITS_KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "LIMITS_KAFKA__PASSWORD": "geheim"},
        "setting kafka: SASL_SSL needs LIMITS_KAFKA__USER and LIMITS_KAFKA__PASSWORD",
    ),
    "a user that would not be used": (
        {"LIMITS_KAFKA__SECURITY_PROTOCOL": "SSL", "LIMITS_KAFKA__USER": "u", "LIMITS_KAFKA__PASSWORD": "geheim"},
        "setting kafka: a user or password is given, and SSL has no use for it: set LIMITS_KAFKA__SECURITY_PROTOCOL=SASL_SSL",
    ),
    "a CA and no TLS": ({CA: __file__}, "setting kafka: ca_file is given, and nothing is encrypted"),
    "a CA that is not there": ({CA: "nowhere.pem"}, "setting LIMITS_KAFKA__CA_FILE: Path does not point to a file"),
    "two passwords": (
        {"LIMITS_REDIS__URL": "redis://u:geheim@localhost", "LIMITS_REDIS__PASSWORD": "geheim"},
        "setting redis: a password is given both in the URL and beside it",
    ),
    "a mechanism that there is not": (
        {"LIMITS_KAFKA__SASL_MECHANISM": "GSSAPI"},
        "setting LIMITS_KAFKA__SASL_MECHANISM: Input should be 'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_safe_is_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, words = REFUSED[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = say("account", "show", "a")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"error {words}" in result.stderr
    assert "geheim" not in result.stderr
    with pytest.raises(ValidationError) as found:
        load_settings()
    assert "geheim" not in f"{found.value}{found.value!r}"


ALLOWED = {
    "this machine": {"LIMITS_KAFKA__BOOTSTRAP": "localhost,127.9.9.9:1,[::1]:2", "LIMITS_REDIS__URL": "redis://[::1]:1/0"},
    "a socket": {"LIMITS_REDIS__URL": "unix:///run/redis.sock"},
    "TLS": {
        "LIMITS_KAFKA__BOOTSTRAP": "broker",
        "LIMITS_KAFKA__SECURITY_PROTOCOL": "SSL",
        "LIMITS_REDIS__URL": "rediss://redis",
    },
    "what is allowed": {
        "LIMITS_KAFKA__BOOTSTRAP": "broker",
        "LIMITS_KAFKA__ALLOW_PLAINTEXT": "true",
        "LIMITS_REDIS__URL": "redis://redis",
        "LIMITS_REDIS__ALLOW_PLAINTEXT": "1",
    },
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_is_safe_is_not_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ALLOWED[case].items():
        monkeypatch.setenv(name, value)
    settings_from()


def test_secrets_come_from_files_and_are_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "limits_kafka__password").write_text("geheim-1\n")
    (secrets / "LIMITS_REDIS__URL").write_text("redis://limits:geheim-2@127.0.0.1:1/0\n")
    (secrets / "LIMITS_FINGERPRINT_KEY").write_text("00112233445566778899aabbccddeeff")
    monkeypatch.setenv("LIMITS_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("LIMITS_KAFKA__SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("LIMITS_KAFKA__USER", "limits")
    monkeypatch.setenv("LIMITS_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    settings = settings_from()
    assert kafka_options(settings.kafka)["sasl_plain_password"] == "geheim-1"
    assert settings.redis.url == "redis://limits:geheim-2@127.0.0.1:1/0"
    result = say("doctor")
    assert f"kafka.password = **********  (a file in {secrets})" in result.stdout
    assert "Kafka is spoken to in plain text, as user 'limits' by SCRAM-SHA-512" in result.stdout
    assert "Redis is spoken to in plain text, with a password" in result.stdout
    shown = f"{result.stdout}{result.stderr}{settings!r}{settings}{settings.model_dump()['kafka']}{caplog.text}"
    assert "geheim" not in shown
    assert "00112233445566778899" not in shown


def test_a_traceback_on_a_terminal_has_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers, logging.getLogger().level
    logs.configure("text")
    try:
        password = "mieheg"[::-1]
        try:
            raise RuntimeError(len(password))
        except RuntimeError:
            logging.getLogger("anything").exception("failed")
    finally:
        root.handlers, root.level = handlers, level
        structlog.reset_defaults()
    said = capsys.readouterr().err
    assert "RuntimeError" in said
    assert "geheim" not in said


def test_a_file_without_a_certificate(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")
    settings = Settings.model_validate({"kafka": {"security_protocol": "SSL", "ca_file": empty}})
    with pytest.raises(EngineError, match=r"ca.pem: ca_file: no certificate can be read") as found:
        kafka_options(settings.kafka)
    assert "PEM" in found.value.cure


@pytest.mark.parametrize(
    ("server", "found"),
    [("a", ("a", 9092)), ("a:1", ("a", 1)), ("[::1]", ("::1", 9092)), ("[::1]:5", ("::1", 5)), ("1.2.3.4:5", ("1.2.3.4", 5))],
)
def test_bootstrap_servers(server: str, found: tuple[str, int]) -> None:
    assert host_and_port(server) == found
