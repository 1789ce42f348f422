"""Which commands are refused, and with which reason (docs/policy.md §8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.oracle.records import Command
from tests.oracle.time_rules import DAY_MS

if TYPE_CHECKING:
    from tests.oracle.account import OracleAccount

ALSO_WITHOUT_A_STANDING = ("set_ceiling", "opt_out", "accept_offer", "decline_offer")


def refusal(account: OracleAccount, command: Command) -> str | None:
    """Why a command is refused before anything is decided, None if it is not."""
    standing = account.line.standing
    if standing == "closed" or (standing == "none" and command.kind not in ALSO_WITHOUT_A_STANDING):
        return "not_open"
    return next((reason for reason, holds in _conditions(account, command) if holds), None)


def _conditions(account: OracleAccount, command: Command) -> list[tuple[str, bool]]:
    """The reasons to refuse, in order, and whether each holds."""
    line = account.line
    match command.kind:
        case "freeze":
            return [("already_in_force", command.cause in line.blocks)]
        case "unfreeze":
            return [("not_in_force", command.cause not in line.blocks)]
        case "hold":
            return _end(account, command)
        case "override":
            on_hold = ("on_hold", account.is_in_force(line.hold_until))
            return [
                *_end(account, command),
                *_bounds(account, command),
                on_hold,
                *_raise(account, command),
                _second_person(account, command),
            ]
        case "set_temporary_limit":
            return [*_end(account, command), *_bounds(account, command), *_raise(account, command), _second_person(account, command)]
        case "release":
            ends = {
                "hold": line.hold_until,
                "override": line.override and line.override[1],
                "temporary": line.temporary and line.temporary[1],
            }
            assert command.of is not None
            return [("not_in_force", not account.is_in_force(ends[command.of]))]
        case "set_ceiling":
            return [("already_in_force", command.limit_minor == line.ceiling)]
        case "accept_offer" | "decline_offer":
            return [("offer_unknown", not _is_live_offer(account, command.offer_id))]
        case "request_increase":
            assert command.limit_minor is not None
            return [("not_raised", command.limit_minor <= line.limit)]
        case "opt_out":
            return [("already_in_force", _is_opting_out_in_force(account))]
        case "close":
            return []
    raise AssertionError(command.kind)


def _end(account: OracleAccount, command: Command) -> list[tuple[str, bool]]:
    assert account.now is not None
    assert command.until is not None
    longest = account.segment.commands.longest_days * DAY_MS
    return [("ends_in_the_past", command.until <= account.now), ("ends_too_late", command.until > account.now + longest)]


def _bounds(account: OracleAccount, command: Command) -> list[tuple[str, bool]]:
    assert command.limit_minor is not None
    legal_cap, ceiling = account.segment.limits.legal_cap_minor, account.line.ceiling
    return [("above_legal_cap", command.limit_minor > legal_cap), ("above_ceiling", ceiling is not None and command.limit_minor > ceiling)]


def _raise(account: OracleAccount, command: Command) -> list[tuple[str, bool]]:
    assert command.limit_minor is not None
    is_raise = command.limit_minor > account.line.limit
    bucket, in_cure = account.instalments.bucket(account.today), account.instalments.in_cure(account.today)
    return [("in_arrears", is_raise and bucket >= 1), ("in_cure", is_raise and in_cure)]


def _second_person(account: OracleAccount, command: Command) -> tuple[str, bool]:
    assert command.limit_minor is not None
    least = account.segment.commands.second_person_from_minor
    return "second_person_needed", least is not None and command.limit_minor >= least and not command.second_person


def _is_live_offer(account: OracleAccount, offer_id: str | None) -> bool:
    if account.line.offer is None:
        return False
    number, _, until = account.line.offer
    return account.is_in_force(until) and offer_id == f"offer-{number}"


def _is_opting_out_in_force(account: OracleAccount) -> bool:
    if account.opted_out is None:
        return False
    consent_at = account.number("consent_at")
    return consent_at is None or consent_at <= account.opted_out
