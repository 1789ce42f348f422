"""Logs on stderr: JSON lines in a container, readable on a terminal. No payloads and no account ids are logged anywhere."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def leave_the_last_word() -> None:
    """From here on libraries say nothing: the program ends for a reason of its own, and they would tell how they were ended."""
    for name in ("faust", "mode", "engine.stream.transport"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _console() -> structlog.typing.Processor:
    """For a terminal; of an error without the values of its variables: one may be a password."""
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.RichTracebackFormatter(show_locals=False))


def configure(log_format: Literal["auto", "json", "text"], *, quiet: bool = False) -> None:
    """Set logging up once, at the start of a program. ``quiet`` shows warnings only."""
    is_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer() if is_json else _console()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([structlog.processors.format_exc_info] if is_json else []),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING if quiet else logging.INFO)
    # Libraries speak when something is wrong; what they say on the way is ours to say in our words.
    for name in ("faust", "mode", "aiokafka", "kafka", "asyncio", "numba", "engine.stream.transport"):
        # The Kafka clients say ten times a second that a broker is away; the worker says it once.
        logging.getLogger(name).setLevel(logging.CRITICAL if name in ("aiokafka", "kafka") else logging.ERROR)
