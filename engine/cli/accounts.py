"""``limit-engine account``: one account as the engine sees it, and what was announced about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cli.common import FINDINGS, Application, AsJson, Bootstrap, RedisUrl, emit, messages, settings_from, speaks
from engine.cli.forget import UNKNOWN, forget, was_forgotten
from engine.cli.lookup import inspected, left_of, look_up

if TYPE_CHECKING:
    from engine.settings import Kafka

app = typer.Typer(no_args_is_help=True)
app.command()(forget)

AccountId = Annotated[str, typer.Argument(metavar="ID", help="The account_id.")]


@app.command()
@speaks
def show(account: AccountId, redis: RedisUrl = None, application: Application = None, as_json: AsJson = False) -> None:
    """Print the standing, the score with its features, the instalments and the tiles (exit code 1: the account is not known)."""
    settings = settings_from(None, redis, application)
    held = asyncio.run(look_up(account.encode(), settings))
    if held.value is None:
        messages.print(f"{account}: {UNKNOWN}", markup=False)
        raise typer.Exit(FINDINGS)
    left = left_of(held)
    if left is not None:
        if as_json:
            emit({"account_id": account, "shard": held.shard, "forgotten": True, "sequence": left})
        messages.print(f"{account}: {was_forgotten(left)}", markup=False)
        raise typer.Exit(FINDINGS)
    found = inspected(held, settings)
    if as_json:
        emit(found)
        return
    console = Console()
    console.print(_summary(found), markup=False, highlight=False)
    for table in _tables(found):
        console.print(table)


def _summary(found: dict[str, Any]) -> str:
    standing, assessment = found["standing"], found["assessment"]
    lines = [
        f"account   {found['account_id']}  (shard {found['shard']}, {found['events_accepted']} events, as of {found['judged_at']})",
        f"standing  {standing['state']}, limit {standing['limit_minor']} {standing['currency']} minor, band {standing['band'] or '-'},"
        f" drawing {'allowed' if standing['drawing_allowed'] else 'not allowed'}"
        + (f", blocked by {', '.join(standing['blocks'])}" if standing["blocks"] else ""),
        f"exposure  {standing['exposure_minor']}; last change {found['last_change_on'] or 'never'} (sequence {found['sequence']})",
    ]
    lines += _arrangements(standing, found["cost"])
    if assessment is None:
        return "\n".join([*lines, "score     none: the account has no profile yet"])
    lines.append(
        f"score     {assessment['score']} = base {assessment['base_points']} + the points below;"
        f" target {assessment['target_limit_minor']} (band {assessment['target_band']}, bound by {assessment['bound_by']})"
        + (f"; withheld: {assessment['guard']}" if assessment["guard"] else "")
        + (f" ({assessment['requirement']})" if assessment["requirement"] else "")
        + (f" until {assessment['guard_until']}" if assessment["guard_until"] else "")
    )
    return "\n".join(lines)


def _arrangements(standing: dict[str, Any], cost: dict[str, Any] | None) -> Iterator[str]:
    """What stands beside the limit, a line each; nothing of what there is not."""
    told: dict[str, Callable[[Any], str]] = {
        "temporary": lambda part: f"limit {part['limit_minor']} until {part['until']}",
        "offer": lambda part: f"{part['offer_id']}: limit {part['limit_minor']}, expires at {part['expires_at']}",
        "pending": lambda part: f"limit {part['limit_minor']} from {part['effective_at']} on",
        "override": lambda part: f"limit {part['limit_minor']} until {part['until']}",
        "hold_until": lambda part: f"the limit stays as it is until {part}",
        "ceiling_minor": lambda part: f"the customer wants at most {part}",
        "pending_rate": lambda part: f"{part['rate_tier']} from {part['effective_at']} on",
        "rate_tier": str,
    }
    for key, say in told.items():
        if standing[key] is not None:
            yield f"{key.removesuffix('_until').removesuffix('_minor').replace('_', ' '):<10}{say(standing[key])}"
    if cost is not None:
        yield (
            f"cost      {percent(cost['apr_effective_bp'])} a year effective, {percent(cost['apr_nominal_bp'])} nominal, fees included:"
            f" {cost['total_cost_minor']} on a draw of {cost['draw_minor']} over {cost['term_months']} months ({cost['plan']})"
        )


def percent(basis_points: int) -> str:
    """Basis points as a percentage."""
    return f"{basis_points // 100}.{basis_points % 100:02} %"


def _tables(found: dict[str, Any]) -> Iterator[Table]:
    if found["assessment"] is not None:
        yield _table(
            f"Scorecard of {found['policy']['name']} version {found['policy']['version']}",
            ("feature", "value", "bin from", "points"),
            [(row["feature"], row["value"], row["bin_at_least"], row["points"]) for row in found["assessment"]["features"]],
        )
    if found["instalments"]:
        yield _table(
            "Instalments",
            ("loan", "due at", "due", "paid", "state"),
            [(i["loan_fingerprint"][:8], i["due_at"], i["due_minor"], i["paid_minor"], _instalment_state(i)) for i in found["instalments"]],
        )
    yield _table(
        "Tiles",
        ("measure", "kind", "tiles", "newest", "value there"),
        [_measure_row(measure) for measure in found["measures"] if measure.get("value") or measure.get("tiles")],
    )


def _instalment_state(instalment: dict[str, Any]) -> str:
    return ", ".join(["settled" if instalment["settled"] else "open", *instalment["outcomes"]])


def _measure_row(measure: dict[str, Any]) -> tuple[object, ...]:
    tiles = measure.get("tiles")
    if tiles is None:
        return measure["measure"], measure["kind"], "-", "-", measure["value"]
    return measure["measure"], measure["kind"], len(tiles), tiles[0]["from"], tiles[0]["value"]


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> Table:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    return table


@app.command()
@speaks
def history(
    account: AccountId,
    kafka: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Print every limit change that was announced for an account, as far back as limit-changes reaches (exit code 1: there is none)."""
    count = 0
    for value in _changes(account.encode(), settings_from(kafka).kafka):
        count += 1
        if as_json:
            emit(value)
        else:
            typer.echo(_change(value))
    if not count:
        messages.print(f"{account}: limit-changes has nothing of this account", markup=False)
        raise typer.Exit(FINDINGS)


def _changes(account: bytes, kafka: Kafka) -> Iterator[dict[str, Any]]:
    from kafka import KafkaConsumer, TopicPartition

    from engine.connections import kafka_client
    from engine.errors import EngineError
    from engine.stream.decode.misrouting import partition_of
    from engine.stream.topics import CREATE
    from schemas.topics import CHANGES

    consumer = kafka_client(
        KafkaConsumer,
        kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    try:
        partitions = consumer.partitions_for_topic(CHANGES.name)
        if not partitions:
            raise EngineError(f"{CHANGES.name}: not there", where="topics", cure=CREATE)
        own = partition_of(account, len(partitions))
        found = list(_changes_in(consumer, [TopicPartition(CHANGES.name, own)], account))
        others = [TopicPartition(CHANGES.name, number) for number in sorted(partitions - {own})]
        if others and (not found or found[0]["sequence"] > 1):  # before a reshard they lay elsewhere, or they are gone
            found = sorted([*_changes_in(consumer, others, account), *found], key=lambda value: int(value["sequence"]))
        yield from found
    finally:
        consumer.close()


def _changes_in(consumer: Any, places: list[Any], account: bytes) -> Iterator[dict[str, Any]]:
    """The changes of an account in some partitions, in each in order."""
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    consumer.seek_to_beginning(*places)
    while any(consumer.position(place) < end for place, end in ends.items()):
        for records in consumer.poll(timeout_ms=1000).values():
            for record in records:
                if record.key == account and record.offset < ends[_place(record)]:
                    yield json.loads(record.value)


def _place(record: Any) -> Any:
    from kafka import TopicPartition

    return TopicPartition(record.topic, record.partition)


def _change(value: dict[str, Any]) -> str:
    before, after = value["previous"], value["standing"]
    reasons = ", ".join(reason["code"] for reason in value["reasons"]) or "-"
    money = f"{before['limit_minor']} -> {after['limit_minor']} {after['currency']} minor"
    return f"#{value['sequence']:<4} {value['occurred_at']}  {value['kind']:<9} {money}  band {after['band'] or '-'}  because {reasons}"
