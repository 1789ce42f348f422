"""``limit-engine doctor``: what is set, what is there, and the cure beside each complaint."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.common import FINDINGS, Application, AsJson, Bootstrap, RedisUrl, emit, names_of, settings_from, speaks, told, variable_of

if TYPE_CHECKING:
    from engine.settings import Kafka, Redis, Settings


@speaks
def doctor(
    kafka: Bootstrap = None,
    redis: RedisUrl = None,
    application: Application = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option(help="Print complaints only.")] = False,
) -> None:
    """Look at the settings, Kafka, the topics and Redis (exit code 1: something is wrong)."""
    settings = settings_from(kafka, redis, application)
    flags = {"kafka.bootstrap": kafka, "redis.url": redis, "application": application}
    is_well = True
    for finding in _findings(settings, flags):
        is_well &= finding["ok"]
        if as_json:
            emit(finding)
        elif not (quiet and finding["ok"]):
            cure = f"\n        cure: {finding['cure']}" if finding["cure"] else ""
            typer.echo(f"{'ok   ' if finding['ok'] else 'WRONG'}  {finding['what']}{cure}")
    if not is_well:
        raise typer.Exit(FINDINGS)


def _findings(settings: Settings, flags: dict[str, str | None]) -> Iterator[dict[str, Any]]:
    """One by one, as they are found: what does not answer takes its time."""
    yield from _settings(settings, flags)
    yield from _variables()
    yield from _security(settings)
    states: list[Any] = []
    yield from _kafka(settings.kafka, states)
    policies: list[Any] = []
    yield from _redis(settings, policies)
    if states:
        yield from _evidence(settings.kafka, states, policies)
        yield from _journal(settings, states)


def _finding(what: str, cure: str = "", *, ok: bool = True) -> dict[str, Any]:
    return {"ok": ok, "what": what, "cure": cure}


def _settings(settings: Settings, flags: dict[str, str | None]) -> list[dict[str, Any]]:
    """Where each value comes from."""
    from engine.settings import DEFAULT_KEY, PREFIX, config_file

    file = config_file()
    found = [_finding(f"settings file {file}: {'read' if file.exists() else 'not there, which is fine'}")]
    in_file = _flat(_toml(file)) if file.exists() else {}
    secrets = Path(os.environ.get(f"{PREFIX}SECRETS_DIR", os.devnull))
    in_secrets = {entry.name.upper() for entry in secrets.iterdir()} if secrets.is_dir() else set()
    for name, value in _flat(settings.model_dump()).items():
        variable = variable_of(name)
        origins = (
            ("flag", flags.get(name) is not None),
            (variable, variable in os.environ),
            (f"a file in {secrets}", variable in in_secrets),
            (str(file), name in in_file),
        )
        origin = next((told for told, is_it in origins if is_it), "default")
        shown = settings.redis.address if name == "redis.url" else value
        if name != "fingerprint_key":
            found.append(_finding(f"{name} = {shown}  ({origin})"))
    if settings.fingerprint_key == DEFAULT_KEY:
        note = "fine for a trial; in production set LIMITS_FINGERPRINT_KEY to 32 random hexadecimal digits once, and never change it"
        found.append(_finding("fingerprint_key is the published default", note))
    return found


def _variables() -> list[dict[str, Any]]:
    """Variables that look like settings and are none: an underscore too few is wrong, others may be someone else's."""
    from engine.policy.errors import did_you_mean
    from engine.settings import PREFIX, Settings

    names = names_of(Settings)
    known = {variable_of(name) for name in names} | {variable_of(name.partition(".")[0]) for name in names}
    known |= {f"{PREFIX}CONFIG", f"{PREFIX}SECRETS_DIR"}
    meant = {variable.replace("_", ""): variable for variable in known}
    found = []
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known:
            slip = meant.get(variable.replace("_", ""))
            hint = f"did you mean {slip!r}?" if slip else did_you_mean(variable, known)
            found.append(_finding(f"{variable} is set, and there is no such setting", hint, ok=slip is None))
    return found


def _security(settings: Settings) -> list[dict[str, Any]]:
    """How the servers are spoken to."""
    kafka, redis = settings.kafka, settings.redis
    login = f"as user {kafka.user!r} by {kafka.sasl_mechanism}" if kafka.has_login else ""
    return [_spoken_to("Kafka", kafka, login), _spoken_to("Redis", redis, "with a password" if redis.has_login else "")]


def _spoken_to(name: str, client: Kafka | Redis, login: str) -> dict[str, Any]:
    way = "by TLS" if client.is_encrypted else "in plain text"
    login = login or ("with a certificate" if client.cert_file is not None else "without a login")
    note = "fine on this machine; anywhere else set up TLS and users (docs/security.md)"
    return _finding(f"{name} is spoken to {way}, {login}", "" if client.is_encrypted else note)


def _toml(file: Any) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(file.read_text())


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _kafka(kafka: Kafka, states: list[Any]) -> list[dict[str, Any]]:
    """Also puts the topics that are there into ``states``."""
    from kafka.errors import KafkaError

    from engine.errors import EngineError
    from engine.stream import topics

    try:
        admin = topics.connect(kafka)
    except EngineError as refusal:
        return [_complaint(refusal)]
    except (KafkaError, OSError) as error:
        cure = "start it (`limit-engine local up`), or point LIMITS_KAFKA__BOOTSTRAP or --kafka at it"
        return [_finding(f"Kafka at {kafka.bootstrap} does not answer: {told(error)}", cure, ok=False)]
    try:
        cluster = admin.describe_cluster()
        described = topics.describe(admin)
    finally:
        admin.close()
    states += [state for state in described if state.partitions]
    found = [_finding(f"Kafka at {kafka.bootstrap}: {len(cluster['brokers'])} broker(s)")]
    found += [_finding(f"topic {s.name}: {s.partitions} partitions, replication {s.replication}, kept {s.kept}") for s in states]
    return found + [_complaint(problem) for problem in topics.problems(described)]


def _complaint(problem: Any) -> dict[str, Any]:
    return _finding(f"{problem.where}: {problem.what}" if problem.where else problem.what, problem.cure, ok=False)


def _evidence(kafka: Kafka, states: list[Any], policies: list[Any]) -> list[dict[str, Any]]:
    """Whether the topics keep evidence for as long as the policies in force ask: the one activated last, and those that shards go by."""
    from kafka.errors import KafkaError
    from pydantic import ValidationError

    from engine.errors import EngineError
    from engine.policy.document import Policy
    from engine.stream import control
    from engine.stream.evidence import demand_of, evidence_problems
    from schemas.topics import CONTROL

    try:
        last = control.active_policy(kafka) if CONTROL.name in {state.name for state in states} else None
        asking = [Policy.from_plain(plain) for plain in policies] + ([] if last is None else [last])
    except ValidationError:
        cure = "look with the engine that put it in force, or a newer one"
        return [
            _finding(
                "the policy in force has words that this engine does not know: how long evidence is kept was not compared", cure, ok=False
            )
        ]
    except (KafkaError, OSError, EngineError) as error:
        cure = "look again: how long evidence is kept was not compared with what the policy asks"
        return [_finding(f"the policy in force cannot be read: {told(error)}", cure, ok=False)]
    demand = demand_of(asking)
    problems = evidence_problems(states, demand, kafka.bootstrap)
    return [_complaint(problem) for problem in problems] or [_finding(f"evidence is kept: {demand}")]


def _journal(settings: Settings, states: list[Any]) -> list[dict[str, Any]]:
    """How old a backup of Redis may be, and whether Redis as it is still can be brought forward."""
    import asyncio

    from kafka.errors import KafkaError

    from engine.cli.common import now_ms
    from engine.cli.lookup import shards_of
    from engine.errors import EngineError
    from engine.stream.reach import reaches, retention_problem, shard_problems
    from engine.stream.topics import DAY_MS
    from schemas.topics import JOURNAL

    state = next((state for state in states if state.name == JOURNAL.name), None)
    if state is None:
        return []
    days, now = settings.redis.backup_days, now_ms()
    try:
        shards = asyncio.run(shards_of(settings))
    except EngineError:  # told elsewhere, or nothing has begun yet
        shards = []
    try:
        found = reaches(settings.kafka, shards)
    except (KafkaError, OSError, ValueError) as error:
        return [_finding(f"the journal cannot be read: {told(error)}", "look again: how far it reaches back was not looked at", ok=False)]
    retention = retention_problem(state, days, settings.kafka.bootstrap)
    problems = ([] if retention is None else [retention]) + shard_problems(found, shards, days, now)
    cut = [reach.oldest_ms for reach in found if not reach.is_whole and reach.oldest_ms is not None]
    far = f"{(now - max(cut)) / DAY_MS:.1f} days" if cut else "to its first record"
    told_well = f"the journal reaches back {far}: any backup of Redis from then on can be restored (redis.backup_days = {days:g})"
    return [_complaint(problem) for problem in problems] or [_finding(told_well)]


def _redis(settings: Settings, policies: list[Any]) -> list[dict[str, Any]]:
    """Also puts the policies that the shards go by into ``policies``, as plain values."""
    import asyncio

    from redis.exceptions import RedisError

    from engine.connections import redis_refusal
    from engine.state import keys
    from engine.state.redis_store import EVICTION_CURE

    url = settings.redis.address
    try:
        servers, shards = asyncio.run(_asked(settings))
    except (RedisError, OSError) as error:
        refusal = redis_refusal(settings.redis, error)
        if refusal is not None:
            return [_complaint(refusal)]
        cure = "start it (`limit-engine local up`), or point LIMITS_REDIS__URL or --redis at it"
        return [_finding(f"Redis at {url} does not answer: {str(error).removeprefix('Redis: ')}", cure, ok=False)]
    policies += [json.loads(fields[keys.POLICY]) for fields in shards if keys.POLICY in fields]
    found = []
    if len(servers) > 1:
        found.append(_finding(f"Redis at {url} is a cluster of {len(servers)} masters"))
    for address, info in servers.items():
        name, place = info.get("server_name", "redis"), url if len(servers) == 1 else address
        version = info.get(f"{name}_version") or info["redis_version"]
        found.append(_finding(f"Redis at {place}: {name} {version}, {info['used_memory_human']} used"))
        policy = info.get("maxmemory_policy", "noeviction")
        is_fine = policy == "noeviction"
        found.append(_finding(f"maxmemory-policy is {policy}", "" if is_fine else EVICTION_CURE, ok=is_fine))
        if not info.get("aof_enabled"):
            found.append(_finding("appendonly is off", "not an error: the journal is the truth; but a restart replays all of it"))
    held = shards[0]
    if held:
        shape = f"{len(shards)} shards, shard 0 at journal sequence {held[keys.SEQUENCE].decode()}"
        found.append(_finding(f"application {settings.application!r}: {shape}"))
    else:
        found.append(_finding(f"application {settings.application!r}: no state yet"))
    return found


async def _asked(settings: Settings) -> tuple[dict[str, dict[str, Any]], list[dict[str, bytes]]]:
    """What each server says of itself, by address, and the hash of every shard. Raises RedisError, OSError."""
    from engine.state import keys
    from engine.state.masters import Masters
    from engine.state.redis_store import RedisStore

    masters = Masters.of_settings(settings.redis)
    try:
        servers: dict[str, dict[str, Any]] = {}
        for address, client in await masters.every():
            for section in ("server", "memory", "persistence"):
                servers.setdefault(address, {}).update(await client.info(section))
        shards = [await RedisStore(masters, settings.application, 0).shard_fields()]
        for shard in range(1, int(shards[0].get(keys.PARTITIONS, 0))):
            shards.append(await RedisStore(masters, settings.application, shard).shard_fields())
        return servers, shards
    finally:
        await masters.aclose()
