"""Rates: tiers over the score, and an example that every tier can price."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from engine.policy.cost import example_cost
from engine.policy.document import Rates
from engine.policy.errors import Path, Problem
from engine.policy.verify_ladder import ladder_problems


def rates_problems(rates: Rates, path: Path) -> Iterator[Problem]:
    """What is wrong with the rates of a segment."""
    tiers = (*path, "tiers")
    yield from ladder_problems(rates.tiers, tiers, "tier")
    for i, (below, tier) in enumerate(pairwise(rates.tiers), 1):
        if tier.yearly_rate_bp > below.yearly_rate_bp:
            message = (
                f"{tier.yearly_rate_bp} is above the rate of the tier before, {below.yearly_rate_bp}: a better score never raises a rate"
            )
            yield Problem((*tiers, i, "yearly_rate_bp"), message)
    for tier in rates.tiers:
        try:
            example_cost(rates.example, tier)
        except ValueError as error:
            yield Problem((*path, "example"), f"has no annual rate in tier {tier.name!r}: {error}")
            return
