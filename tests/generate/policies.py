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
    *("distinct", "newly_seen", "reaching", "concentration", "utilisation", "days_past_due", "profile", "completeness", "tenure"),
)
COUNTED: Final = ("count", "sum")
NETTED: Final = ("count", "sum", "max", "distinct", "balance", "top")
FREE_WORDS: Final = ("category", "channel", "product", "merchant_id", "counterparty_id")
WORDED_EVENTS: Final = tuple(event for event, words in EVENT_WORDS.items() if words)
TOP_EVENTS: Final = ("repayment", "purchase", "transfer", "transfer")


def random_policy(random: Random, features: int) -> Policy:
    """A valid policy with so many features."""
    return Policy.from_plain(_Writer(random).policy(features))


def braked(policy: Policy) -> Policy:
    """A policy with both brakes in every segment."""
    plain = policy.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    for segment in plain["segments"]:
        limits = [band["limit_minor"] for band in segment["bands"]]
        segment["brakes"] = random_brakes(Random(f"both brakes {limits}"), limits)
    return Policy.from_plain(plain)


def random_brakes(random: Random, limits: list[int]) -> Plain:
    """A budget of less than a rise, of one or of two, and a breaker that trips soon, by the limits of bands."""
    low, high = limits[1], limits[-1]
    budget = random.choice((low // 2, low, high, high + low, 2 * high)) + random.choice((-1, 0, 0))
    return {"budget_minor": budget, "breaker": {"percent": random.randint(1, 60), "min_evaluations": random.randint(1, 20)}}


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
        policy: Plain = {
            "policy": "generated",
            "version": 1,
            "currency": "CNY",
            "utc_offset_minutes": self.random.choice(OFFSETS_MINUTES),
            "needs_profile": needs_profile,
            "default_segment": self.random.choice(names),
            **({"reconcile_hours": self.random.choice((0, 2, 48))} if self.chance(60) else {}),
            "too_far_ahead_seconds": self.random.choice((0, 300, 86_400)),
            "evidence_months": 60,
            "arrears": self.arrears(),
            "measures": self.measures,
            "features": self.features,
            "segments": [self.segment(name, needs_profile=needs_profile) for name in names],
        }
        self.advise(policy)  # last, so that all else of a policy is the same with and without
        return policy

    def advise(self, policy: Plain) -> None:
        """Let customers move some features, and name the languages now and then."""
        for feature in self.features:
            if self.chance(60):
                direction, value = self.random.choice((("raise", "{at_least}"), ("lower", "{below}")))
                feature["advice"] = {"direction": direction, "text": {"zh": f"{feature['name']}：{value}", "en": value}}
        if self.chance(30):
            policy["languages"] = ["zh", "en"]

    # Measures

    def measure(self, kinds: tuple[str, ...], tile: str) -> str:
        """Name of a measure of one of these kinds: one that is there already, or a new one."""
        known = [m["name"] for m in self.measures if m["kind"] in kinds and m["tile"] == tile]
        if known and self.chance(35):
            return str(self.random.choice(known))
        kind = self.random.choice(kinds)
        events = {"top": TOP_EVENTS, "distinct": WORDED_EVENTS}.get(kind, tuple(EVENT_WORDS))
        event = self.random.choice(events)
        net_of = self.trips() if kind in NETTED and event == "transfer" and self.chance(40) else None
        since = self.measure(("last_seen",), "day") if kind != "last_seen" and net_of is None and self.chance(25) else None
        measure: Plain = {"name": f"m{len(self.measures)}_{kind}", "event": event, "kind": kind, "tile": tile}
        if kind == "top":
            words = [word for word in EVENT_WORDS[event] if word in FREE_WORDS]
            measure["of"] = self.random.choice(words) if net_of is None else "counterparty_id"
            measure["half_life_days"] = self.random.choice((1, 7, 30, 90))
        if kind in ("sum", "max", "balance") and self.chance(50):
            measure["of"] = self.random.choice(EVENT_NUMBERS[event])
        if kind == "distinct":
            measure["of"] = self.random.choice(EVENT_WORDS[event])
            if self.chance(50):
                measure["closed_set"] = self.some(WORDS[measure["of"]], 8)
        fields = tuple(EVENT_WORDS[event]) if net_of is None else ("direction", "purpose", "counterparty_id")
        measure["where"] = [self.condition(event, fields) for _ in range(self.random.choice((0, 0, 1, 1, 2)))]
        if kind in ("sum", "balance") and self.chance(40):
            measure["minus"] = [self.condition(event, fields) for _ in range(self.random.choice((1, 1, 2)))]
        if net_of is not None:
            measure["net_of"] = net_of
        if since is not None:
            self.random.choice([measure["where"], measure.get("minus", measure["where"])]).append(self.since(since))
        if self.chance(20):
            measure["utc_offset_minutes"] = self.random.choice(OFFSETS_MINUTES)
        if self.chance(12):
            measure["added_at"] = self.instant()
        self.measures.append(measure)
        return str(measure["name"])

    def trips(self) -> str:
        """Name of a round_trips measure: one that is there already, or a new one."""
        known = [m["name"] for m in self.measures if m["kind"] == "round_trips"]
        if known and self.chance(80):
            return str(self.random.choice(known))
        trips: Plain = {"name": f"m{len(self.measures)}_round_trips", "event": "transfer", "kind": "round_trips", "tile": "day"}
        trips["within_days"] = self.random.choice((1, 3, 7, 30))
        trips["where"] = [self.condition("transfer", EVENT_WORDS["transfer"]) for _ in range(self.random.choice((0, 0, 0, 1)))]
        self.measures.append(trips)
        return str(trips["name"])

    def since(self, last_seen: str) -> Plain:
        """A condition on the time since something was seen."""
        field, bounds = self.random.choice((("days_since", (-1, 0, 1, 3, 30)), ("hours_since", (0, 1, 24, 72))))
        low, high = sorted((self.random.choice(bounds), self.random.choice(bounds)))
        sides = self.random.choice(({"at_least": low}, {"at_most": high}, {"at_least": low, "at_most": high}))
        return {"field": field, "of": last_seen, **sides}

    def instant(self) -> str:
        """An RFC 3339 instant around the beginning of the logs."""
        moment = datetime.fromtimestamp(START // 1000, UTC) + timedelta(hours=self.random.randint(-1000, 2000))
        if self.chance(50):
            return moment.strftime("%Y-%m-%dT%H:%M:%S.250Z")
        return moment.astimezone(timezone(timedelta(minutes=self.random.choice(OFFSETS_MINUTES)))).isoformat()

    def condition(self, event: str, fields: tuple[str, ...]) -> Plain:
        kind = self.random.choice(("in", "in", "not_in", "number", "hour") if fields else ("number", "number", "hour"))
        if kind == "hour":
            return {"field": "local_hour", "from": self.random.randint(0, 23), "to": self.random.randint(0, 23)}
        if kind == "number":
            field = self.random.choice(EVENT_NUMBERS[event])
            bounds = {"days_late": (-3, 0, 1, 10), "utilisation_percent": (0, 1, 50, 90, 101)}.get(field, AMOUNTS)
            test: Plain = {"field": field}
            low, high = sorted((self.random.choice(bounds), self.random.choice(bounds)))
            sides = self.random.choice(("low", "high", "both"))
            if sides != "high":
                test["at_least"] = low
            if sides != "low":
                test["at_most"] = high
            return test
        field = self.random.choice(fields)
        return {"field": field, kind: self.some(WORDS[field], 4)}

    # Features

    def window(self) -> tuple[Plain, str]:
        """A window and the tile of the measures under it."""
        window: Plain = {"when_partial": "missing"} if self.chance(30) else {}
        if self.chance(30):
            return {**window, "window_hours": self.random.choice((1, 2, 6, 24, 48))}, "hour"
        if self.chance(20):
            return {**window, "window_weeks": self.random.choice((1, 2, 4, 9, 26))}, "week"
        return {**window, "window_days": self.random.choice((1, 2, 3, 7, 30, 30, 60, 90, 180, 365))}, "day"

    def feature(self, kind: str) -> Plain:
        """A feature without name and kind."""
        window, tile = self.window()
        scale: Plain = {"scale": self.random.choice((1, 100, 1000))} if self.chance(60) else {}
        match kind:
            case "total":
                per: Plain = {"per": self.random.choice(tuple(NUMBERS)), **scale} if self.chance(30) else {}
                if self.chance(25):
                    return {**per, "measure": self.measure(("balance",), "day")}
                given = {"given": self.measure(COUNTED, tile)} if self.chance(30) else {}
                return {**window, **per, **given, "measure": self.measure((*COUNTED, "max"), tile)}
            case "average":
                return {**window, "sum": self.measure(("sum",), tile), "count": self.measure(("count",), tile)}
            case "ratio" | "share":
                first, second = ("numerator", "denominator") if kind == "ratio" else ("part", "whole")
                return {**window, **scale, first: self.measure(COUNTED, tile), second: self.measure(COUNTED, tile)}
            case "share_above":
                amount = self.random.choice((1, 10_000, 50_000))
                return {**window, **scale, "measure": self.measure(COUNTED, tile), "amount_minor": amount}
            case "days_since":
                if self.chance(30):
                    return {"figure": self.random.choice(DATES)}
                return {"measure": self.measure(("last_seen",), "day")}
            case "trend":
                return {**window, **scale, "measure": self.measure((*COUNTED, "max"), tile)}
            case "newly_seen":
                before = {f"before_{tile}s": self.random.choice((1, 7, 60))}
                return {**window, **before, "measure": self.measure(("distinct",), tile)}
            case "reaching":
                listed = dict.fromkeys(self.measure(COUNTED, tile) for _ in range(self.random.choice((1, 3, 6))))
                if len({m.get("utc_offset_minutes") for m in self.measures if m["name"] in listed}) > 1:
                    window.pop("when_partial", None)  # such windows begin at different times, which ``verify`` forbids
                return {**window, "measures": list(listed), "at_least": self.random.choice((1, 2, 10_000, 100_000))}
            case "concentration":
                return {**scale, "measure": self.measure(("top",), "day")}
            case "active_months" | "regularity":
                window = {key: value for key, value in window.items() if key == "when_partial"}
                scale = scale if kind == "regularity" else {}
                months = self.random.choice((2, 3, 6, 12))
                if self.chance(40):
                    return {**window, **scale, "measure": self.measure(COUNTED, "week"), "window_weeks": 4 * months}
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
            case "total" if "per" in feature:
                scale = feature.get("scale", 1)
                return (0, 1, scale // 10, scale // 2, scale, 3 * scale)
            case "total":
                kind = next(m["kind"] for m in self.measures if m["name"] == feature["measure"])
                return (1, 2, 3, 5, 8) if kind == "count" else (-10_000, 0, 1, 3, 10_000, 60_000, 200_000)
            case "average":
                return (0, 1, 5_000, 20_000, 60_000)
            case "ratio" | "share" | "share_above" | "trend" | "regularity" | "utilisation" | "concentration":
                return tuple(scale * percent // 100 for percent in (1, 20, 50, 90, 100, 300))
            case "days_since" | "days_past_due":
                return (1, 3, 10, 30, 60)
            case "active_months" | "distinct" | "newly_seen" | "reaching":
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
            "eligibility": [self.requirement(code) for code in self.codes((0, 0, 0, 1, 2, 3))],
            "base_points": self.random.choice((0, 450)),
            "scorecard": [self.characteristic(feature) for feature in scored],
            "bands": bands,
            "limits": self.limits(unit, bands[-1]["limit_minor"]),
            "cool_down": {"up_days": self.random.choice((0, 0, 7, 30)), "down_days": self.random.choice((0, 0, 7, 30))},
            "increases": self.increases(),
            "notices": {"decrease_days": self.random.choice((0, 0, 3)), "advisory_days": self.random.choice((1, 3, 30))},
            "commands": self.commands(unit),
            "protection": self.protection(),
        }
        segment["appetite"] = self.appetite(bands)
        segment |= self.brakes(bands)
        if self.chance(50):
            segment["rates"] = self.rates(segment["base_points"])
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

    @staticmethod
    def appetite(bands: list[Plain]) -> Plain:
        """Bad bands first when it contracts, good ones when it expands, each by the less the better or worse it is: so no limit falls behind.
        Chance is that of the bands alone."""
        random, names = Random(str(bands)), [band["name"] for band in bands]
        down, up = random.randint(0, len(bands)), random.randint(0, len(bands))
        percents, days = sorted(random.choices((0, 30, 50, 77, 100), k=down)), sorted(random.choices((0, 0, 3, 20), k=down))
        contraction = [{"band": b, "percent": p, "after_days": d} for b, p, d in zip(names, percents, days, strict=False)]
        raised, days = sorted(random.choices((100, 110, 133, 200), k=up)), sorted(random.choices((0, 0, 3, 20), k=up), reverse=True)
        expansion = [{"band": b, "percent": p, "after_days": d} for b, p, d in zip(names[len(names) - up :], raised, days, strict=False)]
        return {"contraction": random.sample(contraction, len(contraction)), "expansion": expansion}

    @staticmethod
    def brakes(bands: list[Plain]) -> Plain:
        """A budget, a breaker, both or, most often, none. Chance is that of the bands alone."""
        random = Random(f"brakes {bands}")
        brakes = random_brakes(random, [band["limit_minor"] for band in bands])
        has = random.choice((set(), set(), {"budget_minor"}, {"breaker"}, {"budget_minor", "breaker"}))
        return {"brakes": {name: brake for name, brake in brakes.items() if name in has}} if has else {}

    def increases(self) -> Plain:
        increases: Plain = {
            "consent": self.random.choice(("needed", "needed", "not_needed")),
            "unsolicited_offers": self.chance(75),
            "offer_days": self.random.choice((1, 10, 10)),
            "offer_rest_days": self.random.choice((0, 0, 1, 5)),
        }
        if self.chance(30):
            first = self.random.randint(0, 23)
            increases["quiet_hours"] = {"from": first, "to": (first + self.random.choice((0, 1, 4, 8, 8))) % 24}
        return increases

    def commands(self, unit: int) -> Plain:
        commands: Plain = {"longest_days": self.random.choice((1, 10, 30, 366))}
        if self.chance(40):
            commands["second_person_from_minor"] = self.random.choice((0, unit, 4 * unit))
        return commands

    def protection(self) -> Plain:
        protection: Plain = {"over_borrowing": [self.test(code) for code in self.codes((0, 0, 0, 1, 2))]}
        if self.chance(35):
            signals = [{**self.test(code), "points": self.random.choice((1, 2, 3))} for code in self.codes((1, 2, 3))]
            protection["takeover"] = {
                "freeze_from": self.random.choice((1, 2, 3, 4)),
                "rest_days": self.random.choice((0, 1, 7)),
                "signals": signals,
            }
        return protection

    def rates(self, base_points: int) -> Plain:
        """Tiers with lower bounds around the base points, the better the cheaper."""
        tiers: list[Plain] = [{"name": "tier0", "yearly_rate_bp": 2_400}]
        lower = base_points - self.random.randint(0, 8) * 5
        for number in range(1, self.random.randint(2, 3)):
            up, down = self.random.choice((0, 0, 3, 10)), self.random.choice((0, 0, 3, 10))
            rate = 2_400 - 600 * number
            tiers.append({"name": f"tier{number}", "lower": lower, "up_margin": up, "down_margin": down, "yearly_rate_bp": rate})
            lower += self.random.randint(3, 8) * 5
        example = {"draw_minor": 100_000, "term_months": 12, "plan": "equal_instalments", "accrual": "monthly"}
        return {"tiers": tiers, "rise_notice_days": self.random.choice((0, 2, 5)), "example": example}

    # Tests

    def codes(self, counts: tuple[int, ...]) -> list[str]:
        """So many codes, not in the order of the alphabet."""
        return self.random.sample(("rule_a", "rule_b", "rule_c"), self.random.choice(counts))

    def requirement(self, code: str) -> Plain:
        requirement = self.test(code)
        requirement["unknown"] = self.random.choice(("fail", "pass", "pass"))
        if self.chance(60):
            requirement["guard"] = self.random.choice(("identity_lapsed", "ability_not_fresh", "over_indebted"))
        return requirement

    def test(self, code: str) -> Plain:
        """A test of a figure or a feature."""
        test: Plain = {"code": code, "unknown": self.random.choice(("fail", "fail", "pass"))}
        match self.random.choice(("feature", "word", "status", "number", "date")):
            case "feature":
                feature = self.random.choice(self.features)
                side = self.random.choice(("at_least", "at_most"))
                return {**test, "feature": feature["name"], side: self.random.choice(self.bounds(feature))}
            case "word":
                figure = self.random.choice(("employment", "income_proof", "jurisdiction"))
                return {**test, "figure": figure, "in": self.some(FIGURE_WORDS[figure], 2)}
            case "status":
                return {**test, "figure": "status", "in": ["active", "dormant"]}
            case "number":
                figure = self.random.choice(tuple(NUMBERS))
                low, high = NUMBERS[figure]
                if self.chance(50):
                    return {**test, "figure": figure, "at_least": low + (high - low) // 4}
                return {**test, "figure": figure, "at_most": high - (high - low) // 4}
            case _:
                side, days = self.random.choice((("min_age_days", -5), ("min_age_days", 3), ("max_age_days", 0), ("max_age_days", 60)))
                return {**test, "figure": self.random.choice(DATES), side: days}
