"""Advice is the least that moves the target band, by the kernel's own arithmetic and by trying everything; no order of declaration matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from random import Random
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.layout import CAPS, CAPS_AT, MISSING, VALUES_AT, Bound, Kind, Out
from engine.core.scoring import score_of, step_of
from engine.core.tables import BAND, SEGMENT, Ru, Se
from engine.policy.advice import CHANGES_MAX, MOVES, Adviser, Option, smallest_set
from engine.policy.document import Policy, Segment
from engine.policy.explain import Explainer
from engine.policy.fragments import instant
from engine.policy.outlook import holds_after
from engine.policy.units import spoken, unit_of
from schemas.changes import Advice, Reason
from tests.core.bridge import Kernel
from tests.generate import cases, seeded_log, seeded_policy
from tests.oracle import scoring as oracle
from tests.oracle.decide import Emission, Trace
from tests.oracle.records import Command, Profile, Record
from tests.policy.texts import policy_of

SEEDS: Final = range(200)
RECORDS: Final = 150
TRIED_MAX: Final = 400  # so many sets are tried one by one of a change of a large policy
Case = tuple[Policy, Sequence[Record]]


@dataclass(frozen=True)
class Advised:
    """A change of the limit with what is advised and why it came."""

    kernel: Kernel
    segment: Segment
    row: list[int]
    emission: Emission
    trace: Trace
    account: str
    advice: list[Advice]
    reasons: list[Reason]

    @property
    def policy(self) -> Policy:
        return self.kernel.policy.document

    @property
    def to_do(self) -> dict[str, Advice]:
        return {a.feature: a for a in self.advice if a.feature is not None}

    @property
    def holds(self) -> list[Advice]:
        return [a for a in self.advice if a.feature is None]

    @property
    def band(self) -> int:
        """Place of the target band."""
        return [band.name for band in self.segment.bands].index(self.trace.target_band or "")

    @property
    def values(self) -> dict[str, int | None]:
        return dict(zip((f.name for f in self.policy.features), self.trace.values, strict=True))

    def band_with(self, values: dict[str, int | None]) -> int:
        """Place of the target band that the kernel finds with these values in place of the account's, from the target band on."""
        t = self.kernel.policy.program
        segment = int(t[Ru.SEGMENTS]) + self.row[Out.SEGMENT] * SEGMENT
        vector = np.array([MISSING if value is None else value for value in (self.values | values).values()], np.int64)
        score = score_of(t, segment, vector, np.zeros(len(self.segment.scorecard), np.int64))
        first = int(t[segment + Se.BANDS])
        return (int(step_of(t, first, t[segment + Se.BANDS_END], score, first + self.band * BAND)) - first) // BAND


def advised(case: Case) -> list[Advised]:
    """Every grant, increase and decrease that the kernel makes of a log."""
    policy, log = case
    kernel = Kernel(policy, log)
    adviser, explainer = Adviser(kernel.policy), Explainer(kernel.policy)
    found = []
    for decision in kernel.take(0, len(log), room=1024):
        row = decision.tolist()
        if row[Out.KIND] not in MOVES:
            assert adviser.advise(row) == []
            if row[Out.EVALUATED]:  # what a refused request is told: the same, without what would hold the limit
                as_a_change = [*row[: Out.KIND], Kind.INCREASE, *row[Out.KIND + 1 :]]
                assert adviser.to_do(row) == [advice for advice in adviser.advise(as_a_change) if b'"feature":null' not in advice]
            continue
        trace = kernel.trace(decision)
        segment = next(s for s in policy.segments if s.name == trace.segment)
        account = kernel.accounts[row[Out.SLOT]]
        advice = [Advice.model_validate_json(told) for told in adviser.advise(row)]
        reasons = [Reason.model_validate_json(explainer.texts[number]) for number in explainer.reasons(decision[None])[0] if number >= 0]
        found.append(Advised(kernel, segment, row, kernel.emission(decision), trace, account, advice, reasons))
    return found


def stretched(policy: Policy) -> Policy:
    """The policy with 60 points more between any two of its bands."""

    def wider(segment: Segment) -> Segment:
        bands = [b if b.lower is None else b.model_copy(update={"lower": b.lower + 60 * place}) for place, b in enumerate(segment.bands)]
        return segment.model_copy(update={"bands": tuple(bands)})

    return policy.model_copy(update={"segments": tuple(wider(segment) for segment in policy.segments)})


@pytest.fixture(scope="module")
def seeded() -> list[Advised]:
    """The changes of large cases; every other policy has its bands further apart, so that one thing to do is not enough."""
    policies = [(stretched(seeded_policy(seed)) if seed % 2 else seeded_policy(seed), seed) for seed in SEEDS]
    return [change for policy, seed in policies for change in advised((policy, seeded_log(policy, seed, RECORDS)))]


# The smallest set


def ways(change: Advised) -> list[list[tuple[str, int, int]]]:
    """For each feature that a customer can move: (name, bins crossed, nearest value) of each bin that lies in its direction."""
    features = {feature.name: feature for feature in change.policy.features}
    found = []
    for characteristic, place in zip(change.segment.scorecard, change.trace.bins, strict=True):
        advice, bins = features[characteristic.feature].advice, characteristic.bins
        if advice is None or place == oracle.MISSING_BIN:
            continue
        if advice.direction == "raise":
            bounds = [bins[i].at_least for i in range(place + 1, len(bins))]
            reached = [bound for bound in bounds if bound is not None]
        else:
            bounds = [bins[i].at_least for i in range(place, 0, -1)]
            reached = [bound - 1 for bound in bounds if bound is not None]
        found.append([(characteristic.feature, crossed, value) for crossed, value in enumerate(reached, 1)])
    return found


def sets_of(change: Advised) -> Iterator[tuple[tuple[str, int, int], ...]]:
    """Every set of at most three changes."""
    for size in range(1, 4):
        for chosen in combinations(ways(change), size):
            yield from product(*chosen)


def smallest(change: Advised) -> dict[str, int] | None:
    """The values to reach, found by trying every set and taking the smallest in the words of docs/policy.md §12."""
    working = []
    for steps in sets_of(change):
        score = oracle.score_of(change.segment, change.values | {name: value for name, _, value in steps}).score
        if oracle.target_place(change.segment, score, change.band) > change.band:
            crossed = sum(bins for _, bins, _ in steps)
            order = len(steps), crossed, -score, sorted((name, bins) for name, bins, _ in steps)
            working.append((order, {name: value for name, _, value in steps}))
    return min(working, key=lambda item: item[0])[1] if working else None


def assert_smallest(change: Advised) -> None:
    needed = {name: advice.value_needed for name, advice in change.to_do.items()}
    assert (needed or None) == smallest(change)


def assert_moves(change: Advised) -> None:
    """With the values advised the target band moves; with fewer, or with one value short of its bound, it does not."""
    needed = {name: a.value_needed for name, a in change.to_do.items()}
    if not needed:
        return
    assert change.band_with({}) == change.band
    assert change.band_with(needed) > change.band
    for name, advice in change.to_do.items():
        assert advice.value_needed is not None
        one_short = advice.value_needed + (-1 if advice.code.endswith("_raise") else 1)
        assert change.band_with({other: needed[other] for other in needed if other != name}) <= change.band
        assert change.band_with(needed | {name: one_short}) <= change.band, "the bin before may even cost points"


def assert_told(change: Advised) -> None:
    """Codes, values now, points, order and words."""
    assert len(change.to_do) <= CHANGES_MAX
    features = {feature.name: feature for feature in change.policy.features}
    for name, advice in change.to_do.items():
        said = features[name].advice
        assert said is not None
        assert advice.code == f"{name}_{said.direction}"
        assert advice.value == change.values[name]
        assert advice.value_needed is not None
        then = oracle.score_of(change.segment, change.values | {name: advice.value_needed}).score
        assert advice.points == then - change.trace.score > 0
        assert advice.until is None
        bound = advice.value_needed + (said.direction == "lower")
        for language, text in said.text.items():
            value = spoken(bound, unit_of(features[name], change.policy), language, change.policy.currency)
            assert advice.text[language] == text.replace("{at_least}", value).replace("{below}", value)
    order = [(-(a.points or 0), a.feature) for a in change.to_do.values()]
    assert order == sorted(order)
    assert change.advice == [*change.to_do.values(), *change.holds]


def midnight(day: int, policy: Policy) -> str:
    return instant(day * 86_400_000 - policy.utc_offset_minutes * 60_000)


def assert_holds(change: Advised) -> None:
    """What still holds the limit: the least cap without room, then blocks, arrears and the rest that the change begins."""
    if not change.to_do:
        assert change.advice == []
        return
    caps = {name: cap for name, cap in (change.trace.caps or {}).items() if name not in ("band", "requested")}
    least = min(caps, key=lambda name: caps[name])
    up_days, today = change.segment.cool_down.up_days, (change.emission.clock + change.policy.utc_offset_minutes * 60_000) // 86_400_000
    begins = midnight(today + up_days, change.policy)
    cured = change.row[Out.CURED_ON] + change.policy.arrears.cure_days if change.row[Out.CURED_ON] != MISSING else today
    expected: list[tuple[str, str | None]] = [(least, None)] if caps[least] <= (change.trace.caps or {})["band"] else []
    expected += [("blocked", None)] if change.emission.new.blocks else []
    expected += [("in_arrears", None)] if change.trace.bucket else []
    expected += [("in_cure", midnight(cured, change.policy))] if cured > today else []
    expected += [("cool_down_up", begins)] if up_days else []
    assert [(hold.code, hold.until) for hold in change.holds] == expected
    assert all(set(hold.text) == {"zh", "en"} and "{" not in "".join(hold.text.values()) for hold in change.holds)


def assert_advised(change: Advised) -> None:
    for each in (assert_moves, assert_told, assert_holds):
        each(change)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_small_cases(case: Case) -> None:
    for change in advised(case):
        assert_advised(change)
        assert_smallest(change)


def test_large_seeded_cases(seeded: list[Advised]) -> None:
    tried = 0
    for change in seeded:
        assert_advised(change)
        if sum(1 for _ in sets_of(change)) <= TRIED_MAX:
            tried += 1
            assert_smallest(change)
    assert tried >= 200


def test_the_large_cases_hold_every_case(seeded: list[Advised]) -> None:
    sizes = Counter(len(change.to_do) for change in seeded)
    assert min(sizes[size] for size in range(CHANGES_MAX + 1)) >= 3
    held = Counter(hold.code for change in seeded for hold in change.holds)
    assert min(held[code] for code in ("product_cap", "legal_cap", "blocked", "in_arrears", "cool_down_up")) >= 3
    assert {code.rpartition("_")[2] for change in seeded for code in (a.code for a in change.to_do.values())} == {"raise", "lower"}


# The search by itself


def options(*steps_and_points: tuple[int, int]) -> tuple[Option, ...]:
    return tuple(Option(steps, points, 0) for steps, points in steps_and_points)


def picked(rows: Sequence[Sequence[Option]], need: int) -> list[tuple[int, int]]:
    return [(pick.place, pick.option.steps) for pick in smallest_set(rows, need)]


def test_what_is_smallest() -> None:
    few, near, good = options((3, 10)), options((1, 5)), options((1, 6))
    assert picked([near, near, few], 10) == [(2, 3)], "one change before two"
    assert picked([few, options((2, 20))], 10) == [(1, 2)], "fewer bins before more"
    assert picked([near, good], 5) == [(1, 1)], "more points before fewer"
    assert picked([near, near], 5) == [(0, 1)], "then by name"
    assert picked([near, near, near], 15) == [(0, 1), (1, 1), (2, 1)]
    assert picked([near, near, near, near], 16) == [], "three changes at most"
    assert picked([], 1) == []


ROWS = st.lists(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9)), min_size=1, max_size=4).map(
        lambda jumps: options(*((sum(s for s, _ in jumps[: i + 1]), sum(p for _, p in jumps[: i + 1])) for i in range(len(jumps))))
    ),
    max_size=5,
)


@given(ROWS, st.integers(1, 60))
def test_the_search_finds_what_trying_finds(rows: list[tuple[Option, ...]], need: int) -> None:
    tried = []
    for size in range(1, CHANGES_MAX + 1):
        for places in combinations(range(len(rows)), size):
            for taken in product(*(rows[place] for place in places)):
                points = sum(option.points for option in taken)
                chosen = [(place, option.steps) for place, option in zip(places, taken, strict=True)]
                if points >= need:
                    tried.append((size, sum(option.steps for option in taken), -points, chosen))
    assert picked(rows, need) == (min(tried)[3] if tried else [])


def test_the_largest_scorecard_is_no_trouble() -> None:
    """64 features of 32 bins, whatever the need."""
    rows = [options(*((steps, steps * 10 + row % 7) for steps in range(1, 32))) for row in range(64)]
    for need in (317, 500, 800, 3 * 316):
        points = sum(pick.option.points for pick in smallest_set(rows, need))
        assert need <= points < need + 10


# What decides nothing


def shuffled(policy: Policy, random: Random) -> Policy:
    """The policy with its features, scorecards and eligibility in another order."""

    def mixed(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(random.sample(items, len(items)))

    segments = [s.model_copy(update={"scorecard": mixed(s.scorecard), "eligibility": mixed(s.eligibility)}) for s in policy.segments]
    return policy.model_copy(update={"features": mixed(policy.features), "segments": tuple(segments)})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_order_of_declaration_decides_nothing(seed: int, random: Random) -> None:
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, 60)
    sides = [advised((p, log)) for p in (policy, shuffled(policy, random))]
    told, mixed = ([(c.account, c.emission.kind, c.emission.sequence, c.reasons, c.advice) for c in side] for side in sides)
    assert mixed == told


# Without its cause, no reason


def without_feature(policy: Policy, segment: str, feature: str, *, adverse: bool) -> Policy:
    """The policy in which a feature that lost points has its best points everywhere, or one that added points adds none."""

    def same(s: Segment) -> Segment:
        rows = []
        for c in s.scorecard:
            points = max(c.missing, *(b.points for b in c.bins)) if adverse else 0
            bins = tuple(b.model_copy(update={"points": points}) for b in c.bins)
            is_it = s.name == segment and c.feature == feature
            rows.append(c.model_copy(update={"bins": bins, "missing": points}) if is_it else c)
        return s.model_copy(update={"scorecard": tuple(rows)})

    return policy.model_copy(update={"segments": tuple(same(s) for s in policy.segments)})


COMMANDED: Final = {"override": "override", "ceiling": "set_ceiling", "requested": "request_increase"}  # rule -> the command behind it


def without_rule(policy: Policy, log: Sequence[Record], change: Advised, rule: str) -> Case:
    """The policy, or the log, in which a rule binds nothing: the caps as low as the one named with it."""
    lifted: dict[str, Any] = {}
    if rule in COMMANDED:
        log = [r for r in log if not (isinstance(r, Command) and r.kind == COMMANDED[rule])]
        if rule != "requested":
            return policy, log
    if rule == "requested":
        return policy, [replace(r, requested_limit_minor=None) if isinstance(r, Profile) else r for r in log]
    if rule == "exposure_floor":
        return policy, [replace(r, exposure_minor=None) if isinstance(r, Profile) else r for r in log]
    if rule == "arrears":
        arrears = policy.arrears.model_copy(update={"bucket_lower_days": (1, 2, 3, 10**6), "limit_to_exposure_from_bucket": 4})
        return policy.model_copy(update={"arrears": arrears}), log
    if rule == "step":
        lifted = {"step_up_minor": None, "step_down_minor": None}
    caps = change.trace.caps or {}
    high = {"product_cap": ("product_cap_minor", 10**15), "legal_cap": ("legal_cap_minor", 10**15)}
    none: dict[str, tuple[str, Any]] = {"income_cap": ("income_cap", None), "related_cap": ("related_cap_minor", None)}
    for name, (key, value) in (high | none).items():
        if name in caps and rule in caps and caps[name] <= caps[rule]:
            lifted[key] = value
    segments = [s.model_copy(update={"limits": s.limits.model_copy(update=lifted)}) for s in policy.segments]
    return policy.model_copy(update={"segments": tuple(segments)}), log


def story(case: Case, account: str) -> list[tuple[Any, ...]]:
    """What became of an account: each emission with the score and what bound the limit."""
    kernel = Kernel(*case)
    found = []
    for decision in kernel.take(0, len(case[1]), room=2048):
        if kernel.accounts[decision[Out.SLOT]] == account and decision[Out.EVALUATED]:
            emission, trace = kernel.emission(decision), kernel.trace(decision)
            found.append((emission.kind, emission.sequence, emission.clock, emission.new.limit, trace.score, trace.bound_by))
    return found


def test_without_its_cause_a_change_is_another() -> None:
    """Remove what a reason names, and the outcome or the score of that very change is another."""
    removed: Counter[str] = Counter()
    rules = ("product_cap", "income_cap", "related_cap", "legal_cap", "requested", "step", "arrears", "exposure_floor")
    wanted = dict.fromkeys(rules, 2) | dict.fromkeys(("good", "low", "missing"), 20)
    for seed in range(100):
        if all(removed[code] >= count for code, count in wanted.items()):
            break
        policy = seeded_policy(seed)
        log = seeded_log(policy, seed, RECORDS)
        tried: set[str] = set()
        for change in advised((policy, log)):
            for reason in change.reasons:
                if reason.code in tried or reason.code == "score":
                    continue
                tried.add(reason.code)
                if reason.feature is not None:
                    adverse = change.emission.kind == "decrease"
                    other: Case = without_feature(policy, change.segment.name, reason.feature, adverse=adverse), log
                else:
                    other = without_rule(policy, log, change, reason.code)
                before = story((policy, log), change.account)
                end = next(i for i, told in enumerate(before) if told[:2] == (change.emission.kind, change.emission.sequence))
                assert story(other, change.account)[: end + 1] != before[: end + 1], (seed, change.account, reason)
                removed[reason.code if reason.feature is None else reason.code.rpartition("_")[2]] += 1
    assert all(removed[code] >= count for code, count in wanted.items()), removed


# Guards that end


def test_when_a_guard_ends() -> None:
    policy = policy_of("arrears: {cure_days: 20}\n")
    segment = policy.segments[0].model_copy(update={"cool_down": policy.segments[0].cool_down.model_copy(update={"up_days": 7})})
    row = [0] * VALUES_AT
    row[Out.KIND] = Kind.DECREASE
    row[CAPS_AT:VALUES_AT] = [5, *[9] * (CAPS - 1)]
    row[Out.CURED_ON] = 90
    assert holds_after(policy, segment, row, 100) == [("in_cure", 110), ("cool_down_up", 107)]
    assert holds_after(policy, segment, row, 110) == [("cool_down_up", 117)], "the last day of the cure is over"
    row[Out.CURED_ON] = MISSING
    assert holds_after(policy, segment, row, 100) == [("cool_down_up", 107)]
    row[CAPS_AT + Bound.INCOME_CAP] = 5
    assert holds_after(policy, segment, row, 110) == [("income_cap", None), ("cool_down_up", 117)]


# Values in words


@pytest.mark.parametrize(
    ("value", "unit", "currency", "zh", "en"),
    [
        (500_000, "money", "CNY", "5,000 元", "5,000 yuan"),
        (-1_999_905, "money", "CNY", "-19,999.05 元", "-19,999.05 yuan"),
        (5_000, "money", "JPY", "5,000 JPY", "JPY 5,000"),
        (5_050, "money", "KWD", "5.050 KWD", "KWD 5.050"),
        (97, "percent", "CNY", "97%", "97%"),
        (600, "per_mille", "CNY", "60%", "60%"),
        (605, "per_mille", "CNY", "60.5%", "60.5%"),
        (1, "days", "CNY", "1 天", "1 day"),
        (35, "days", "CNY", "35 天", "35 days"),
        (1, "months", "CNY", "1 个月", "1 month"),
        (6, "months", "CNY", "6 个月", "6 months"),
        (20_514, "date", "CNY", "2026-03-02", "2026-03-02"),
        (10**15, "date", "CNY", "1,000,000,000,000,000", "1,000,000,000,000,000"),
        (1_200, "number", "CNY", "1,200", "1,200"),
    ],
)
def test_a_value_in_words(value: int, unit: Any, currency: str, zh: str, en: str) -> None:
    assert (spoken(value, unit, "zh", currency), spoken(value, unit, "en", currency)) == (zh, en)


@pytest.mark.parametrize(
    ("feature", "unit"),
    [
        ("kind: total, measure: n, window_days: 3", "number"),
        ("kind: total, measure: s, window_days: 3", "money"),
        ("kind: total, measure: late, window_days: 3", "days"),
        ("kind: average, sum: s, count: n, window_days: 3", "money"),
        ("kind: ratio, numerator: s, denominator: s, window_days: 3, scale: 1", "number"),
        ("kind: trend, measure: s, window_days: 3", "percent"),
        ("kind: utilisation, scale: 1000", "per_mille"),
        ("kind: active_months, measure: s, window_months: 3", "months"),
        ("kind: tenure", "days"),
        ("kind: completeness, figures: [status]", "percent"),
        ("kind: profile, figure: income_monthly_minor", "money"),
        ("kind: profile, figure: credit_months", "months"),
        ("kind: profile, figure: credit_completeness_percent", "percent"),
        ("kind: profile, figure: related_days_past_due", "days"),
        ("kind: profile, figure: delinquencies_24m", "number"),
        ("kind: profile, figure: income_as_of", "date"),
        ("kind: profile, figure: attributes.turnover_minor", "money"),
        ("kind: profile, figure: external_debt_minor, per: income_monthly_minor, scale: 100", "percent"),
    ],
)
def test_the_unit_of_a_feature(feature: str, unit: str) -> None:
    policy = policy_of(
        f"""\
        measures:
          - {{name: n, event: purchase, kind: count}}
          - {{name: s, event: purchase, kind: sum}}
          - {{name: late, event: repayment, kind: max, of: days_late}}
        features: [{{name: f, {feature}}}]
        """
    )
    assert unit_of(policy.features[0], policy) == unit
