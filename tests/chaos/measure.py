"""What is measured under overload, over a long time, and at recoveries, against its bars: ``scripts/overload``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Final

from rich.console import Console

from engine.errors import EngineError
from tests.chaos.lab import Found, Size
from tests.chaos.overload import SCENARIOS, overload, soak
from tests.chaos.recovery import recovery
from tests.chaos.screen import told

OTHERS: Final = {
    "soak": "nothing but the steady load: the slope of the memory",
    "recovery": "a worker and Redis killed, and Redis put back",
}


def main() -> int:
    """Run what was asked for, and say what came of it."""
    asked = options()
    console, missed = Console(stderr=True), False
    for name in [asked.only] if asked.only else [*SCENARIOS, *OTHERS]:
        directory = Path(tempfile.mkdtemp(prefix=f"overload-{name}-"))
        console.print(f"{name}: {SCENARIOS[name].meaning if name in SCENARIOS else OTHERS[name]}", highlight=False)
        try:
            found = measured(name, asked, directory, console)
        except (Exception, KeyboardInterrupt) as error:
            if not isinstance(error, (EngineError, KeyboardInterrupt)):
                traceback.print_exc()
            console.print(f"could not run: {error!r}; everything is in {directory}", markup=False)
            return 2
        print(json.dumps(found.plain(), ensure_ascii=False) if asked.json else "\n".join(found.lines()), flush=True)
        if found.misses:
            missed = True
        else:
            shutil.rmtree(directory)
    return int(missed)


def measured(name: str, asked: argparse.Namespace, directory: Path, console: Console) -> Found:
    """One measurement."""
    size, seconds = Size(asked.partitions, asked.workers, asked.rate, asked.accounts), asked.minutes * 60
    with told(console) as (tell, show):
        if name == "soak":
            return soak(seconds, directory, size, tell, show)
        if name == "recovery":
            return recovery(directory, size, tell, show)
        return overload(name, seconds, directory, size, tell, show)


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="scripts/overload",
        description="Real workers, a real Kafka and a real Valkey, one deployment for each measurement; then an audit of all that Kafka holds. "
        "1 if a bar is missed or anything is wrong, 2 if it could not run.",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of each (default 10); recoveries take as long as they take")
    parser.add_argument("--only", choices=[*SCENARIOS, *OTHERS], metavar="NAME", help=f"one of {', '.join([*SCENARIOS, *OTHERS])}")
    parser.add_argument("--partitions", type=int, default=Size.partitions, help=f"(default {Size.partitions})")
    parser.add_argument("--workers", type=int, default=Size.workers, help=f"(default {Size.workers})")
    parser.add_argument("--rate", type=float, default=Size.rate, help=f"of the steady load, events a second (default {Size.rate:g})")
    parser.add_argument("--accounts", type=int, default=Size.accounts, help=f"of the steady load (default {Size.accounts})")
    parser.add_argument("--json", action="store_true", help="each summary as a line of JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
