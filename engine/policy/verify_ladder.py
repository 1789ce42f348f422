"""Steps over the score, lowest first, with margins: bands of limits and tiers of rates stand by the same rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from engine.policy.document import Band, RateTier
from engine.policy.errors import Path, Problem
from engine.policy.verify_measures import repeated_names


def ladder_problems(steps: Sequence[Band | RateTier], path: Path, kind: str) -> Iterator[Problem]:
    """What is wrong with the names, lower bounds and margins of the steps; ``kind`` is what one is called."""
    yield from repeated_names([step.name for step in steps], path)
    lowest = steps[0]
    if lowest.lower is not None:
        yield Problem((*path, 0, "lower"), f"the lowest {kind} has no lower: it takes every score below the second")
    for margin in ("up_margin", "down_margin"):
        if getattr(lowest, margin):
            yield Problem((*path, 0, margin), f"the lowest {kind} has no bound, so no margin either", "leave it out")
    for i, (below, step) in enumerate(pairwise(steps), 1):
        yield from _neighbour_problems(below, step, (*path, i), kind)


def _neighbour_problems(below: Band | RateTier, step: Band | RateTier, path: Path, kind: str) -> Iterator[Problem]:
    """A step and the next lower one: who rises must be able to enter either, and who falls out of the upper one must land in the lower."""
    if step.lower is None:
        yield Problem((*path, "lower"), f"is missing: only the lowest {kind} has none")
    elif below.lower is None:
        return
    elif step.lower <= below.lower:
        yield Problem((*path, "lower"), f"{step.lower} is not above {below.lower}: {kind}s must ascend")
    else:
        leaves, enters, enters_below = step.lower - step.down_margin, step.lower + step.up_margin, below.lower + below.up_margin
        if leaves <= below.lower:
            message = (
                f"an account leaves {step.name!r} below {leaves} only, so never falls into {below.name!r}, which begins at {below.lower}"
            )
            yield Problem((*path, "down_margin"), message, f"at most {step.lower - below.lower - 1}")
        if enters <= enters_below:
            message = f"who rises enters {step.name!r} at {enters}, not later than {below.name!r} at {enters_below}"
            yield Problem((*path, "up_margin"), message, f"at least {enters_below - step.lower + 1}, or a smaller one below")
