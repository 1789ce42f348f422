"""Dead letters on the command line: choosing them, and what is told of each."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from rich.console import Console
from rich.table import Table

from engine.cli.common import fail, instant_ms, messages, progress
from engine.errors import EngineError
from schemas.common import format_instant
from schemas.dead_letters import Disposition

if TYPE_CHECKING:
    from engine.settings import Kafka
    from engine.stream.backlog import Backlog, Fate, Filter, Letter, Place

WIDE: Final = 10_000  # where nobody's terminal must be fitted into, nothing is folded


def filter_of(since: str | None, until: str | None, disposition: str | None, topic: str | None, partition: int | None) -> Filter:
    """The filter that these options make; a mistake in them ends the program."""
    from engine.policy.errors import did_you_mean
    from engine.stream.backlog import Filter
    from engine.stream.records import TOPICS

    for option, word, known in (("--disposition", disposition, get_args(Disposition)), ("--topic", topic, tuple(TOPICS))):
        if word is not None and word not in known:
            hint = did_you_mean(word, known)
            fail(f"{option}: there is no {word!r}; there are {', '.join(known)}" + (f" ({hint})" if hint else ""))
    since_ms, until_ms = (None if word is None else instant_ms(option, word) for option, word in (("--since", since), ("--until", until)))
    return Filter(since_ms, until_ms, disposition, topic, partition)


def places_of(words: Sequence[str]) -> list[Place]:
    """The places that are named, each once; mistakes in them end the program."""
    from engine.stream.backlog import Place
    from schemas.topics import DEAD_LETTERS

    found = []
    for word in words:
        try:
            found.append(Place.parse(word))
        except ValueError as error:
            fail(str(error))
        if found[-1].topic != DEAD_LETTERS.name:
            fail(f"{word!r} is in {found[-1].topic}; a dead letter is named by its place in {DEAD_LETTERS.name}, such as 2@17")
    return list(dict.fromkeys(found))


def read_letters(kafka: Kafka, keeps_value: Callable[[Letter], bool]) -> Backlog:
    """What lies in dead-letters. Raises EngineError."""
    from engine.stream.backlog import read_backlog

    with progress("dead-letters") as moved:
        backlog = read_backlog(kafka, moved, keeps_value)
    if backlog.strangers:
        messages.print(f"{backlog.strangers} records in dead-letters are not the engine's: left out")
    return backlog


def letters_at(backlog: Backlog, named: Sequence[Place]) -> list[Letter]:
    """The dead letters at these places. Raises EngineError with all places at which there is none."""
    missing = [place.short for place in named if place not in backlog.letters]
    if missing:
        cure = "`limit-engine dlq list` says where they are"
        raise EngineError(f"there is no dead letter at {', '.join(missing)}", where="dead-letters", cure=cure)
    return [backlog.letters[place] for place in named]


def plain_of(letter: Letter, fate: Fate) -> dict[str, Any]:
    """What is told of a dead letter in a list, as JSON has it."""
    return {
        "place": letter.place.short,
        "written_at": format_instant(letter.written_ms),
        "topic": letter.origin.topic,
        "partition": letter.origin.partition,
        "offset": letter.origin.offset,
        "timestamp": format_instant(letter.recorded_ms),
        "disposition": letter.disposition,
        "message": letter.message,
        "replayed_as": None if fate.copy is None else str(fate.copy),
        "superseded_by": None if fate.follower is None else fate.follower.short,
    }


def told_of(fate: Fate) -> str:
    """What has become of a dead letter, in words."""
    if fate.copy is not None:
        return f"replayed as {fate.copy}"
    return f"superseded by {fate.follower.short}" if fate.follower is not None else "-"


def table_of(*columns: str) -> Table:
    """A table; a word is never cut."""
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def plain_console() -> Console:
    """Stdout; where it is no terminal a table has the width that it needs."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    return console if console.is_terminal else Console(soft_wrap=True, highlight=False, markup=False, width=WIDE)


def bytes_of(found: bytes | None) -> dict[str, str] | None:
    """Bytes as JSON has them: as text if they are UTF-8."""
    if found is None:
        return None
    try:
        return {"text": found.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(found).decode()}


def text_of(found: bytes | None) -> str:
    """Bytes as a person reads them."""
    told = bytes_of(found)
    if told is None:
        return "(none)"
    return told.get("text") or (f"(no UTF-8; in base64) {told['base64']}" if "base64" in told else "(empty)")
