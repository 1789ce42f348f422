"""What the commands share: the options that every command has, and how they speak.

Data goes to stdout, messages to stderr. Exit code 0 is fine, 1 means findings, 2 failure.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, NoReturn, ParamSpec

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console

from engine.connections import RIGHTS
from engine.errors import EngineError
from engine.policy.errors import did_you_mean
from engine.settings import PREFIX, Settings, config_file, load_settings
from schemas.common import parse_day

if TYPE_CHECKING:
    from engine.policy.combine import Combination
    from engine.policy.document import Policy

P = ParamSpec("P")

FINDINGS = 1
FAILURE = 2
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT_FORM: Final = "a date such as 2026-10-01 (its midnight in UTC), or an RFC 3339 time with offset such as 2026-10-01T00:00:00+08:00"
LOOK = "is it there, and is the address right? `limit-engine doctor` looks"

messages = Console(stderr=True, highlight=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
OnDay = Annotated[
    datetime | None, typer.Option("--on", metavar="DATE", formats=["%Y-%m-%d"], help="The day whose law holds (today), as 2026-03-01.")
]
Bootstrap = Annotated[str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Kafka's bootstrap servers.")]
RedisUrl = Annotated[str | None, typer.Option("--redis", metavar="URL", help="Redis, as redis://host:port/db.")]
Application = Annotated[str | None, typer.Option("--application", metavar="NAME", help="The deployment's name.")]


def settings_from(kafka: str | None = None, redis: str | None = None, application: str | None = None) -> Settings:
    """The settings with these flags on top; a mistake in them ends the program."""
    flags = {"kafka.bootstrap": kafka, "redis.url": redis, "application": application}
    try:
        return load_settings(
            kafka=None if kafka is None else {"bootstrap": kafka},
            redis=None if redis is None else {"url": redis},
            application=application,
        )
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = ".".join(str(part) for part in problem["loc"])
            what = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                hint = did_you_mean(name, names_of(Settings))
                what = "there is no such setting" + (f" ({hint})" if hint else "")
            _complain(f"setting {_place_of(name, is_flag=flags.get(name) is not None)}: {what}")
        raise typer.Exit(FAILURE) from None


def names_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every setting, as ``kafka.bootstrap``."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        inner: Any = field.annotation
        is_section = isinstance(inner, type) and issubclass(inner, BaseModel)
        found += names_of(inner, f"{prefix}{name}.") if is_section else [f"{prefix}{name}"]
    return found


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.replace(".", "__").upper()


def _place_of(name: str, *, is_flag: bool) -> str:
    """Where a reader finds a setting: its variable, or its name and the file."""
    if is_flag:
        return name
    variable = variable_of(name)
    given = [given for given in os.environ if variable == given.upper() or variable.startswith(f"{given.upper()}__")]
    if not given:
        return f"{name} in {config_file()}" if config_file().is_file() else name
    return given[0] if given[0].upper() == variable else f"{name} in {given[0]}"


def policy_from(file: Path, on: date | None = None) -> Policy:
    """The policy in a file, combined with its packs as the law stands on that day (today). Mistakes end the program as a failure."""
    return combined_from(file, on).policy


def combined_from(file: Path, on: date | None = None, code: int = FAILURE) -> Combination:
    """The policy in a file with its packs. Its mistakes end the program with this exit code; that it cannot be read is a failure."""
    from engine.policy.errors import PolicyErrors
    from engine.policy.source import load_combined

    try:
        return load_combined(file, datetime.now(UTC) if on is None else on)
    except PolicyErrors as found:
        for error in found.errors:
            messages.print(str(error), markup=False)
        is_read = found.errors[0].line is not None
        raise typer.Exit(code if is_read else FAILURE) from None


def opened(file: Path | None) -> BinaryIO:
    """A file, or stdin (None or ``-``); a person at a terminal is told that it is read."""
    if file is not None and str(file) != "-":
        return file.open("rb")
    if sys.stdin.isatty():
        messages.print("reading records from the terminal, one a line; Ctrl-D ends them")
    return sys.stdin.buffer


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970."""
    return (datetime.now(UTC) - EPOCH) // timedelta(milliseconds=1)


def instant_ms(option: str, word: str) -> int:
    """What an option says of a moment, in milliseconds since 1970; a mistake in it ends the program."""
    try:
        found = parse_day(word)
    except ValueError:
        fail(EngineError(f"{option}: {word!r} is no instant", cure=f"give {INSTANT_FORM}"))
    moment = found if isinstance(found, datetime) else datetime.combine(found, time(), UTC)
    at_ms = (moment - EPOCH) // timedelta(milliseconds=1)
    if at_ms < 0:
        fail(f"{option}: {word!r} lies before 1970")
    return at_ms


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while something is done; nothing where that is no terminal."""
    from rich.progress import Progress

    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def emit(value: Any) -> None:
    """One JSON value as one line on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def fail(error: EngineError | str) -> NoReturn:
    """Say what went wrong and end with the code for failure."""
    if isinstance(error, str):
        error = EngineError(error)
    head = f"{error.where}: {error.what}" if error.where else error.what
    _complain(head)
    if error.cure:
        messages.print("  [green]cure[/] ", end="")
        messages.print(error.cure, markup=False)
    raise typer.Exit(FAILURE)


def _complain(what: str) -> None:
    messages.print("[red]error[/] ", end="")
    messages.print(what, markup=False)


def told(error: Exception) -> str:
    """A client library's error in words; kafka-python's begin with the name of their class."""
    return str(error).removeprefix(f"{type(error).__name__}: ") or type(error).__name__


def speaks(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the failures that a command expects into a message and exit code 2."""

    @wraps(command)
    def speaking(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except EngineError as error:
            fail(error)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            where = type(error).__module__.partition(".")[0]
            if where in ("kafka", "aiokafka", "redis"):
                cure = RIGHTS if "AuthorizationFailed" in f"{type(error).__name__}: {error}" else LOOK
                fail(EngineError(told(error), where={"redis": "Redis"}.get(where, "Kafka"), cure=cure))
            if isinstance(error, OSError) and error.filename is not None:
                fail(EngineError(error.strerror or str(error), where=str(error.filename)))
            raise

    return speaking
