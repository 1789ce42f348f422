"""``limit-engine decide``: a log of records through the same core, without Kafka and Redis."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.common import FINDINGS, fail, messages, settings_from, speaks


@speaks
def decide(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help='NDJSON, each line {"topic": ..., "value": {...}}; - is stdin.')],
    policy: Annotated[Path, typer.Option("--policy", metavar="FILE", help="The policy to decide by.")],
) -> None:
    """Decide a log in occurred_at order and print the output events as NDJSON: the same log gives the same bytes.

    Records that cannot be taken are told on stderr by line; then the exit code is 1.
    """
    from engine.policy.errors import PolicyErrors
    from engine.policy.source import load_policy
    from engine.stream import offline

    try:
        document = load_policy(policy)
    except PolicyErrors as found:
        fail(str(found))
    places: list[tuple[str, int]] = [("", 0)]
    records = [offline.activation(document)]
    for name, number, line in _lines(files):
        places.append((name, number))
        topic, value = _parsed(name, number, line, offline.TOPICS)
        records.append(offline.log_record(topic, len(places) - 1, value))
    settings = settings_from()
    has_rejects = False
    for journal in offline.decide(records, settings.key, settings.application):
        for output in journal.outputs:
            sys.stdout.write(f'{{"topic":"{output.topic}","value":{output.value.decode()}}}\n')
        for reject in journal.dead_letters:
            has_rejects = True
            name, number = places[reject.offset]
            messages.print(f"{name}:{number}: {reject.disposition}: {reject.message}", markup=False)
    if has_rejects:
        raise typer.Exit(FINDINGS)


def _lines(files: list[Path]) -> Iterator[tuple[str, int, str]]:
    for file in files:
        name = "stdin" if str(file) == "-" else str(file)
        try:
            with sys.stdin if name == "stdin" else file.open() as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield name, number, line
        except OSError as error:
            fail(f"{name}: {error.strerror}")


def _parsed(name: str, number: int, line: str, topics: dict[str, Any]) -> tuple[Any, bytes]:
    try:
        plain = json.loads(line)
        return topics[plain["topic"]], json.dumps(plain["value"], ensure_ascii=False).encode()
    except (ValueError, TypeError) as error:
        fail(f'{name}:{number}: not a JSON object {{"topic": ..., "value": ...}}: {error}')
    except KeyError as error:
        fail(f"{name}:{number}: {error} is missing or not an input topic; there are {', '.join(topics)}")
