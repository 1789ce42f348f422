"""A random valid policy: features first, and for each the measures it needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any, Final

from engine.policy.document import Policy
from tests.generate.words import (
    AMOUNTS,
    DATES,
    EVENT_NUMBERS,
    EVENT_WORDS,
    FIGURE_WORDS,
    NUMBERS,
    START,
    WORDS,
)

Plain = dict[str, Any]

OFFSETS_MINUTES: Final = (0, 0, 480, 480, 345, -210, -720, 840)
FEATURE_KINDS: Final = (
    *("total", "average", "ratio", "share", "share_above", "days_since", "trend", "active_months", "regularity"),
    *("distinct", "utilisation", "days_past_due", "profile", "completeness", "tenure"),
)
COUNTED: Final = ("count", "sum")


def random_policy(random: Random, features: int) -> Policy:
    """A valid policy with so many features."""
    return Policy.from_plain(_Writer(random).policy(features))


class _Writer:
    """Writes one policy; ``measures`` grows with what the features need."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.measures: list[Plain] = []
        self.features: list[Plain] = []

    def chance(self, percent: int) -> bool:
        """True in about so many of a hundred calls."""
        return self.random.randint(0, 99) >= 100 - percent

    def some(self, items: tuple[str, ...], at_most: int) -> list[str]:
        """At least one of the items, at most so many, in any order."""
        return self.random.sample(items, self.random.randint(1, min(at_most, len(items))))

    def policy(self, features: int) -> Plain:
        kinds = self.random.sample(FEATURE_KINDS, min(features, len(FEATURE_KINDS)))
        kinds += [self.random.choice(FEATURE_KINDS) for _ in range(features - len(kinds))]
        for number, kind in enumerate(kinds):
            feature = self.feature(kind)
            self.features.append({"name": f"f{number}_{kind}", "kind": kind, **feature})
        if not self.measures:
            self.measure(COUNTED, "day")
        names = self.random.choice((["individual"], ["individual"], ["enterprise"], ["individual", "enterprise"]))
        needs_profile = not self.chance(25)
        return {
            "policy": "generated",
            "version": 1,
            "currency": "CNY",
            "utc_offset_minutes": self.random.choice(OFFSETS_MINUTES),
            "needs_profile": needs_profile,
            "default_segment": self.random.choice(names),
            "too_far_ahead_seconds": self.random.choice((0, 300, 86_400)),
            "evidence_months": 60,
            "arrears": self.arrears(),
            "measures": self.measures,
            "features": self.features,
            "segments": [self.segment(name, needs_profile=needs_profile) for name in names],
        }

    # Measures

    def measure(self, kinds: tuple[str, ...], tile: str) -> str:
        """Name of a measure of one of these kinds: one that is there already, or a new one."""
        known = [m["name"] for m in self.measures if m["kind"] in kinds and m["tile"] == tile]
        if known and self.chance(35):
            return str(self.random.choice(known))
        kind = self.random.choice(kinds)
        event = self.random.choice(tuple(EVENT_WORDS))
        measure: Plain = {"name": f"m{len(self.measures)}_{kind}", "event": event, "kind": kind, "tile": tile}
        if kind in ("sum", "max", "balance") and self.chance(50):
            measure["of"] = self.random.choice(EVENT_NUMBERS[event])
        if kind == "distinct":
            measure["of"] = self.random.choice(EVENT_WORDS[event])
            if self.chance(50):
                measure["closed_set"] = self.some(WORDS[measure["of"]], 8)
        measure["where"] = [self.condition(event) for _ in range(self.random.choice((0, 0, 1, 1, 2)))]
        if kind in ("sum", "balance") and self.chance(40):
            measure["minus"] = [self.condition(event) for _ in range(self.random.choice((1, 1, 2)))]
        if self.chance(20):
            measure["utc_offset_minutes"] = self.random.choice(OFFSETS_MINUTES)
        if self.chance(12):
            measure["added_at"] = self.instant()
        self.measures.append(measure)
        return str(measure["name"])

    def instant(self) -> str:
        """An RFC 3339 instant around the beginning of the logs."""
        moment = datetime.fromtimestamp(START // 1000, UTC) + timedelta(hours=self.random.randint(-1000, 2000))
        if self.chance(50):
            return moment.strftime("%Y-%m-%dT%H:%M:%S.250Z")
        return moment.astimezone(timezone(timedelta(minutes=self.random.choice(OFFSETS_MINUTES)))).isoformat()

    def condition(self, event: str) -> Plain:
        kind = self.random.choice(("in", "in", "not_in", "number", "hour"))
        if kind == "hour":
            return {"field": "local_hour", "from": self.random.randint(0, 23), "to": self.random.randint(0, 23)}
        if kind == "number":
            field = self.random.choice(EVENT_NUMBERS[event])
            bounds = (-3, 0, 1, 10) if field == "days_late" else AMOUNTS
            test: Plain = {"field": field}
            low, high = sorted((self.random.choice(bounds), self.random.choice(bounds)))
            sides = self.random.choice(("low", "high", "both"))
            if sides != "high":
                test["at_least"] = low
            if sides != "low":
                test["at_most"] = high
            return test
        field = self.random.choice(EVENT_WORDS[event])
        return {"field": field, kind: self.some(WORDS[field], 4)}

    # Features

    def window(self) -> tuple[Plain, str]:
        """A window and the tile of the measures under it."""
        window: Plain = {"when_partial": "missing"} if self.chance(30) else {}
        if self.chance(35):
            return {**window, "window_hours": self.random.choice((1, 2, 6, 24, 48))}, "hour"
        return {**window, "window_days": self.random.choice((1, 2, 3, 7, 30, 30, 60, 90, 180, 365))}, "day"

    def feature(self, kind: str) -> Plain:
        """A feature without name and kind."""
        window, tile = self.window()
        scale: Plain = {"scale": self.random.choice((1, 100, 1000))} if self.chance(60) else {}
        match kind:
            case "total":
                if self.chance(25):
                    return {"measure": self.measure(("balance",), "day")}
                return {**window, "measure": self.measure((*COUNTED, "max"), tile)}
            case "average":
                return {**window, "sum": self.measure(("sum",), tile), "count": self.measure(("count",), tile)}
            case "ratio" | "share":
                first, second = ("numerator", "denominator") if kind == "ratio" else ("part", "whole")
                return {**window, **scale, first: self.measure(COUNTED, tile), second: self.measure(COUNTED, tile)}
            case "share_above":
                amount = self.random.choice((1, 10_000, 50_000))
                return {**window, **scale, "measure": self.measure(COUNTED, tile), "amount_minor": amount}
            case "days_since":
                return {"measure": self.measure(("last_seen",), "day")}
            case "trend":
                return {**window, **scale, "measure": self.measure(COUNTED, tile)}
            case "active_months" | "regularity":
                window = {key: value for key, value in window.items() if key == "when_partial"}
                scale = scale if kind == "regularity" else {}
                months = self.random.choice((2, 3, 6, 12))
                return {**window, **scale, "measure": self.measure(COUNTED, "day"), "window_months": months}
            case "distinct":
                return {**window, "measure": self.measure(("distinct",), tile)}
            case "utilisation":
                return scale
            case "profile":
                figures = (*NUMBERS, *DATES)
                per = {"per": self.random.choice(tuple(NUMBERS)), **scale} if self.chance(40) else {}
                return {"figure": self.random.choice(figures), **per}
            case "completeness":
                return {"figures": self.some((*NUMBERS, *DATES, *FIGURE_WORDS), 12)}
            case _:
                return {}

    def bounds(self, feature: Plain) -> tuple[int, ...]:
        """Lower bounds that values of a feature do cross."""
        scale = feature.get("scale", 1 if feature["kind"] == "profile" else 100)
        match feature["kind"]:
            case "total":
                kind = next(m["kind"] for m in self.measures if m["name"] == feature["measure"])
                return (1, 2, 3, 5, 8) if kind == "count" else (-10_000, 0, 1, 3, 10_000, 60_000, 200_000)
            case "average":
                return (0, 1, 5_000, 20_000, 60_000)
            case "ratio" | "share" | "share_above" | "trend" | "regularity" | "utilisation":
                return tuple(scale * percent // 100 for percent in (1, 20, 50, 90, 100, 300))
            case "days_since" | "days_past_due":
                return (1, 3, 10, 30, 60)
            case "active_months" | "distinct":
                return (1, 2, 3, 5)
            case "completeness":
                return (1, 25, 50, 75, 100)
            case "tenure":
                return (-1, 0, 30, 365)
            case _:
                if "per" in feature:
                    return (scale // 10, scale // 2, scale, 3 * scale)
                if feature["figure"] in DATES:
                    return (20_400, 20_500, 20_560)
                low, high = NUMBERS[feature["figure"]]
                return tuple(range(low, high + 1, max(1, (high - low) // 5)))

    # Segments

    def arrears(self) -> Plain:
        return {
            "grace_days": self.random.choice((0, 0, 1, 3, 10)),
            "tolerance_minor": self.random.choice((0, 0, 100, 5_000)),
            "cure_days": self.random.choice((0, 1, 10, 30)),
            "bucket_lower_days": self.random.choice(([1, 30, 60, 90], [1, 5, 10, 20], [4, 8, 9, 40])),
            "block_drawing_from_bucket": self.random.choice((1, 2, 2, 4)),
            "limit_to_exposure_from_bucket": self.random.choice((1, 3, 4, 4)),
        }

    def segment(self, name: str, *, needs_profile: bool) -> Plain:
        scored = self.random.sample(self.features, self.random.randint(1, len(self.features)))
        unit = self.random.choice((1_000, 10_000, 50_000))
        bands = self.bands(unit)
        segment: Plain = {
            "name": name,
            "eligibility": [self.requirement(n) for n in range(self.random.choice((0, 0, 1, 2)))],
            "base_points": self.random.choice((0, 450)),
            "scorecard": [self.characteristic(feature) for feature in scored],
            "bands": bands,
            "limits": self.limits(unit, bands[-1]["limit_minor"]),
            "cool_down": {"up_days": self.random.choice((0, 0, 7, 30)), "down_days": self.random.choice((0, 0, 7, 30))},
        }
        for band in bands[1:]:
            band["lower"] += segment["base_points"]
        if self.chance(30 if needs_profile else 75):
            band = self.random.choice(bands)
            limit = self.random.choice((0, band["limit_minor"], bands[-1]["limit_minor"]))
            segment["initial_standing"] = {"limit_minor": limit, "band": band["name"]}
        return segment

    def characteristic(self, feature: Plain) -> Plain:
        bounds = self.bounds(feature)
        chosen = sorted(set(self.random.sample(bounds, self.random.randint(1, min(4, len(bounds))))))
        bins: list[Plain] = [{"points": self.points()}]
        bins += [{"at_least": bound, "points": self.points()} for bound in chosen]
        return {"feature": feature["name"], "bins": bins, "missing": self.points()}

    def points(self) -> int:
        return self.random.randint(-12, 12) * 5

    def bands(self, unit: int) -> list[Plain]:
        """Bands with lower bounds around 0."""
        bands: list[Plain] = [{"name": "band0", "limit_minor": self.random.choice((0, 0, unit))}]
        lower = -self.random.randint(0, 12) * 5
        for number in range(1, self.random.randint(2, 6)):
            limit = bands[-1]["limit_minor"] + unit * self.random.randint(1, 4) + self.random.choice((0, 0, 77))
            up, down = self.random.choice((0, 0, 3, 10)), self.random.choice((0, 0, 3, 10))
            band = {"name": f"band{number}", "lower": lower, "up_margin": up, "down_margin": down, "limit_minor": limit}
            bands.append(band)
            lower += self.random.randint(3, 8) * 5
        return bands

    def limits(self, unit: int, highest: int) -> Plain:
        limits: Plain = {
            "product_cap_minor": self.random.choice((highest, 2 * highest, highest - highest // 3)),
            "legal_cap_minor": self.random.choice((10 * highest, 10 * highest, highest, highest // 2)),
            "round_to_minor": self.random.choice((1, 100, 1_000, 7_000)),
            "minimum_change_minor": self.random.choice((1, 1, unit, 2 * unit)),
        }
        if self.chance(30):
            unknown_income = self.random.choice((0, highest // 2, highest))
            limits["income_cap"] = {
                "multiple_percent": self.random.choice((50, 100, 300)),
                "unknown_income_minor": unknown_income,
            }
        if self.chance(30):
            limits["related_cap_minor"] = self.random.choice((highest // 2, highest, 2 * highest))
        if self.chance(30):
            limits["step_up_minor"] = self.random.choice((unit // 3, unit, 2 * unit))
        if self.chance(30):
            limits["step_down_minor"] = self.random.choice((unit // 3, unit, 2 * unit))
        return limits

    def requirement(self, number: int) -> Plain:
        requirement: Plain = {"code": f"rule{number}", "unknown": self.random.choice(("fail", "pass", "pass"))}
        match self.random.choice(("feature", "word", "status", "number", "date")):
            case "feature":
                feature = self.random.choice(self.features)
                side = self.random.choice(("at_least", "at_most"))
                return {**requirement, "feature": feature["name"], side: self.random.choice(self.bounds(feature))}
            case "word":
                figure = self.random.choice(("employment", "income_proof", "jurisdiction"))
                return {**requirement, "figure": figure, "in": self.some(FIGURE_WORDS[figure], 2)}
            case "status":
                return {**requirement, "figure": "status", "in": ["active", "dormant"]}
            case "number":
                figure = self.random.choice(tuple(NUMBERS))
                low, high = NUMBERS[figure]
                if self.chance(50):
                    return {**requirement, "figure": figure, "at_least": low + (high - low) // 4}
                return {**requirement, "figure": figure, "at_most": high - (high - low) // 4}
            case _:
                side, days = self.random.choice((("min_age_days", -5), ("min_age_days", 3), ("max_age_days", 0), ("max_age_days", 60)))
                return {**requirement, "figure": self.random.choice(DATES), side: days}
