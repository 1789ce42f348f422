"""One evaluation: blocks, target, guards and what is emitted, in the written order (docs/policy.md §8, §9)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tests.oracle.features import feature_value, is_missing_as_partial
from tests.oracle.records import Command
from tests.oracle.scoring import first_failure, score_of, standing_place, target_of, target_place
from tests.oracle.time_rules import day_of

if TYPE_CHECKING:
    from tests.oracle.account import OracleAccount

Kind = Literal["grant", "increase", "decrease", "freeze", "unfreeze", "close", "command_accepted", "command_refused"]
CLOSING = ("closed", "deceased", "insolvent", "written_off")
ENGINE_BLOCKS = frozenset({"past_due", "over_cap"})


@dataclass(frozen=True)
class Line:
    """What stands: limit, band by name, blocks, and ``none``, ``open`` or ``closed``."""

    limit: int
    band: str | None
    blocks: frozenset[str]
    standing: Literal["none", "open", "closed"]


@dataclass(frozen=True)
class Trace:
    """How one evaluation came out.

    While the profile's status closes the account nothing is judged from ``caps`` on: all None, and guard ``closed``.
    """

    segment: str
    exposure: int | None
    exposure_as_of: int | None
    days_past_due: int
    bucket: int
    values: list[int | None]  # by feature, in the policy's order
    bins: list[int]  # by characteristic of the segment; -1: missing
    points: list[int]
    score: int
    warming_up: bool
    caps: dict[str, int] | None = None
    target_band: str | None = None
    target: int | None = None
    bound_by: str | None = None
    forced: bool | None = None
    guard: str | None = None  # what withheld a change of the limit
    requirement: str | None = None  # the first one that fails


@dataclass(frozen=True)
class Emission:
    """A change, or the answer to a command. ``cause`` is the block of a freeze or unfreeze, the reason of a refusal."""

    kind: Kind
    sequence: int
    clock: int
    cause: str | None
    previous: Line
    new: Line
    trace: Trace | None


def refuse(account: OracleAccount, reason: str) -> Emission:
    """The answer to a command that is refused."""
    assert account.now is not None
    return Emission("command_refused", account.sequence, account.now, reason, account.line, account.line, None)


def evaluate(account: OracleAccount, command: Command | None) -> tuple[list[Emission], Trace]:
    """Evaluate the account once, after a record's work is done."""
    assert account.now is not None
    now, today = account.now, account.today
    trace = judge(account)
    emissions: list[Emission] = []

    def change(kind: Kind, new: Line, cause: str | None = None) -> None:
        account.sequence += 1
        emissions.append(Emission(kind, account.sequence, now, cause, account.line, new, None))
        account.line = new

    def block(cause: str, stands: bool) -> None:
        blocks = account.line.blocks
        if account.line.standing == "open" and stands != (cause in blocks):
            new = replace(account.line, blocks=blocks | {cause} if stands else blocks - {cause})
            change("freeze" if stands else "unfreeze", new, cause)

    if command is not None:
        reason = refusal(account.line, command)
        if reason is None:
            assert command.cause is not None
            block(command.cause, command.kind == "freeze")
            line = account.line
            emissions.append(Emission("command_accepted", account.sequence, now, None, line, line, None))
        else:
            emissions.append(refuse(account, reason))

    if account.is_closed_by_status:
        trace = replace(trace, guard="closed")
        if account.line.standing == "open":
            change("close", Line(0, None, account.line.blocks - ENGINE_BLOCKS, "closed"))
            account.closed_on = today
        return [replace(emission, trace=trace) for emission in emissions], trace

    block("past_due", trace.bucket >= account.policy.arrears.block_drawing_from_bucket)
    trace = judge_target(account, trace)
    assert trace.target is not None
    line = Line(trace.target, trace.target_band, account.line.blocks, "open")
    if trace.guard is None:
        if account.line.standing != "open" and trace.target > 0:
            change("grant", line)
            account.last_change = today
        elif account.line.standing == "open" and trace.target > account.line.limit:
            change("increase", line)
            account.last_change = today
        elif account.line.standing == "open" and trace.target < account.line.limit:
            change("decrease", line)
            account.last_change = account.last_decrease = today
    block("over_cap", account.line.limit > account.segment.limits.legal_cap_minor)
    return [replace(emission, trace=trace) for emission in emissions], trace


def judge(account: OracleAccount) -> Trace:
    """The trace as far as the score."""
    policy, segment, view = account.policy, account.segment, account.view()
    values = {feature.name: feature_value(feature, view) for feature in policy.features}
    scored = score_of(segment, values)
    in_scorecard = {characteristic.feature for characteristic in segment.scorecard}
    return Trace(
        segment=segment.name,
        exposure=view.exposure,
        exposure_as_of=account.profile.as_of if account.profile else None,
        days_past_due=view.days_past_due,
        bucket=account.instalments.bucket(account.today),
        values=list(values.values()),
        bins=scored.bins,
        points=scored.points,
        score=scored.score,
        warming_up=any(is_missing_as_partial(f, view) for f in policy.features if f.name in in_scorecard),
    )


def judge_target(account: OracleAccount, trace: Trace) -> Trace:
    """The trace with the target and what withholds it, against the standing before any change of the limit."""
    policy, segment, line = account.policy, account.segment, account.line
    is_open = line.standing == "open"
    standing_band = standing_place(segment, line.band, line.limit) if is_open else None
    band = segment.bands[target_place(segment, trace.score, standing_band)]
    standing = line.limit if is_open else None
    target = target_of(policy, segment, band, account.profile, standing=standing, exposure=trace.exposure, bucket=trace.bucket)
    values = {feature.name: value for feature, value in zip(policy.features, trace.values, strict=True)}
    judged = replace(
        trace,
        caps=target.caps,
        target_band=band.name,
        target=target.limit,
        bound_by=target.bound_by,
        forced=target.forced,
        requirement=first_failure(segment, account.profile, values, account.today),
    )
    return replace(judged, guard=next((name for name, bites in guards(account, judged) if bites), None))


def guards(account: OracleAccount, trace: Trace) -> list[tuple[str, bool]]:
    """The guards that stand between the standing and the target, in order, and whether each bites."""
    line, today, cool_down = account.line, account.today, account.segment.cool_down
    assert trace.target is not None
    sound = [
        ("in_arrears", trace.bucket >= 1),
        ("in_cure", account.instalments.in_cure(today)),
        ("not_eligible", trace.requirement is not None),
    ]
    if line.standing != "open":
        return [*sound, ("consent_missing", not has_applied(account))] if trace.target > 0 else []
    if trace.target > line.limit:
        rests = account.last_change is not None and today - account.last_change < cool_down.up_days
        return [("blocked", bool(line.blocks)), *sound, ("cool_down_up", rests)]
    if trace.target < line.limit and not trace.forced:
        rests = account.last_decrease is not None and today - account.last_decrease < cool_down.down_days
        return [("cool_down_down", rests), ("warming_up", trace.warming_up)]
    return []


def has_applied(account: OracleAccount) -> bool:
    """Whether the profile asks for a limit, and after the account was last closed."""
    if account.profile is None or account.profile.applied_at is None:
        return False
    return account.closed_on is None or day_of(account.policy, account.profile.applied_at) > account.closed_on


def refusal(line: Line, command: Command) -> str | None:
    """Why a command is refused, None if it is accepted."""
    if command.kind not in ("freeze", "unfreeze"):
        return "not_supported"
    if line.standing != "open":
        return "not_open"
    if (command.cause in line.blocks) == (command.kind == "freeze"):
        return "already_in_force" if command.kind == "freeze" else "not_in_force"
    return None
