"""``limit-engine decide``: a log of records through the same core, without Kafka and Redis."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.common import FINDINGS, OnDay, fail, messages, opened, policy_from, settings_from, speaks

if TYPE_CHECKING:
    from engine.stream.offline import LogRecord


@speaks
def decide(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help='NDJSON, each line {"topic": ..., "value": {...}}; - is stdin.')],
    policy: Annotated[Path, typer.Option("--policy", metavar="FILE", help="The policy to decide by.")],
    on: OnDay = None,
) -> None:
    """Decide a log in occurred_at order and print the output events as NDJSON: the same log gives the same bytes, in whatever order its lines
    stand (records of one moment and topic keep theirs).

    Records that cannot be taken are told on stderr by line; then the exit code is 1.
    """
    from engine.stream import offline

    settings = settings_from()
    document = policy_from(policy, None if on is None else on.date())
    read = sorted(_records(files), key=lambda pair: offline.in_time(pair[0]))
    records = [offline.activation(document), *(replace(record, offset=place) for place, (record, _) in enumerate(read, 1))]
    has_rejects = False
    for journal in offline.decide(records, settings.key, settings.application):
        for output in journal.outputs:
            sys.stdout.buffer.write(b'{"topic":"%s","value":%s}\n' % (output.topic.encode(), output.value))
        for reject in journal.dead_letters:
            has_rejects = True
            _, line = read[reject.offset - 1]
            messages.print(f"{line}: {reject.disposition}: {reject.message}", markup=False)
    if has_rejects:
        raise typer.Exit(FINDINGS)


def _records(files: list[Path]) -> Iterator[tuple[LogRecord, str]]:
    """Every record, numbered as it came, and its ``file:line``."""
    count = 0
    for file in files:
        with opened(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    place = f"{'stdin' if str(file) == '-' else file}:{number}"
                    count += 1
                    yield _record(line, count, place), place


def _record(line: bytes, number: int, place: str) -> LogRecord:
    from engine.core.layout import Topic
    from engine.policy.errors import did_you_mean
    from engine.stream import offline
    from engine.stream.records import TOPICS

    form = 'each line is a JSON object {"topic": ..., "value": {...}}'
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        fail(f"{place}: {form}: {error}")
    if not isinstance(plain, dict) or not {"topic", "value"} <= set(plain):
        fail(f"{place}: {form}")
    name, value = plain["topic"], plain["value"]
    topic = TOPICS.get(name) if isinstance(name, str) else None
    if topic is None:
        hint = did_you_mean(str(name), TOPICS)
        fail(f"{place}: {name!r} is not an input topic; there are {', '.join(TOPICS)}" + (f" ({hint})" if hint else ""))
    if value is None and topic is Topic.PROFILE:
        return _tombstone(plain, number, place)
    try:
        raw = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a character, which only an escape can say
        raw = json.dumps(value).encode()
    return offline.log_record(topic, number, raw)


def _tombstone(plain: dict[str, Any], number: int, place: str) -> LogRecord:
    """A profile without a value: what it would say of itself stands beside it."""
    from engine.stream import offline
    from engine.stream.decode.columns import epoch_ms
    from schemas.common import parse_instant

    try:
        return offline.tombstone(number, plain["key"].encode(), epoch_ms(parse_instant(plain["occurred_at"])))
    except (LookupError, AttributeError, ValueError):
        form = '{"topic": "account-profiles", "key": "ID", "occurred_at": "2026-03-01T08:15:30Z", "value": null}'
        fail(f"{place}: a profile without a value forgets an account, and says which and when: {form}")
