"""A deployment that lets nobody do more than docs/security.md says: TLS everywhere, SCRAM users with the ACLs of their roles, a Redis user."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, get_args

import pytest
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import ACLFilter
from kafka.errors import KafkaError
from typer.testing import CliRunner

from engine.cli.main import app
from engine.connections import kafka_client
from engine.errors import EngineError
from engine.local.redis_server import RedisServer, valkey_program
from engine.stream import topics
from schemas.access import Right, Role, rights_of
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.secured import Certificates, SecureBroker, TlsEnd, acls_of

PAGE: Final = (ROOT / "docs" / "security.md").read_text()
USERS: Final = {role: f"geheim-{role}" for role in get_args(Role)}
ROW: Final = re.compile(
    r"^\| (?P<role>\w+) \| (?P<may>[\w, ]+) \| (?P<kind>topic|group|transactional id)s? (?P<names>.*) \|$", re.MULTILINE
)
SECRET: Final = "geheim"
ADMINISTRATOR: Final = "geheim-redis-administrator"


def told_rights() -> dict[str, list[Right]]:
    """The rights that the page gives each role."""
    found: dict[str, list[Right]] = {role: [] for role in get_args(Role)}
    for row in ROW.finditer(PAGE):
        operations: Any = tuple(row["may"].split(", "))
        for name in re.findall(r"`([^`]+)`", row["names"]):
            kind: Any = row["kind"].replace(" ", "-")
            found[row["role"]].append(Right(kind, name.removesuffix("*"), operations, is_prefix=name.endswith("*")))
    return found


def told_user(password: str) -> list[str]:
    """The page's command that makes Redis' user."""
    (line,) = re.findall(r"^ACL SETUSER .*$", PAGE, re.MULTILINE)
    return str(line).replace("PASSWORD", password).split()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of all servers and clients."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Certificates.made_in(tmp_path_factory.mktemp("authority") / "certificates")


@pytest.fixture(scope="module")
def secured(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two shards, the policy in force, nobody at work yet. Settings are those of the role engine."""
    directory = tmp_path_factory.mktemp("secured")
    kafka = SecureBroker(directory / "kafka", certificates, USERS)
    store = RedisServer(directory / "redis", program=valkey_program())
    d, end = Deployment(kafka, store, directory, 2), TlsEnd(certificates)
    try:
        store.start()
        end.start(store.port)
        kafka.start()
        all_mighty = topics.connect(kafka.settings)
        for role, rights in told_rights().items():
            assert not all_mighty.create_acls(acls_of(role, rights))["failed"]
        all_mighty.close()
        administrator = topics.connect(kafka.settings_of("administrator"))
        topics.create(administrator, d.partitions, 1, {})
        administrator.close()
        with redis.Redis.from_url(store.url) as client:
            client.execute_command(*told_user("geheim-redis"))
            client.acl_setuser("default", enabled=True, reset_passwords=True, passwords=[f"+{ADMINISTRATOR}"])
        d.settings = {
            "LIMITS_KAFKA__BOOTSTRAP": kafka.secure_address,
            "LIMITS_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "LIMITS_KAFKA__CA_FILE": str(certificates.ca),
            "LIMITS_KAFKA__CERT_FILE": str(certificates.client),
            "LIMITS_REDIS__URL": f"rediss://localhost:{end.port}/0",
            "LIMITS_REDIS__USER": "limits",
            "LIMITS_REDIS__PASSWORD": "geheim-redis",
            "LIMITS_REDIS__CA_FILE": str(certificates.ca),
            "LIMITS_REDIS__CERT_FILE": str(certificates.client),
            **user("engine"),
        }
        yield d
    finally:
        d.stop()
        kafka.stop()
        store.stop()
        end.stop()
        for number in range(len(d.workers)):
            print(f"worker {number}: ...{d.log_of(number)[-3000:]}")


@pytest.fixture(scope="module")
def second(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a second Redis, which knows the same user and also speaks TLS."""
    store = RedisServer(tmp_path_factory.mktemp("second"), program=valkey_program())
    end = TlsEnd(certificates)
    try:
        store.start()
        end.start(store.port)
        with redis.Redis.from_url(store.url) as client:
            client.execute_command(*told_user("geheim-redis"))
            client.acl_setuser("default", enabled=True, reset_passwords=True, passwords=[f"+{ADMINISTRATOR}"])
        yield f"rediss://localhost:{end.port}/0"
    finally:
        store.stop()
        end.stop()


def user(role: Role, password: str | None = None) -> dict[str, str]:
    return {"LIMITS_KAFKA__USER": role, "LIMITS_KAFKA__PASSWORD": password or USERS[role]}


def by(d: Deployment, role: Role, *words: str) -> tuple[int, str, str]:
    """Exit code and outputs of a command that a role gives; nothing secret is in them."""
    result = CliRunner().invoke(app, words, env=d.settings | user(role))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert SECRET not in result.output
    return result.exit_code, result.stdout, result.stderr


def purchases(account: str) -> list[str]:
    """Three records, which give a limit by the policy."""
    common = {
        "account_id": account,
        "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "amount_minor": 1200,
        "currency": "CNY",
    }
    rest = {"category": "groceries", "channel": "app", "merchant_id": "m-1", "funded_by": "own"}
    return [json.dumps({"event_id": f"{account}-{n}", **common, **rest}) for n in range(3)]


def test_the_page_has_the_rights_of_each_role() -> None:
    assert told_rights() == {role: rights_of(role, "limits") for role in get_args(Role)}


def test_each_role_can_do_its_work_and_no_more(secured: Deployment) -> None:
    d = secured
    code, _, said = by(d, "operator", "policy", "promote", "policies/minimal.yaml")
    assert code == 0, said
    d.start_worker()
    code, _, said = by(d, "producer", "send", "purchases", *purchases("account-1"))
    assert code == 0, said
    d.wait(lambda: '"event": "policy in force"' in d.log_of(0), "it works", 180)
    code, out, said = by(d, "consumer", "tail", "--from-start", "-n", "1", "--json")
    assert code == 0, said
    assert json.loads(out)["value"]["account_id"] == "account-1"
    assert isinstance(d.kafka, SecureBroker)
    of_group = kafka_client(
        KafkaConsumer, d.kafka.settings_of("consumer"), "limit-changes", group_id="limits-app", auto_offset_reset="earliest"
    )
    assert next(of_group).key == b"account-1"
    of_group.close()

    code, out, said = by(d, "operator", "account", "show", "account-1", "--json")
    assert json.loads(out)["standing"]["limit_minor"] == 100_000, said
    for words in ("account history account-1", "dlq list", "dlq replay --all", "policy status"):
        code, _, said = by(d, "operator", *words.split())
        assert code == 0, said
    code, out, said = by(d, "operator", "doctor")
    assert code == 0, out + said
    assert "Kafka is spoken to by TLS, as user 'operator' by SCRAM-SHA-512" in out
    assert "Redis is spoken to by TLS, with a password" in out

    others: tuple[tuple[Role, str], ...] = (
        ("producer", "limit-commands"),
        ("consumer", "purchases"),
        ("engine", "purchases"),
        ("administrator", "purchases"),
    )
    for role, topic in others:
        code, _, said = by(d, role, "send", topic, '{"account_id": "account-1"}')
        assert (code, "AuthorizationFailed" in said, "limit-engine topics acls" in said) == (2, True, True), said
    for role in ("producer", "engine"):
        producer = kafka_client(KafkaProducer, d.kafka.settings_of(role))
        with pytest.raises(KafkaError, match="AuthorizationFailed"):
            producer.send("limit-control", b"{}", partition=0).get(timeout=10)
        producer.close(timeout=5)
    with redis.Redis.from_url(d.redis.url, password=ADMINISTRATOR) as client:
        assert client.acl_log() == [], "the line of the page is all that is needed"
    assert d.workers[0].is_running()
    assert SECRET not in d.log_of(0)


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("operator", "doctor"),
        ("operator", "dlq list --json"),
        ("operator", "state digest"),
        ("administrator", "topics describe"),
        ("engine", "follow --to SECOND --once"),
        ("engine", "state digest --against SECOND"),
    ],
)
def test_the_commands_of_operation_work(secured: Deployment, second: str, role: Role, words: str) -> None:
    code, out, said = by(secured, role, *words.replace("SECOND", second).split())
    assert code == 0, out + said


REFUSALS: Final = {
    "a wrong password": (user("engine", "wrong"), "refuses user 'engine'", "LIMITS_KAFKA__PASSWORD"),
    "a certificate that is not believed": ({"LIMITS_KAFKA__CA_FILE": ""}, "its certificate is not believed", "LIMITS_KAFKA__CA_FILE"),
    "another mechanism": ({"LIMITS_KAFKA__SASL_MECHANISM": "PLAIN"}, "does not let users in by PLAIN", "LIMITS_KAFKA__SASL_MECHANISM"),
    "another role's user": (user("producer"), "this user is not allowed", "limit-engine topics acls"),
    "Redis' wrong password": ({"LIMITS_REDIS__PASSWORD": "wrong"}, "refuses this user", "LIMITS_REDIS__PASSWORD"),
    "Redis' certificate": ({"LIMITS_REDIS__CA_FILE": ""}, "its certificate is not believed", "LIMITS_REDIS__CA_FILE"),
    "keys of others in Redis": ({"LIMITS_APPLICATION": "other"}, "does not allow this user", "ACL SETUSER"),
}


def test_a_worker_that_is_refused_says_so_within_seconds(secured: Deployment) -> None:
    d, began = secured, time.monotonic()
    refused = {}
    for case, (wrong, _, _) in REFUSALS.items():  # all at once: it is waiting, mostly
        settings = {name: value for name, value in (d.settings | wrong).items() if value}
        refused[case] = replace(d, settings=settings).run("-m", "engine", "run", log=f"{case}.log")
    for case, (_, words, cure) in REFUSALS.items():
        assert refused[case].ends_within(30), case
        said = (d.directory / f"{case}.log").read_text()
        print(f"{case}: after {time.monotonic() - began:.1f} s: {said}")
        assert words in said
        assert cure in said
        assert "Traceback" not in said
        assert SECRET not in said


TAKEN_AWAY: Final = {
    "Read on topic repayments": Right("topic", "repayments", ("Read",)),
    "Write on topic limit-changes": Right("topic", "limit-changes", ("Write",)),
    "Read on group limits": Right("group", "limits", ("Read",)),
}


def test_a_right_that_is_taken_away_ends_the_worker_by_name(secured: Deployment) -> None:
    """And once it is back the next worker goes on where that one was."""
    d = secured
    admin: KafkaAdminClient = topics.connect(d.kafka.settings)
    for turn, (words, right) in enumerate(TAKEN_AWAY.items()):
        worker, number, account = d.workers[-1], len(d.workers) - 1, f"account-of-turn-{turn}"
        acls = acls_of("engine", [right])
        admin.delete_acls([ACLFilter(acl.principal, acl.host, acl.operation, acl.permission_type, acl.resource_pattern) for acl in acls])
        by(d, "producer", "send", "purchases", *purchases(account))
        assert worker.ends_within(30), words
        admin.create_acls(acls)
        told = [json.loads(line) for line in d.log_of(number).splitlines()][-1]
        assert told["event"] == "stopped"
        assert f"this user is not allowed {words}" in told["reason"]
        assert "limit-engine topics acls" in told["reason"]
        assert "Traceback" not in d.log_of(number)
        d.start_worker()
        d.wait(lambda number=number: d.log_of(number + 1).count("policy in force") == d.partitions, "the next one has its shards", 60)  # type: ignore[misc]
        d.wait(lambda account=account: account in {c["account_id"] for mine in d.changes().values() for c in mine}, "it goes on", 60)  # type: ignore[misc]
    admin.close()


def is_left(d: Deployment) -> bool:
    """Whether the group has no members."""
    try:
        topics.check_stopped(d.kafka.settings, d.application)
    except EngineError:
        return False
    return True


def test_a_rebuild_is_the_engines_user_s_to_make(secured: Deployment, second: str) -> None:
    d = secured
    d.workers[-1].stop(20)
    d.wait(lambda: is_left(d), "the session of the last one that could not leave is over", 60)
    code, _, said = by(d, "operator", "rebuild", "--from", "journal", "--yes")
    assert (code, "AuthorizationFailed" in said or "not allowed" in said) == (2, True), said
    with redis.Redis.from_url(d.redis.url, password=ADMINISTRATOR) as client:
        client.acl_log_reset()
    for words in ("rebuild --from journal --yes", "follow --to SECOND --once", "state digest --against SECOND"):
        code, out, said = by(d, "engine", *words.replace("SECOND", second).split())
        assert code == 0, out + said
    with redis.Redis.from_url(d.redis.url, password=ADMINISTRATOR) as client:
        assert client.acl_log() == []


def test_more_partitions_are_the_engines_and_the_administrators_to_make(secured: Deployment) -> None:
    """A user with the engine's rights alone is told which one is missing; with both it is done, and the next worker has every shard."""
    d, after = secured, secured.partitions + 1
    with redis.Redis.from_url(d.redis.url, password=ADMINISTRATOR) as client:
        client.acl_log_reset()
    words = ("reshard", "--partitions", str(after), "--yes", "--json")
    code, _, said = by(d, "engine", *words)
    assert (code, "AuthorizationFailed" in said, "limit-engine topics acls" in said) == (2, True, True), said
    all_mighty = topics.connect(d.kafka.settings)
    assert not all_mighty.create_acls(acls_of("engine", rights_of("administrator", d.application)))["failed"]
    all_mighty.close()
    code, out, said = by(d, "engine", *words)
    assert code == 0, out + said
    told = json.loads(out)
    assert (told["before"], told["after"]) == (d.partitions, after)
    d.partitions = after
    d.start_worker()
    d.wait(lambda: d.log_of(len(d.workers) - 1).count("policy in force") == after, "the next one has its shards", 60)
    by(d, "producer", "send", "purchases", *purchases("account-behind"))
    d.wait(lambda: "account-behind" in {c["account_id"] for mine in d.changes().values() for c in mine}, "it goes on", 60)
    with redis.Redis.from_url(d.redis.url, password=ADMINISTRATOR) as client:
        assert client.acl_log() == []
