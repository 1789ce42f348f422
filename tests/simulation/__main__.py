"""Runs seeds of the simulation on every core: ``scripts/test --simulate``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.test_simulation import told
from tests.simulation.world import run

SEEDS = 5_000
TOLD_EVERY = 500


def main() -> int:
    """1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="scripts/test --simulate", description="Runs of the commit protocol with everything that can fail."
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many (default {SEEDS})")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="this one alone, with the log of its workers")
    asked = parser.parse_args()
    if asked.seed is not None:
        return replay(asked.seed)
    counts: Counter[str] = Counter()
    began, failed = time.monotonic(), 0
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for done, report in enumerate(pool.map(run, range(asked.first, asked.first + asked.seeds), chunksize=10), 1):
            counts.update(report.counts)
            if report.violation:
                failed += 1
                print(told(report), flush=True)
            if done % TOLD_EVERY == 0 or done == asked.seeds:
                print(f"{done} seeds, {failed} bad, {done / (time.monotonic() - began):.1f} a second", flush=True)
    print("on average:", ", ".join(f"{name} {count / asked.seeds:.2f}" for name, count in sorted(counts.items())))
    return 1 if failed else 0


def replay(seed: int) -> int:
    """One seed, with all that its workers say."""
    report = run(seed, is_told=True)
    for said in report.log:
        print(*(f"{name}={value}" for name, value in said.items()))
    print(dict(report.counts))
    print(told(report) if report.violation else f"seed {seed}: nothing is wrong")
    return 1 if report.violation else 0


if __name__ == "__main__":
    sys.exit(main())
