"""Policies whose score looks at the limit itself, so that one move of the limit may be the cause of the next."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from engine.policy.document import Policy

Plain = dict[str, Any]

USED: Final = {"name": "used", "kind": "utilisation"}
GRADE: Final = {"name": "grade", "kind": "profile", "figure": "attributes.grade"}


def policy_of(**segment: Any) -> Policy:
    """A policy of one segment whose score is utilisation and a grade, if it says nothing else."""
    whole: Plain = {
        "name": "individual",
        "base_points": 0,
        "scorecard": [{"feature": "used", "bins": [{"points": 0}, {"at_least": 50, "points": 20}], "missing": 0}],
        "bands": [{"name": "low", "limit_minor": 1000}, {"name": "high", "lower": 10, "limit_minor": 3000}],
        "limits": {"product_cap_minor": 9000, "legal_cap_minor": 9000, "round_to_minor": 100},
        "cool_down": {"up_days": 0, "down_days": 0},
    }
    return Policy.from_plain(
        {
            "policy": "swinging",
            "version": 1,
            "currency": "CNY",
            "measures": [
                {"name": "peak", "event": "usage", "kind": "max", "of": "utilisation_percent"},
                {"name": "often", "event": "usage", "kind": "count", "where": [{"field": "utilisation_percent", "at_least": 50}]},
                {"name": "rarely", "event": "usage", "kind": "count", "where": [{"field": "utilisation_percent", "at_most": 50}]},
                {"name": "events", "event": "usage", "kind": "count"},
                {"name": "full", "event": "usage", "kind": "last_seen", "where": [{"field": "utilisation_percent", "at_least": 90}]},
                {
                    "name": "bought",
                    "event": "purchase",
                    "kind": "count",
                    "where": [{"field": "days_since", "of": "full", "at_most": 3}],
                },
            ],
            "features": [
                USED,
                {"name": "used_per_mille", "kind": "utilisation", "scale": 1000},
                GRADE,
                {"name": "peak_7d", "kind": "total", "measure": "peak", "window_days": 7},
                {"name": "rarely_7d", "kind": "total", "measure": "rarely", "window_days": 7},
                {"name": "events_7d", "kind": "total", "measure": "events", "window_days": 7},
                {"name": "peak_trend", "kind": "trend", "measure": "peak", "window_days": 7},
                {"name": "often_of_all", "kind": "share", "part": "often", "whole": "events", "window_days": 7},
                {"name": "since_full", "kind": "days_since", "measure": "full"},
                {"name": "bought_full", "kind": "total", "measure": "bought", "window_days": 7},
            ],
            "segments": [whole | segment],
        }
    )


def row(feature: str, *points: int, at: tuple[int, ...] = (50,), missing: int = 0) -> Plain:
    """A row of a scorecard: points below and from each bound on."""
    bins = [{"points": points[0]}, *({"at_least": bound, "points": each} for bound, each in zip(at, points[1:], strict=True))]
    return {"feature": feature, "bins": bins, "missing": missing}


def random_segment(random: Random) -> Plain:
    """A segment in which utilisation moves the score, most often a little."""
    unit = random.choice((1, 1, 10))
    bands: list[Plain] = [{"name": "b0", "limit_minor": random.choice((0, 100, 100))}]
    lower = 0
    for place in range(1, random.randint(2, 4)):
        margins = {"up_margin": random.randint(0, 4), "down_margin": random.randint(0, 4)}
        limit = bands[-1]["limit_minor"] + 10 * random.choice((0, 2, 5, 10, 30))
        bands.append({"name": f"b{place}", "lower": lower, "limit_minor": limit, **margins})
        lower += random.randint(2, 12)
    bounds = sorted(random.sample((1, 10, 25, 40, 50, 60, 80, 95, 100, 120), random.randint(1, 4)))
    used = row("used", *(random.randint(0, 16) for _ in range(len(bounds) + 1)), at=tuple(bounds), missing=random.randint(0, 12))
    limits: Plain = {"product_cap_minor": random.choice((900, 150)), "legal_cap_minor": 1000, "round_to_minor": unit}
    for step in ("step_up_minor", "step_down_minor"):
        limits |= {step: random.choice((20, 50))} if random.random() < 0.3 else {}
    limits |= {"minimum_change_minor": random.choice((10, 20))} if random.random() < 0.3 else {}
    rest = row("grade", 0, random.randint(1, 12), random.randint(1, 12), at=(1, 2))
    return {"base_points": random.randint(-12, 12), "scorecard": [used, rest], "bands": bands, "limits": limits}
