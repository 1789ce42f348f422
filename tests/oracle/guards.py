"""What withholds a change of the limit: the guards in their written order (docs/policy.md §9.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from engine.policy import document as doc
from tests.oracle.line import Guard, Trace
from tests.oracle.time_rules import HOUR_MS, MINUTE_MS, day_of

if TYPE_CHECKING:
    from tests.oracle.account import OracleAccount

REQUIREMENT_GUARDS: tuple[Guard, ...] = get_args(doc.Eligibility.model_fields["guard"].annotation)


@dataclass(frozen=True)
class Entry:
    """A guard, whether it bites, and the code it stands for."""

    name: Guard
    bites: bool
    code: str | None = None


def first(entries: Sequence[Entry]) -> Entry | None:
    """The first guard that bites."""
    return next((entry for entry in entries if entry.bites), None)


def passes(account: OracleAccount, test: doc.Test, values: Mapping[str, int | None]) -> bool:
    """Whether a test is passed."""
    value: int | str | None
    if test.feature is not None:
        value = values[test.feature]
    else:
        assert test.figure is not None
        value = account.figure(test.figure)
    if value is None:
        return test.unknown == "pass"
    if test.is_in is not None:
        return value in test.is_in
    assert isinstance(value, int)
    age = account.today - value
    return (
        (test.at_least is None or value >= test.at_least)
        and (test.at_most is None or value <= test.at_most)
        and (test.min_age_days is None or age >= test.min_age_days)
        and (test.max_age_days is None or age <= test.max_age_days)
    )


def values_of(account: OracleAccount, trace: Trace) -> dict[str, int | None]:
    """The evaluated features by name."""
    return {feature.name: value for feature, value in zip(account.policy.features, trace.values, strict=True)}


def warnings(account: OracleAccount, trace: Trace) -> list[str]:
    """Codes of the warnings of too much debt that hold, in the order of the alphabet."""
    values = values_of(account, trace)
    return sorted(w.code for w in account.segment.protection.over_borrowing if passes(account, w, values))


def _arrears(account: OracleAccount, trace: Trace) -> list[Entry]:
    return [Entry("in_arrears", trace.bucket >= 1), Entry("in_cure", account.instalments.in_cure(account.today))]


def _requirements(account: OracleAccount, trace: Trace, *, warned: list[str]) -> list[Entry]:
    """The guards that requirements stand for; ``warned`` stands behind the ones of over_indebted."""
    values = values_of(account, trace)
    failing = [r for r in account.segment.eligibility if not passes(account, r, values)]
    entries = []
    for guard in REQUIREMENT_GUARDS:
        codes = sorted(requirement.code for requirement in failing if requirement.guard == guard)
        codes += warned if guard == "over_indebted" else []
        entries.append(Entry(guard, bool(codes), codes[0] if codes else None))
    return entries


def _hold(account: OracleAccount) -> Entry:
    return Entry("hold", account.is_in_force(account.line.hold_until))


def _forbearance(account: OracleAccount) -> Entry:
    return Entry("forbearance", account.figure("status") == "forbearance")


def of_a_grant(account: OracleAccount, trace: Trace) -> list[Entry]:
    """Without a standing: what withholds a grant or an acceptance, but for consent."""
    return [*_arrears(account, trace), _forbearance(account), *_requirements(account, trace, warned=[])]


def of_the_engines_own_wish(account: OracleAccount) -> list[Entry]:
    """What withholds an increase, or an offer, that the customer did not ask for."""
    return [Entry("opted_out", has_opted_out(account)), Entry("quiet_hours", is_quiet(account))]


def of_an_increase(account: OracleAccount, trace: Trace, *, asked: bool, corrects: bool) -> list[Entry]:
    """Open, target above the standing; ``asked``: by a request or an acceptance."""
    line = account.line
    if account.override_limit is not None:
        return [_hold(account), *_arrears(account, trace)]
    rests = account.last_change is not None and account.today - account.last_change < account.segment.cool_down.up_days
    return [
        _hold(account),
        Entry("blocked", bool(line.blocks)),
        *_arrears(account, trace),
        _forbearance(account),
        *_requirements(account, trace, warned=warnings(account, trace)),
        *([] if asked else of_the_engines_own_wish(account)),
        Entry("cool_down_up", rests and not corrects),
        Entry("notice_running", line.pending is not None),
        *([] if asked else [Entry("consent_missing", not has_consented(account))]),
    ]


def budget_spent(account: OracleAccount, limit: int) -> Entry:
    """Whether the day's budget has no room for a limit; an override is not asked for it."""
    is_spent = account.portfolio.is_spent(account.segment, limit - account.line.limit)
    return Entry("budget_spent", account.override_limit is None and is_spent)


def of_a_decrease(account: OracleAccount, trace: Trace, *, own: bool) -> list[Entry]:
    """Open, target below the standing."""
    assert account.now is not None
    line = account.line
    if trace.forced:
        return []
    if account.override_limit is not None or own:
        return [_hold(account)]
    if line.pending is not None:
        return [_hold(account), Entry("notice_running", account.now < line.pending[1])]
    rests = account.last_decrease is not None and account.today - account.last_decrease < account.segment.cool_down.down_days
    return [
        _hold(account),
        Entry("cool_down_down", rests),
        Entry("warming_up", trace.warming_up and (trace.caps or {})["band"] < account.line.limit),
    ]


def has_applied(account: OracleAccount) -> bool:
    """Whether the profile asks for a limit, and after the account was last closed."""
    if account.profile is None or account.profile.applied_at is None:
        return False
    return account.closed_on is None or day_of(account.policy, account.profile.applied_at) > account.closed_on


def has_consented(account: OracleAccount) -> bool:
    """Whether limits may be raised without asking."""
    consent_at = account.number("consent_at")
    return account.segment.increases.consent == "not_needed" or (consent_at is not None and consent_at <= account.today)


def has_opted_out(account: OracleAccount) -> bool:
    """Whether the customer wants no increase that was not asked for."""
    days = [account.opted_out, account.number("opted_out_at")]
    past = [day for day in days if day is not None and day <= account.today]
    consent_at = account.number("consent_at")
    return bool(past) and (consent_at is None or consent_at <= max(past))


def is_quiet(account: OracleAccount) -> bool:
    """Whether the account's clock is in the quiet hours."""
    assert account.now is not None
    quiet = account.segment.increases.quiet_hours
    if quiet is None:
        return False
    hour = (account.now + account.policy.utc_offset_minutes * MINUTE_MS) // HOUR_MS % 24
    hours = (quiet.to_hour - quiet.from_hour) % 24 or 24
    return (hour - quiet.from_hour) % 24 < hours
