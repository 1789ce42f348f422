"""``limit-engine send`` and ``tail``: a producer and a consumer as others would write them, with kafka-python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.common import AsJson, Bootstrap, fail, messages, opened, settings_from, speaks
from engine.errors import EngineError
from schemas import dead_letters as names

INPUTS = ("repayments", "purchases", "transfers", "account-profiles", "limit-commands")
OUTPUTS = ("limit-changes", "limit-advisories", "dead-letters")


@speaks
def send(
    topic: Annotated[str, typer.Argument(help=f"One of {', '.join(INPUTS)}.")],
    values: Annotated[list[str] | None, typer.Argument(metavar="JSON", help="Records; none: NDJSON from stdin or --file.")] = None,
    file: Annotated[Path | None, typer.Option(help="NDJSON, one record a line.")] = None,
    kafka: Bootstrap = None,
) -> None:
    """Publish records, keyed by their account_id."""
    from kafka import KafkaProducer

    from engine.connections import kafka_client

    if topic not in INPUTS:
        fail(f"{topic!r} is not an input topic; there are {', '.join(INPUTS)}")
    if values and file:
        fail("records are given as arguments or by --file, not both")
    records = _records(values, file)
    if not records:
        fail("there is no record: give some as arguments, by --file, or as lines on stdin")
    producer = kafka_client(
        KafkaProducer,
        settings_from(kafka).kafka,
        acks="all",
        enable_idempotence=True,
    )
    try:
        sent = [producer.send(topic, key=key, value=value) for key, value in records]
        for future in sent:
            placed = future.get(timeout=30)
            messages.print(f"{placed.topic}-{placed.partition} offset {placed.offset}")
    finally:
        producer.close(timeout=5)


def _records(values: list[str] | None, file: Path | None) -> list[tuple[bytes, bytes]]:
    """(key, value) of every record; the first mistake ends the program before anything is sent."""
    if values:
        name, lines = "record", [value.encode() for value in values]
    else:
        with opened(file) as source:
            name, lines = "stdin" if file is None or str(file) == "-" else str(file), source.read().splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            account = json.loads(line)["account_id"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            told = "account_id is missing" if isinstance(error, KeyError) else str(error)
            fail(f"{name}:{number}: a record is a JSON object with an account_id: {told}")
        found.append((str(account).encode(), line.strip()))
    return found


@speaks
def tail(
    topics: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(OUTPUTS)}; limit-changes by default.")] = None,
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    from_start: Annotated[bool, typer.Option(help="From the beginning instead of from now.")] = False,
    limit: Annotated[int, typer.Option("-n", help="End after so many (0: never).")] = 0,
    kafka: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Show what the engine announces, as it comes."""
    from kafka import KafkaConsumer

    from engine.connections import kafka_client
    from engine.stream.topics import CREATE

    wanted = topics or [OUTPUTS[0]]
    unknown = [topic for topic in wanted if topic not in (*INPUTS, *OUTPUTS)]
    if unknown:
        fail(f"{unknown[0]!r} is not a topic of the engine; there are {', '.join(OUTPUTS)}")
    consumer = kafka_client(
        KafkaConsumer,
        settings_from(kafka).kafka,
        *wanted,
        isolation_level="read_committed",
        auto_offset_reset="earliest" if from_start else "latest",
        enable_auto_commit=False,
    )
    missing = [topic for topic in wanted if not consumer.partitions_for_topic(topic)]
    if missing:
        consumer.close()
        raise EngineError(f"{', '.join(missing)}: not there", where="topics", cure=CREATE)
    shown = 0
    for record in consumer:
        if account is not None and record.key != account.encode():
            continue
        typer.echo(_as_json(record) if as_json else _line(record))
        shown += 1
        if shown == limit:
            break
    consumer.close()


def _as_json(record: Any) -> str:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    value = (record.value or b"").decode(errors="replace")
    try:
        plain = json.loads(value)
    except ValueError:
        plain = value
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset, "timestamp_ms": record.timestamp}
    return json.dumps(
        {**place, "key": (record.key or b"").decode(errors="replace"), "headers": headers, "value": plain}, ensure_ascii=False
    )


def _line(record: Any) -> str:
    place = f"{record.topic}-{record.partition}@{record.offset}"
    if record.topic == "dead-letters":
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        if names.EXCEPTION not in headers:  # a note of a replay
            return f"{place}  {'  '.join(f'{name} {value}' for name, value in headers.items())}"
        origin = f"{headers[names.TOPIC]}@{headers[names.OFFSET]}"
        return f"{place}  {headers[names.DISPOSITION]}  {origin}: {headers[names.MESSAGE]}"
    value = json.loads(record.value)
    if record.topic != "limit-changes":
        codes = ", ".join(reason["code"] for reason in value.get("reasons", ()))
        told = (value.get("kind", ""), value.get("result", ""), value.get("reason") or codes)
        return f"{place}  {value['account_id']}  {'  '.join(word for word in told if word)}"
    before, after = value["previous"], value["standing"]
    reasons = ", ".join(reason["code"] for reason in value["reasons"])
    money = f"{before['limit_minor']} -> {after['limit_minor']} {after['currency']} minor"
    return f"{place}  {value['account_id']} #{value['sequence']}  {value['kind']}  {money}  band {after['band']}  because {reasons or '-'}"
