"""``limit-engine``: the program's entry."""

from __future__ import annotations

from typing import Annotated

import typer

from engine import __version__
from engine.cli import (
    accounts,
    appetite,
    brakes,
    decide,
    demo,
    dlq,
    doctor,
    follow,
    local,
    policies,
    rebuild,
    reshard,
    run,
    states,
    topics,
    traffic,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Event-driven credit limits.")
app.add_typer(local.app, name="local", help="Kafka and Redis on this machine, without Docker.")
app.add_typer(topics.app, name="topics", help="The deployment's topics.")
app.add_typer(policies.app, name="policy", help="The lender's policy.")
app.add_typer(appetite.app, name="appetite", help="The lender's risk appetite.")
app.add_typer(brakes.app, name="brakes", help="The portfolio's brakes: the budget of increases and the breaker.")
app.add_typer(accounts.app, name="account", help="One account as the engine sees it.")
app.add_typer(states.app, name="state", help="What Redis holds of each shard.")
app.add_typer(dlq.app, name="dlq", help="The dead letters: why, and once more.")
for command in (
    demo.demo,
    run.run,
    doctor.doctor,
    follow.follow,
    rebuild.rebuild,
    reshard.reshard,
    traffic.send,
    traffic.tail,
    decide.decide,
):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Event-driven credit limits: Kafka in, aggregates in Redis, explained limit changes out."""


def main() -> None:
    """Run the command line."""
    app()
