"""``limit-engine topics``: create and describe the deployment's topics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table

from engine.cli.common import FINDINGS, Application, AsJson, Bootstrap, emit, messages, settings_from, speaks
from schemas.access import Right, Role, rights_of

app = typer.Typer(no_args_is_help=True)


@app.command()
@speaks
def create(
    kafka: Bootstrap = None,
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="Partitions of every topic: the number of shards, for good.")] = 12,
    replication: Annotated[int, typer.Option(min=1, max=10, help="Replicas of every partition.")] = 1,
    retention: Annotated[
        list[str] | None, typer.Option(metavar="TOPIC=DAYS", help="Keep a topic this long (-1: for ever) instead of the default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are not there yet."""
    from engine.stream import topics
    from schemas.topics import EVIDENCE, EVIDENCE_MONTHS, TOPICS, evidence_ms

    wanted = {}
    for text in retention or []:
        name, _, days = text.partition("=")
        if name not in {spec.name for spec in TOPICS} or not days.lstrip("-").isdigit():
            raise typer.BadParameter(f"{text!r} is not a topic of the engine and a number of days, such as purchases=30")
        wanted[name] = -1 if int(days) < 0 else int(days) * topics.DAY_MS
    admin = topics.connect(settings_from(kafka).kafka)
    created = topics.create(admin, partitions, replication, wanted)
    for spec in EVIDENCE:
        kept_ms = wanted.get(spec.name, spec.retention_ms)
        if spec.name in created and 0 <= kept_ms < evidence_ms(EVIDENCE_MONTHS):
            kept = f"{spec.name} is evidence, and is kept {kept_ms // topics.DAY_MS} days"
            messages.print(f"{kept}: `limit-engine doctor` compares that with what the policy in force asks for")
    if as_json:
        emit({"created": created})
    else:
        messages.print(f"created {', '.join(created)}" if created else "all topics are there already")


@app.command()
@speaks
def describe(kafka: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show the topics as the cluster has them, and what is wrong with them (exit code 1)."""
    from engine.stream import topics

    states = topics.described(settings_from(kafka).kafka)
    problems = topics.problems(states)
    if as_json:
        shown = ("cleanup.policy", "retention.ms", "min.compaction.lag.ms", "max.message.bytes")
        plain = [
            {"name": s.name, "partitions": s.partitions, "replication": s.replication, **{key: s.configs.get(key) for key in shown}}
            for s in states
        ]
        emit({"topics": plain, "problems": [{"what": str(p.what), "cure": p.cure} for p in problems]})
    else:
        table = Table("topic", "partitions", "replicas", "clean-up", "every record is kept")
        for s in states:
            cleanup = s.configs.get("cleanup.policy", "")
            told = (str(s.partitions), str(s.replication), cleanup, s.kept) if s.partitions else ("not there", "", "", "")
            table.add_row(s.name, *told)
        Console().print(table)
        for problem in problems:
            messages.print(f"[red]problem[/] {problem}")
    if problems:
        raise typer.Exit(FINDINGS)


@app.command()
@speaks
def acls(
    roles: Annotated[list[str] | None, typer.Argument(metavar="ROLE", help=f"Some of {', '.join(get_args(Role))}; all by default.")] = None,
    principal: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=PRINCIPAL", help="Who has a role, as engine=User:limits (by default User:ROLE).")
    ] = None,
    kafka: Bootstrap = None,
    application: Application = None,
    as_json: AsJson = False,
) -> None:
    """Print the rights that each role needs, as commands of Kafka's own tool; nothing is changed."""
    settings = settings_from(kafka, application=application)
    named = dict(text.partition("=")[::2] for text in principal or [])
    for role in (*(roles or ()), *named):
        if role not in get_args(Role):
            raise typer.BadParameter(f"there is no role {role!r}; there are {', '.join(get_args(Role))}")
    for role in get_args(Role):
        if roles and role not in roles:
            continue
        who, rights = named.get(role) or f"User:{role}", rights_of(role, settings.application)
        if as_json:
            for right in rights:
                emit({"role": role, "principal": who} | asdict(right))
        else:
            for command in _commands(settings.kafka.bootstrap, who, rights):
                typer.echo(command)


def _commands(bootstrap: str, who: str, rights: Iterable[Right]) -> Iterator[str]:
    """Commands that give somebody these rights: one for all that the same may be done to."""
    alike: dict[str, list[str]] = {}
    for right in rights:
        how = "".join(f" --operation {operation}" for operation in right.operations)
        how += " --resource-pattern-type prefixed" if right.is_prefix else ""
        alike.setdefault(how, []).append(f" --{right.resource} {right.name}")
    for how, resources in alike.items():
        yield f"kafka-acls.sh --bootstrap-server {bootstrap} --add --allow-principal {who}{how}{''.join(resources)}"
