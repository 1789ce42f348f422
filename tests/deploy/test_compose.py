"""docker-compose.yml, Dockerfile and deploy/ without a Docker engine: their words, what they name, and what they must not lose.

Where the client's compose plugin is installed, it reads the file, too.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML
from typer.testing import CliRunner

from engine import __version__
from engine.cli.main import app
from engine.local.jars import KAFKA_VERSION
from engine.local.kafka import _SETTINGS, MESSAGE_BYTES_MAX
from engine.metrics import LABELS, MEANINGS
from engine.policy.document import Policy
from engine.policy.promote import promote
from engine.policy.source import load_policy
from engine.settings import PREFIX, load_settings
from engine.stream import control, topics
from schemas.topics import FOREVER, TOPICS
from scripts import live

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"
PROFILES: Final = ("demo", "ui", "obs")
METRIC: Final = re.compile(r"\blimits_\w+?(?=_bucket\b|\b)")  # of a histogram without the ending of its buckets

Seconds = Annotated[str, Field(pattern=r"^\d+s$")]


class _Part(BaseModel):
    """The words that the file uses, of those that the compose specification has: a slip of the pen is found."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Healthcheck(_Part):
    test: list[str]
    interval: Seconds
    timeout: Seconds
    retries: int = 3
    start_period: Seconds = "0s"


class Dependency(_Part):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]
    required: bool = True


class Service(_Part):
    image: str
    build: str | None = None
    pull_policy: Literal["always", "never", "missing", "build"] = "missing"
    profiles: list[str] = []
    init: bool = False
    restart: Literal["no", "always", "on-failure", "unless-stopped"] = "no"
    stop_grace_period: Seconds = "10s"
    entrypoint: list[str] = []
    command: list[str] = []
    environment: dict[str, str | int] = {}
    ports: list[str] = []
    expose: list[str] = []
    volumes: list[str] = []
    depends_on: dict[str, Dependency] = {}
    healthcheck: Healthcheck | None = None

    @property
    def is_one_shot(self) -> bool:
        return self.healthcheck is None


class Compose(_Part):
    name: str
    engine: dict[str, Any] = Field(alias="x-engine")
    services: dict[str, Service]
    volumes: dict[str, None]


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


COMPOSE: Final = Compose.model_validate(yaml(ROOT / "docker-compose.yml"))
SERVICES: Final = COMPOSE.services
EACH: Final = pytest.mark.parametrize("name", SERVICES)
RULES: Final = [rule for group in yaml(DEPLOY / "prometheus" / "alerts.yml")["groups"] for rule in group["rules"]]
DASHBOARD: Final = json.loads((DEPLOY / "grafana" / "dashboards" / "limits.json").read_text())
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


# Any good compose file


def test_the_compose_plugin_reads_it() -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the docker client or its compose plugin is not installed")
    done = subprocess.run(
        ["docker", "compose", "--profile", "*", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@EACH
def test_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z-]+(/[a-z-]+)?:v?\d+\.\d+\.\d+", SERVICES[name].image)


def test_what_runs_here_and_there_has_one_version() -> None:
    assert SERVICES["kafka"].image == f"apache/kafka:{KAFKA_VERSION}"
    assert SERVICES["worker"].image == f"credit-limit-engine:{__version__}"


def test_the_image_is_built_once_and_never_pulled() -> None:
    ours = {name: service for name, service in SERVICES.items() if service.image == SERVICES["worker"].image}
    assert {name: (service.build, service.pull_policy) for name, service in ours.items()} == {
        "topics": (".", "build"),
        "policy": (None, "never"),
        "worker": (None, "never"),
        "traffic": (None, "never"),
    }


@EACH
def test_ports_are_on_loopback_and_can_be_chosen(name: str) -> None:
    for port in SERVICES[name].ports:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-\d+\}:\d+", port)


@EACH
def test_what_is_mounted_is_there(name: str) -> None:
    for volume in SERVICES[name].volumes:
        source = volume.split(":")[0]
        assert (ROOT / source).is_dir() if source.startswith("./") else source in COMPOSE.volumes


@EACH
def test_up_and_wait_ends(name: str) -> None:
    """`up --wait` waits for health, and for the end of a service only if another one waits for that."""
    waits = {service.depends_on[name].condition for service in SERVICES.values() if name in service.depends_on}
    if SERVICES[name].is_one_shot:
        assert waits == {"service_completed_successfully"}
        assert SERVICES[name].restart == "no"
    else:
        assert waits <= {"service_healthy"}


@pytest.mark.parametrize("profiles", [(), *((profile,) for profile in PROFILES), PROFILES])
def test_every_profile_has_what_it_depends_on(profiles: tuple[str, ...]) -> None:
    there = {name for name, service in SERVICES.items() if not service.profiles or set(profiles) & set(service.profiles)}
    for name in there:
        assert {other for other, how in SERVICES[name].depends_on.items() if how.required} <= there


# The servers


def test_kafka_is_set_as_the_local_one() -> None:
    listeners = {"inter.broker.listener.name", "listener.security.protocol.map"}  # another listener for the containers
    set_here = {name.removeprefix("KAFKA_").lower().replace("_", "."): str(value) for name, value in SERVICES["kafka"].environment.items()}
    wanted = {name: value for name, value in _SETTINGS.items() if name not in listeners}
    assert {name: set_here.get(name) for name in wanted} == wanted
    assert set_here["message.max.bytes"] == str(MESSAGE_BYTES_MAX)
    assert f"kafka:{set_here['log.dirs']}" in SERVICES["kafka"].volumes


def test_kafka_sends_clients_back_to_where_they_came_in() -> None:
    kafka = SERVICES["kafka"]
    inside, host = str(kafka.environment["KAFKA_ADVERTISED_LISTENERS"]).split(",")
    assert inside == f"INSIDE://{SERVICES['worker'].environment['LIMITS_KAFKA__BOOTSTRAP']}"
    assert kafka.ports == [f"{host.removeprefix('HOST://')}:9092"]


def test_the_store_forgets_nothing() -> None:
    words = SERVICES["redis"].command
    assert {words[n]: words[n + 1] for n in range(1, len(words), 2)} == {
        "--appendonly": "yes",
        "--maxmemory-policy": "noeviction",
        "--save": "",
    }


# The engine's services


def test_every_setting_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in SERVICES.values():
        ours = {name: str(value) for name, value in service.environment.items() if name.startswith(PREFIX)}
        with monkeypatch.context() as patch:
            for name, value in ours.items():
                patch.setenv(name, value)
            plain = load_settings().model_dump()
        for name, value in ours.items():
            found = plain
            for part in name.removeprefix(PREFIX).lower().split("__"):
                found = found[part]
            assert str(found).lower() == value.lower()


def run(service: str) -> str:
    """What the service's command says; it must end well."""
    words = [word.replace("/policies/", f"{ROOT}/policies/") for word in SERVICES[service].command]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.output


def test_topics_are_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, int] = {}

    def create(_admin: object, partitions: int, replication: int, retention_ms: dict[str, int]) -> list[str]:
        assert (partitions, replication) == (12, 1)
        kept.update(retention_ms)
        return []

    monkeypatch.setattr(topics, "connect", lambda _: None)
    monkeypatch.setattr(topics, "create", create)
    run("topics")
    assert kept == {spec.name: FOREVER for spec in TOPICS if spec.retention_ms != FOREVER}


def default() -> Policy:
    now = control.utc_now()
    return promote(load_policy(ROOT / "policies" / "default.yaml", now), None, now)


@pytest.mark.parametrize(
    ("changes", "is_written"),
    [(None, True), ({"version": 0}, True), ({}, False), ({"version": 99}, False), ({"policy": "of_our_own"}, False)],
    ids=["none", "an older version", "this one", "a newer version", "another policy"],
)
def test_the_policy_is_promoted_only_over_an_older_one(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any] | None, is_written: bool
) -> None:
    active = None if changes is None else default().model_copy(update=changes)
    written: list[Any] = []
    monkeypatch.setattr(control, "active_policy", lambda _: active)

    def publish(_bootstrap: str, record: dict[str, Any]) -> int:
        written.append(record)
        return 12

    monkeypatch.setattr(control, "publish", publish)
    output = run("policy")
    assert bool(written) is is_written
    assert ("stays" in output) is not is_written


def test_the_past_is_told_before_a_worker_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = SERVICES["traffic"]
    assert SERVICES["worker"].depends_on["traffic"] == Dependency(condition="service_healthy", required=False)
    assert traffic.entrypoint == ["python", "-m", live.__name__]
    assert traffic.healthcheck is not None
    assert f"--ready={traffic.healthcheck.test[-1]}" in traffic.command

    def asked(bootstrap: str) -> live.Standing:
        raise LookupError(bootstrap)

    monkeypatch.setattr(live, "standing", asked)
    monkeypatch.setattr("sys.argv", ["live", *traffic.command])
    with pytest.raises(LookupError, match=r"^kafka:19092$"):
        live.main()


# The image


def test_the_image_is_made_of_what_the_context_has() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]}
    assert copied == context
    assert all((ROOT / name).exists() for name in context)


def test_the_base_image_is_pinned_and_the_user_is_not_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", bases.pop())
    assert [line for line in lines if line.startswith("USER ")] == ["USER limits"]


# Prometheus and Grafana


def test_prometheus_asks_where_workers_answer() -> None:
    config = yaml(DEPLOY / "prometheus" / "prometheus.yml")
    (asked,) = config["scrape_configs"][0]["dns_sd_configs"]
    worker = SERVICES["worker"]
    assert asked["names"] == ["worker"]
    assert [str(asked["port"])] == [str(worker.environment["LIMITS_METRICS_PORT"])] == worker.expose
    assert config["rule_files"] == ["/etc/prometheus/alerts.yml"]
    assert f"./{DEPLOY.name}/prometheus:/etc/prometheus:ro" in SERVICES["prometheus"].volumes


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_are_on_metrics_that_there_are(rule: dict[str, Any]) -> None:
    named = set(METRIC.findall(rule["expr"]))
    assert named
    assert named <= MEANINGS.keys()
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_show_metrics_that_there_are(panel: dict[str, Any]) -> None:
    source = yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"][0]
    assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
    for target in panel["targets"]:
        named = set(METRIC.findall(target["expr"]))
        assert named or "ALERTS" in target["expr"]
        assert named <= MEANINGS.keys()


def test_the_dashboard_shows_every_metric() -> None:
    expressions = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert set(METRIC.findall(expressions)) == set(MEANINGS)


def test_panels_do_not_cover_each_other() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = Counter(
        (x, y)
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    )
    assert max(places.values()) == 1
    assert max(x for x, _ in places) < 24


def test_labels_that_are_shown_are_labels_that_there_are() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(METRIC.findall(target["expr"]))
            there = {"shard", "le", *(label for name in named for label in LABELS.get(name, ()))}
            used = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            used |= {label for listed in re.findall(r"\b(?:by|on) \(([\w, ]+)\)", target["expr"]) for label in listed.split(", ")}
            assert used <= there, panel["title"]


def test_grafana_finds_its_files() -> None:
    grafana = SERVICES["grafana"]
    provider = yaml(DEPLOY / "grafana" / "provisioning" / "dashboards" / "limits.yml")["providers"][0]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana.volumes
    assert grafana.environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{provider['options']['path']}/limits.json"
