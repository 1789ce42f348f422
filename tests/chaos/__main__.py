"""Random faults on a whole deployment for so many minutes, and the audit of what came of it: ``scripts/chaos``."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from rich.console import Console

from engine.errors import EngineError
from tests.chaos.run import POLICY, Options, run
from tests.chaos.screen import told

SEEDS = 1_000_000


def options() -> tuple[Options, bool]:
    """What was asked for, and whether the answer is to be JSON."""
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Three workers, 12 partitions, a real Kafka and a real Valkey: kills, stops, cuts, an older Redis, wrong clocks, "
        "rebalances, drawn from a seed, while events flow; then an audit of all that Kafka holds. 1 if anything is wrong, 2 if it could not run.",
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="of faults (default 20); the audit comes after")
    parser.add_argument("--seed", type=int, help="the faults and the traffic of an earlier run (default: any)")
    parser.add_argument("--accounts", type=int, default=Options.accounts, help=f"(default {Options.accounts})")
    parser.add_argument("--rate", type=float, default=Options.rate, help=f"events a second (default {Options.rate:g})")
    parser.add_argument("--every", type=float, default=Options.every_s, help=f"seconds from fault to fault (default {Options.every_s:g})")
    parser.add_argument("--policy", type=Path, default=POLICY, help="that decides (default: the benchmark's simple one)")
    parser.add_argument(
        "--clock",
        choices=("records", "wall"),
        default=Options.clock,
        help="what a shard that has read everything goes by; wall: the customers' past is late as soon as that is so (default records)",
    )
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(SEEDS) if asked.seed is None else asked.seed
    directory = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    whole = (asked.accounts, asked.rate, asked.every)
    return Options(seed, asked.minutes * 60, directory, *whole, policy=asked.policy, clock=asked.clock), asked.json


def main() -> int:
    """See above."""
    asked, as_json = options()
    console = Console(stderr=True)
    console.print(f"seed {asked.seed}", highlight=False)
    try:
        with told(console) as (tell, show):
            report = run(asked, tell, show)
    except KeyboardInterrupt:
        shutil.rmtree(asked.directory)
        console.print(f"interrupted; again: --seed {asked.seed}", highlight=False)
        return 130
    except Exception as error:
        if not isinstance(error, EngineError):
            traceback.print_exc()
        console.print(f"could not run: {error!r}; everything is in {asked.directory}; again: --seed {asked.seed}", markup=False)
        return 2
    print(json.dumps(report.plain(), ensure_ascii=False) if as_json else "\n".join(report.lines()))
    if report.violations:
        return 1
    shutil.rmtree(asked.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
