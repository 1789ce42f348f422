"""``limit-engine run``: a worker."""

from __future__ import annotations

import typer

from engine.cli.common import Application, Bootstrap, RedisUrl, settings_from, speaks


@speaks
def run(kafka: Bootstrap = None, redis: RedisUrl = None, application: Application = None) -> None:
    """Work: consume events, decide, and announce limit changes, until interrupted."""
    from engine.app import run_worker

    raise typer.Exit(run_worker(settings_from(kafka, redis, application)))
