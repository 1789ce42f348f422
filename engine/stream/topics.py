"""The deployment's topics: created, described, and checked before anything starts."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, GroupIdNotFoundError, NotCoordinatorError

from engine.connections import RIGHTS, RefusedError, kafka_client
from engine.errors import EngineError
from engine.settings import Kafka
from schemas.access import Operation, Role, rights_of
from schemas.topics import FOREVER, INPUTS, JOURNAL, TOPICS, TopicSpec

COORDINATOR_S: Final = 20.0
ASK_AGAIN_S: Final = 0.5
AHEAD_MS_MAX: Final = 3_600_000
LONG_MAX: Final = 2**63 - 1
DAY_MS: Final = 86_400_000
IDENTIFIED: Final = (*(spec.name for spec in INPUTS), JOURNAL.name)
CREATE: Final = "create them with `limit-engine topics create`; or let this user see them, by the rights of `limit-engine topics acls`"
_KAFKAS: Final = {word: re.sub("(?<=[a-z])(?=[A-Z])", "_", word).upper() for word in get_args(Operation)}  # as it tells what is allowed


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the cluster has it; ``partitions`` 0: it is not there, or not for this user to see. ``id`` is what another topic of that name
    would not have. ``allowed`` is what this user may do with it, in Kafka's words such as DESCRIBE_CONFIGS; None: that is not known.
    """

    name: str
    id: str
    partitions: int
    replication: int
    configs: dict[str, str]
    allowed: frozenset[str] | None = None

    @property
    def kept(self) -> str:
        """How long its records are kept, in words."""
        if self.allowed is not None and "DESCRIBE_CONFIGS" not in self.allowed:
            return "not told to this user"
        cleanup = self.configs.get("cleanup.policy", "delete")
        kept_ms = int(self.configs.get(kept_by(cleanup), FOREVER))
        told = "for ever" if kept_ms in (FOREVER, LONG_MAX) else f"{kept_ms / DAY_MS:g} days"
        return f"{told}, then the newest of each key" if cleanup == "compact" else told


def connect(kafka: Kafka) -> KafkaAdminClient:
    """An admin client. Raises KafkaError when no broker answers."""
    return kafka_client(
        KafkaAdminClient,
        kafka,
        client_id="limit-engine-topics",
        request_timeout_ms=10_000,
    )


def settings_of(spec: TopicSpec, retention_ms: int) -> dict[str, str]:
    """The topic's settings on the cluster, with every record kept for ``retention_ms`` (``FOREVER``: always).

    A compacted topic must not lose older snapshots before they were read (an outage would decide by what came later) and audited.
    """
    is_compact = spec.cleanup == "compact"
    kept = str(LONG_MAX if is_compact and retention_ms == FOREVER else retention_ms)
    return {
        "cleanup.policy": spec.cleanup,
        "max.message.bytes": str(spec.bytes_max),
        "message.timestamp.type": "CreateTime",
        "message.timestamp.after.max.ms": str(AHEAD_MS_MAX),
        kept_by(spec.cleanup): kept,
    }


def kept_by(cleanup: str) -> str:
    """The cluster's setting that says how long every record of a topic is kept."""
    return "min.compaction.lag.ms" if cleanup == "compact" else "retention.ms"


def create(admin: KafkaAdminClient, partitions: int, replication: int, retention_ms: dict[str, int]) -> list[str]:
    """Create the topics that are missing, with ``retention_ms`` by name instead of the default; their names."""
    missing = [spec for spec, state in zip(TOPICS, describe(admin), strict=True) if state.partitions == 0]
    new = [
        NewTopic(spec.name, partitions, replication, topic_configs=settings_of(spec, retention_ms.get(spec.name, spec.retention_ms)))
        for spec in missing
    ]
    if new:
        admin.create_topics(new)
    return [spec.name for spec in missing]


def describe(admin: KafkaAdminClient) -> list[TopicState]:
    """Every topic of the engine as the cluster has it, in the order of ``TOPICS``."""
    existing = set(admin.list_topics())
    present = [spec.name for spec in TOPICS if spec.name in existing]
    shapes = {topic["name"]: topic for topic in admin.describe_topics(present)} if present else {}
    allowed = {name: frozenset(shape["authorized_operations"]) for name, shape in shapes.items() if shape.get("authorized_operations")}
    configs = _configs(admin, [name for name in present if "DESCRIBE_CONFIGS" in allowed.get(name, "DESCRIBE_CONFIGS")])
    found = []
    for spec in TOPICS:
        shape: dict[str, Any] = shapes.get(spec.name, {"topic_id": "", "partitions": []})
        replicas = min((len(partition["replica_nodes"]) for partition in shape["partitions"]), default=0)
        config, may = configs.get(spec.name, {}), allowed.get(spec.name)
        found.append(TopicState(spec.name, str(shape["topic_id"]), len(shape["partitions"]), replicas, config, may))
    return found


def described(kafka: Kafka) -> list[TopicState]:
    """``describe`` with a client of its own."""
    admin = connect(kafka)
    try:
        return describe(admin)
    finally:
        admin.close()


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes the input topics and the journal these ones: their partition counts, and their ids, both by name. A topic that is not there is
    in neither."""

    partitions: Mapping[str, int]
    ids: Mapping[str, str]

    @property
    def shards(self) -> int:
        """How many shards the topics make, where they are fit to work on."""
        return self.partitions[INPUTS[0].name]


def identity_of(states: list[TopicState]) -> Identity:
    """The identity of described topics."""
    there = [state for state in states if state.partitions and state.name in IDENTIFIED]
    return Identity({state.name: state.partitions for state in there}, {state.name: state.id for state in there})


def identity(admin: KafkaAdminClient) -> Identity:
    """The topics as they are now, asked with less effort than ``describe``. Raises KafkaError."""
    existing = set(admin.list_topics())
    shapes = admin.describe_topics([name for name in IDENTIFIED if name in existing])
    return Identity(
        {shape["name"]: len(shape["partitions"]) for shape in shapes},
        {shape["name"]: str(shape["topic_id"]) for shape in shapes},
    )


def check_stopped(kafka: Kafka, application: str) -> None:
    """Raise EngineError while workers are members of an application's group, KafkaError."""
    admin = connect(kafka)
    try:
        members = _members(admin, application)
    finally:
        admin.close()
    if members:
        raise EngineError(
            f"{members} worker{'s' if members > 1 else ''} of {application!r} work",
            where="consumer group",
            cure="stop every worker; one that was killed stays a member until its session times out (LIMITS_KAFKA__SESSION_TIMEOUT_S)",
        )


def _members(admin: KafkaAdminClient, group: str) -> int:
    """How many members a consumer group has. A cluster that never had a group needs a moment to have a coordinator."""
    deadline = time.monotonic() + COORDINATOR_S
    while True:
        try:
            found: dict[str, Any] = admin.describe_groups([group])[group]
            error = str(found.get("error") or "")
            if not error or "GroupIdNotFound" in error:
                return len(found.get("members") or ())
        except GroupIdNotFoundError:
            return 0
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError) as waiting:
            error = str(waiting)
        if time.monotonic() > deadline:
            raise EngineError(f"the group {group!r} cannot be looked at: {error}", where="Kafka", cure="run this again")
        time.sleep(ASK_AGAIN_S)


def problems(states: list[TopicState]) -> list[EngineError]:
    """What keeps the engine from starting on these topics."""
    found = []
    missing = [state.name for state in states if state.partitions == 0]
    if missing:
        found.append(EngineError(f"{', '.join(missing)}: not there", where="topics", cure=CREATE))
    counts = {state.partitions for state in states if state.partitions}
    if len(counts) > 1:
        told = ", ".join(f"{state.name} {state.partitions}" for state in states if state.partitions)
        cure = "all topics need the same number of partitions: create the odd ones anew"
        found.append(EngineError(f"unequal partition counts: {told}", where="topics", cure=cure))
    names = {spec.name for spec in INPUTS}
    for state in states:
        ahead = int(state.configs.get("message.timestamp.after.max.ms", AHEAD_MS_MAX))
        if state.name in names and ahead > AHEAD_MS_MAX:
            cure = f"set message.timestamp.after.max.ms={AHEAD_MS_MAX} on it: one record from the future would move its account's clock for good"
            found.append(EngineError(f"{state.name} accepts timestamps {ahead} ms ahead", where="topics", cure=cure))
    return found


def forbidden(states: list[TopicState], role: Role, application: str) -> list[RefusedError]:
    """What this user may not do, of what the role needs; of topics only, since of nothing else Kafka tells."""
    needed = {right.name: right.operations for right in rights_of(role, application) if right.resource == "topic"}
    found = []
    for state in states:
        missing = [word for word in needed.get(state.name, ()) if state.allowed is not None and _KAFKAS[word] not in state.allowed]
        if missing:
            found.append(RefusedError(f"this user is not allowed {' and '.join(missing)} on {state.name}", where="topics", cure=RIGHTS))
    return found


def _configs(admin: KafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    described: Any = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names], config_filter="all")
    found: dict[str, dict[str, str]] = {}
    for name, configs in described["topic"].items():
        found[name] = {key: str(entry["value"]) for key, entry in configs.items()}
    return found
