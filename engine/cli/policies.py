"""``limit-engine policy``: check a policy, put it in force, see which version each shard decides by and what has drifted since."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cli.common import (
    FINDINGS,
    Application,
    AsJson,
    Bootstrap,
    OnDay,
    RedisUrl,
    combined_from,
    emit,
    fail,
    messages,
    settings_from,
    speaks,
)
from engine.cli.monitor import monitor

if TYPE_CHECKING:
    from engine.policy.combine import Combination
    from engine.policy.document import LawRecord, Policy
    from engine.stream.in_force import ShardStatus

app = typer.Typer(no_args_is_help=True)
app.command()(monitor)

PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A policy in YAML.")]


@app.command()
@speaks
def check(file: PolicyFile, on: OnDay = None, as_json: AsJson = False) -> None:
    """Say every mistake of a policy and of the packs it names, with file, line and column (exit code 1), and what the law changed in it."""
    from engine.policy.errors import PolicyErrors
    from engine.policy.source import load_combined
    from engine.stream.control import utc_now

    moment = utc_now() if on is None else on.date()
    try:
        combination = load_combined(file, moment)
        policy = combination.policy
    except PolicyErrors as found:
        if found.errors[0].line is None:
            fail(str(found))
        if as_json:
            plain = [
                {"file": e.path, "line": e.line, "column": e.column, "where": e.where, "message": e.message, "hint": e.hint}
                for e in found.errors
            ]
            emit({"file": str(file), "errors": plain})
        else:
            for error in found.errors:
                messages.print(str(error), markup=False)
            messages.print(f"{len(found.errors)} mistake{'s' if len(found.errors) > 1 else ''}")
        raise typer.Exit(FINDINGS) from None
    segments: dict[str, Any] = {s.name: {"characteristics": len(s.scorecard), "bands": [b.name for b in s.bands]} for s in policy.segments}
    if as_json:
        plain_law = {} if policy.law is None else _plain_law(combination)
        emit({"file": str(file), "errors": [], "policy": policy.policy, "version": policy.version, "segments": segments} | plain_law)
        return
    messages.print(f"{policy.policy} version {policy.version}: {len(policy.measures)} measures, {len(policy.features)} features")
    for name, segment in segments.items():
        messages.print(f"  {name}: {segment['characteristics']} characteristics, bands {' < '.join(segment['bands'])}")
    _tell_law(combination, moment)


def _plain_law(combination: Combination) -> dict[str, Any]:
    law = [record.model_dump(mode="json", exclude_none=True) for record in combination.policy.law or ()]
    coming = [rule.model_dump(mode="json", include={"name", "demands", "source", "valid_from"}) for rule in combination.coming]
    return {"law": law, "coming": coming}


def _tell_law(combination: Combination, moment: date) -> None:
    """The rules of the policy's packs: those in force, what they changed, and those that come into force soon."""
    law = combination.policy.law
    if law is None:
        return
    rules = {record.rule: record for record in law}
    recalled = [name for name, record in rules.items() if record.checked_on == "recalled"]
    day = moment.date() if isinstance(moment, datetime) else moment
    messages.print(f"law on {day}: {len(rules)} rules in force", markup=False)
    for name, record in rules.items():
        memory = " (from memory: read it at its source)" if name in recalled else ""
        effect = f"duty: {record.duty}" if record.duty is not None else record.effect
        messages.print(f"  {name}{memory}: {effect}", markup=False, highlight=False)
    changes = [_change(record) for record in law if record.after is not None]
    messages.print("changed by the law:" if changes else "changed by the law: nothing", markup=False)
    for change in changes:
        messages.print(f"  {change}", markup=False, highlight=False)
    if recalled:
        messages.print(f"[yellow]warning[/] {len(recalled)} of these rules were written from memory")
    _tell_coming(combination)


def _tell_coming(combination: Combination) -> None:
    for rule in combination.coming:
        messages.print(
            f"note: {rule.name} is soon in force: promote again on {rule.valid_from}, as the next version", markup=False, highlight=False
        )


def _change(record: LawRecord) -> str:
    where = f"{record.segment}: " if record.segment is not None else ""
    if record.effect == "requirement":
        return f"{where}requirement {record.after} by {record.rule}"
    return f"{where}{record.effect} {_amount(record.before)} → {_amount(record.after)} by {record.rule}"


def _amount(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


@app.command()
@speaks
def promote(
    file: PolicyFile,
    kafka: Bootstrap = None,
    issued_by: Annotated[str, typer.Option(help="Who puts it in force.")] = "cli",
    approved_by: Annotated[str | None, typer.Option(help="Who approved it.")] = None,
    if_newer: Annotated[bool, typer.Option(help="Do nothing unless no policy is in force, or an older version of this one.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show what would be written, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a policy in force: write it, whole, to limit-control for every shard."""
    from engine.stream import control

    combination = combined_from(file, code=FINDINGS)
    policy = combination.policy
    cluster = settings_from(kafka).kafka
    active = control.active_policy(cluster)
    if if_newer and active is not None and (policy.policy != active.policy or policy.version <= active.version):
        _tell_stays(active, as_json)
        return
    record = control.activation(policy, active, issued_by, approved_by, control.utc_now())
    if dry_run:
        emit(record)
        return
    shards = control.publish(cluster, record)
    if as_json:
        emit({"policy": policy.policy, "version": policy.version, "hash": record["policy_hash"], "shards": shards})
    else:
        messages.print(f"{policy.policy} version {policy.version} ({record['policy_hash'][:12]}) is on its way to {shards} shards")
        _tell_coming(combination)


def _tell_stays(active: Policy, as_json: bool) -> None:
    from engine.policy.promote import policy_hash

    if as_json:
        emit({"policy": active.policy, "version": active.version, "hash": policy_hash(active), "shards": 0})
    else:
        messages.print(f"{active.policy} version {active.version} ({policy_hash(active)[:12]}) is in force and stays")


@app.command()
@speaks
def status(redis: RedisUrl = None, application: Application = None, as_json: AsJson = False) -> None:
    """Show which version each shard decides by, and how far its sweep is (exit code 1: not all by the same)."""
    import asyncio

    from engine.cli.lookup import shards_of
    from engine.stream.in_force import disagreement, status_of

    settings = settings_from(redis=redis, application=application)
    shards = [status_of(number, fields) for number, fields in enumerate(asyncio.run(shards_of(settings)))]
    differs = disagreement(shards)
    if as_json:
        emit({"application": settings.application, "shards": [shard.plain() for shard in shards], "problem": differs})
    else:
        table = Table("shard", "policy", "version", "hash", "sequence", "sweep")
        for shard in shards:
            named = (
                ("none", "", "") if shard.version is None else (shard.version.policy, str(shard.version.version), shard.version.hash[:12])
            )
            table.add_row(str(shard.shard), *named, str(shard.applied), sweep_told(shard))
        Console(soft_wrap=True).print(table)
    if differs is not None:
        messages.print(f"[red]problem[/] {differs}")
        cure = "look again: each shard switches when it comes to the control record. One that stays behind is without a worker, or has refused it"
        messages.print(f"  [green]cure[/] {cure} (`limit-engine tail dead-letters`)")
        raise typer.Exit(FINDINGS)


def sweep_told(shard: ShardStatus) -> str:
    """How far a shard's newest sweep is."""
    from engine.state.keys import BUCKETS

    sweep = shard.sweep
    if sweep is None:
        return "none yet"
    cause = "control" if sweep.offset is not None else sweep.cause.removeprefix("day:")
    return f"{cause} {'done' if sweep.left == 0 else f'{shard.buckets_swept}/{BUCKETS}'}".lstrip()
