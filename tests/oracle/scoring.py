"""From values to a score, a band and a target limit (docs/policy.md §7, §9.5)."""

from __future__ import annotations

from collections.abc import Mapping
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

    def highest(up: bool) -> int:
        entries = [None if b.lower is None else b.lower + (b.up_margin if up else 0) for b in segment.bands]
        return max(i for i, entry in enumerate(entries) if entry is None or score >= entry)

    if standing is None or highest(up=True) > standing:
        return highest(up=True)
    band = segment.bands[standing]
    if band.lower is not None and score < band.lower - band.down_margin:
        return highest(up=False)
    return standing


@dataclass(frozen=True)
class Target:
    """A target limit, what bound it, all caps by name (the band's limit first), and whether it is *forced*."""

    limit: int
    bound_by: str
    caps: dict[str, int]
    forced: bool


def target_of(
    policy: doc.Policy,
    segment: doc.Segment,
    band: doc.Band,
    profile: Profile | None,
    *,
    standing: int | None,
    exposure: int | None,
    bucket: int,
) -> Target:
    """The target limit; ``standing`` is the standing limit of an open account, None of any other."""
    limits = segment.limits
    caps = caps_of(segment, band, profile, requested=standing is None)
    bound_by = min(caps, key=lambda name: caps[name])
    target = caps[bound_by] // limits.round_to_minor * limits.round_to_minor
    if standing is None:
        return Target(target, bound_by, caps, forced=False)

    in_deep_arrears = bucket >= policy.arrears.limit_to_exposure_from_bucket
    forced = limits.legal_cap_minor < standing or in_deep_arrears
    exposure_up = None if exposure is None else -(-exposure // limits.round_to_minor) * limits.round_to_minor
    rules: list[tuple[str, int]] = []

    def bind(rule: str, changed: int) -> int:
        if changed != target:
            rules.append((rule, changed))
        return changed

    if limits.step_up_minor is not None:
        target = bind("step", min(target, standing + limits.step_up_minor))
    if limits.step_down_minor is not None and not forced:
        target = bind("step", max(target, standing - limits.step_down_minor))
    if in_deep_arrears and exposure_up is not None:
        target = bind("arrears", min(target, exposure_up))
    if exposure_up is not None:
        target = bind("exposure_floor", max(target, min(exposure_up, standing)))
    if rules:
        bound_by = rules[-1][0]
    if abs(target - standing) < limits.minimum_change_minor and not forced:
        target = standing
    return Target(target, bound_by, caps, forced)


def caps_of(segment: doc.Segment, band: doc.Band, profile: Profile | None, *, requested: bool) -> dict[str, int]:
    """The band's limit and the caps that apply, in the order of the documentation."""
    limits = segment.limits

    def known(figure: str) -> int | None:
        value = None if profile is None else profile.figure(figure)
        assert not isinstance(value, str)
        return value

    caps = {"band": band.limit_minor, "product_cap": limits.product_cap_minor}
    if limits.income_cap is not None:
        income = known("income_monthly_minor")
        cap = limits.income_cap.unknown_income_minor
        if income is not None:
            cap = income * limits.income_cap.multiple_percent // 100 - (known("external_limits_minor") or 0)
        caps["income_cap"] = max(cap, 0)
    if limits.related_cap_minor is not None:
        caps["related_cap"] = max(limits.related_cap_minor - (known("related_exposure_minor") or 0), 0)
    caps["legal_cap"] = limits.legal_cap_minor
    if requested and profile is not None and profile.requested_limit_minor is not None:
        caps["requested"] = profile.requested_limit_minor
    return caps


def first_failure(segment: doc.Segment, profile: Profile | None, values: Mapping[str, int | None], today: int) -> str | None:
    """Code of the first requirement that fails, None if the account is eligible."""
    for requirement in segment.eligibility:
        value: int | str | None
        if requirement.feature is not None:
            value = values[requirement.feature]
        else:
            assert requirement.figure is not None
            value = None if profile is None else profile.figure(requirement.figure)
        if not _met(requirement, value, today):
            return requirement.code
    return None


def _met(requirement: doc.Eligibility, value: int | str | None, today: int) -> bool:
    if value is None:
        return requirement.unknown == "pass"
    if requirement.is_in is not None:
        return value in requirement.is_in
    assert isinstance(value, int)
    age = today - value
    return (
        (requirement.at_least is None or value >= requirement.at_least)
        and (requirement.at_most is None or value <= requirement.at_most)
        and (requirement.min_age_days is None or age >= requirement.min_age_days)
        and (requirement.max_age_days is None or age <= requirement.max_age_days)
    )
