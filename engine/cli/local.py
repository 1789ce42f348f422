"""``limit-engine local``: Kafka and Redis on this machine, kept running between commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.common import FINDINGS, AsJson, emit, messages, speaks

app = typer.Typer(no_args_is_help=True)

DataDir = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where the servers keep their data.")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free port.")]


@app.command()
@speaks
def up(data: DataDir = None, kafka_port: Port = 0, redis_port: Port = 0, as_json: AsJson = False) -> None:
    """Start Kafka and Redis (or Valkey) on loopback and leave them running."""
    from engine.local.services import LocalServices

    services = LocalServices(data)
    with services.exclusive():
        if not as_json:
            messages.print("starting Kafka and Redis (the first time on a machine downloads about 50 MB) ...")
        services.up(kafka_port, redis_port)
    _tell(services.status(), as_json)


@app.command()
@speaks
def down(
    data: DataDir = None, delete: Annotated[bool, typer.Option(help="Also delete their data.")] = False, as_json: AsJson = False
) -> None:
    """Stop them."""
    from engine.local.services import LocalServices

    services = LocalServices(data)
    with services.exclusive():
        stopped = services.down(delete=delete)
    if as_json:
        emit({"stopped": stopped})
    else:
        messages.print(f"stopped {' and '.join(stopped)}" if stopped else "nothing was running")


@app.command()
@speaks
def status(data: DataDir = None, as_json: AsJson = False) -> None:
    """Show what runs, where, and the settings that point the engine to it (exit code 1 if something is down)."""
    from engine.local.services import LocalServices

    found = LocalServices(data).status()
    _tell(found, as_json)
    if not all(service["running"] for service in found.values()):
        raise typer.Exit(FINDINGS)


def _tell(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, service in found.items():
        state = f"running at {service['address']} (pid {service['pid']})" if service["running"] else "down"
        messages.print(f"{name}: {state}")
    if all(service["running"] for service in found.values()):
        typer.echo(f"export LIMITS_KAFKA__BOOTSTRAP={found['kafka']['address']}")
        typer.echo(f"export LIMITS_REDIS__URL=redis://{found['redis']['address']}/0")
