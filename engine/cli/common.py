"""What the commands share: the options that every command has, and how they speak.

Data goes to stdout, messages to stderr. Exit code 0 is fine, 1 means findings, 2 failure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NoReturn, ParamSpec

import typer
from pydantic import ValidationError
from rich.console import Console

from engine.errors import EngineError
from engine.settings import PREFIX, Settings, load_settings

P = ParamSpec("P")

FINDINGS = 1
FAILURE = 2

messages = Console(stderr=True, highlight=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Bootstrap = Annotated[str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Kafka's bootstrap servers.")]
RedisUrl = Annotated[str | None, typer.Option("--redis", metavar="URL", help="Redis, as redis://host:port/db.")]
Application = Annotated[str | None, typer.Option("--application", metavar="NAME", help="The deployment's name.")]


def settings_from(kafka: str | None = None, redis: str | None = None, application: str | None = None) -> Settings:
    """The settings with these flags on top; a mistake in them ends the program."""
    flags: dict[str, object] = {"application": application}
    try:
        found = load_settings(**flags)
        if kafka is not None:
            found = found.model_copy(update={"kafka": found.kafka.model_copy(update={"bootstrap": kafka})})
        if redis is not None:
            found = found.model_copy(update={"redis": found.redis.model_copy(update={"url": redis})})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            place = "__".join(str(part).upper() for part in problem["loc"])
            messages.print(f"[red]error[/] setting {PREFIX}{place}: {problem['msg']}")
        raise typer.Exit(FAILURE) from None
    return found


def emit(value: Any) -> None:
    """One JSON value as one line on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def fail(error: EngineError | str) -> NoReturn:
    """Say what went wrong and end with the code for failure."""
    if isinstance(error, str):
        error = EngineError(error)
    head = f"{error.where}: {error.what}" if error.where else error.what
    messages.print("[red]error[/] ", end="")
    messages.print(head, markup=False)
    if error.cure:
        messages.print("  [green]cure[/] ", end="")
        messages.print(error.cure, markup=False)
    raise typer.Exit(FAILURE)


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
                cure = "is it there, and is the address right? `limit-engine doctor` looks"
                fail(EngineError(f"{str(error) or type(error).__name__}", where={"redis": "Redis"}.get(where, "Kafka"), cure=cure))
            raise

    return speaking
