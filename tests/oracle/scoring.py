"""From values to a score, a band and a target limit (docs/policy.md §7, §9.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.policy import document as doc
from tests.oracle.records import Profile

MISSING_BIN = -1


@dataclass(frozen=True)
class Score:
    """A score with, by characteristic, the bin it fell into (``MISSING_BIN``) and that bin's points."""

    score: int
    bins: list[int]
    points: list[int]


def score_of(segment: doc.Segment, values: Mapping[str, int | None]) -> Score:
    """The segment's base and the points of each characteristic."""
    bins, points = [], []
    for characteristic in segment.scorecard:
        value = values[characteristic.feature]
        if value is None:
            bins.append(MISSING_BIN)
            points.append(characteristic.missing)
        else:
            lower_bounds = [bin_.at_least for bin_ in characteristic.bins]
            bins.append(max(i for i, lower in enumerate(lower_bounds) if lower is None or lower <= value))
            points.append(characteristic.bins[bins[-1]].points)
    return Score(segment.base_points + sum(points), bins, points)


def standing_place(segment: doc.Segment, band: str | None, limit: int) -> int:
    """Place of a standing band in the segment; one that it does not know is mapped by the standing limit."""
    names = [known.name for known in segment.bands]
    if band in names:
        return names.index(band)
    return max((i for i, known in enumerate(segment.bands) if known.limit_minor <= limit), default=0)


def target_place(segment: doc.Segment, score: int, standing: int | None) -> int:
    """Place of the target band; ``standing`` is the place of the standing one."""
    return ladder_place(segment.bands, score, standing)


def ladder_place(steps: Sequence[doc.Band | doc.RateTier], score: int, standing: int | None) -> int:
    """Place of the band or tier that a score leads to from the standing one."""

    def highest(up: bool) -> int:
        entries = [None if s.lower is None else s.lower + (s.up_margin if up else 0) for s in steps]
        return max(i for i, entry in enumerate(entries) if entry is None or score >= entry)

    if standing is None or highest(up=True) > standing:
        return highest(up=True)
    step = steps[standing]
    if step.lower is not None and score < step.lower - step.down_margin:
        return highest(up=False)
    return standing


@dataclass(frozen=True)
class Target:
    """A target limit, what bound it, all caps by name (the band's limit first), and whether it is *forced* or *own*."""

    limit: int
    bound_by: str
    caps: dict[str, int]
    forced: bool = False
    own: bool = False


def target_of(
    policy: doc.Policy,
    segment: doc.Segment,
    band: doc.Band,
    profile: Profile | None,
    *,
    standing: int | None,
    exposure: int | None,
    bucket: int,
    ceiling: int | None,
    override: int | None,
    appetite: tuple[str, int] = ("neutral", 0),
) -> Target:
    """The target limit; ``standing`` is the standing limit of an open account, None of any other; ``override`` is the limit of one in force;
    ``appetite`` the one in force and how many days since."""
    limits = segment.limits
    unit = limits.round_to_minor
    caps = caps_of(segment, band, profile, ceiling, appetite, requested=standing is None)
    bound_by = min(caps, key=lambda name: caps[name])
    target = caps[bound_by] // unit * unit
    if standing is None:
        return Target(target, bound_by, caps)

    in_deep_arrears = bucket >= policy.arrears.limit_to_exposure_from_bucket
    forced = limits.legal_cap_minor < standing or in_deep_arrears
    own = not forced and ceiling is not None and ceiling // unit * unit < standing
    exposure_up = None if exposure is None else -(-exposure // unit) * unit
    if own:
        assert ceiling is not None
        target, bound_by = ceiling // unit * unit, "ceiling"
    if override is not None:
        target = min(override, limits.legal_cap_minor, *([] if ceiling is None else [ceiling]))
        bound_by = "override"

    def bind(rule: str, changed: int) -> None:
        nonlocal target, bound_by
        if changed != target:
            target, bound_by = changed, rule

    if override is None and limits.step_up_minor is not None:
        bind("step", min(target, standing + limits.step_up_minor))
    if override is None and limits.step_down_minor is not None and not forced and not own:
        bind("step", max(target, standing - limits.step_down_minor))
    if in_deep_arrears and exposure_up is not None:
        bind("arrears", min(target, exposure_up))
    if override is None and exposure_up is not None:
        bind("exposure_floor", max(target, min(exposure_up, standing)))
    if override is None and abs(target - standing) < limits.minimum_change_minor and not forced and not own:
        target = standing
    return Target(target, bound_by, caps, forced, own)


def appetite_limit(segment: doc.Segment, band: doc.Band, appetite: tuple[str, int]) -> int:
    """The band's limit as the appetite has it."""
    mode, days = appetite
    for row in getattr(segment.appetite, mode, ()):
        if row.band == band.name and row.after_days <= days:
            return int(band.limit_minor * row.percent // 100)
    return band.limit_minor


def caps_of(
    segment: doc.Segment, band: doc.Band, profile: Profile | None, ceiling: int | None, appetite: tuple[str, int], *, requested: bool
) -> dict[str, int]:
    """The band's limit and the caps that apply, in the order of the documentation."""
    limits = segment.limits

    def known(figure: str) -> int | None:
        value = None if profile is None else profile.figure(figure)
        assert not isinstance(value, str)
        return value

    by_appetite = appetite_limit(segment, band, appetite)
    caps = {"band": max(band.limit_minor, by_appetite), "product_cap": limits.product_cap_minor}
    if limits.income_cap is not None:
        income = known("income_monthly_minor")
        cap = limits.income_cap.unknown_income_minor
        if income is not None:
            cap = income * limits.income_cap.multiple_percent // 100 - (known("external_limits_minor") or 0)
        caps["income_cap"] = max(cap, 0)
    if limits.related_cap_minor is not None:
        caps["related_cap"] = max(limits.related_cap_minor - (known("related_exposure_minor") or 0), 0)
    if by_appetite < band.limit_minor:
        caps["appetite"] = by_appetite
    caps["legal_cap"] = limits.legal_cap_minor
    if requested and profile is not None and profile.requested_limit_minor is not None:
        caps["requested"] = profile.requested_limit_minor
    if ceiling is not None:
        caps["ceiling"] = ceiling
    return caps
