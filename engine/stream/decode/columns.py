"""From a record that the judge accepted to its column: the slow twin of the scanner, and the only reader of commands."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from typing import Any, Final

import numpy as np

from engine.core.fingerprint import FingerprintKey, band_code, fingerprint, jurisdiction_code
from engine.core.layout import (
    AMOUNT_MAX,
    DAY_MS,
    FIGURES,
    MISSING,
    Block,
    Command,
    Employment,
    Ev,
    Fig,
    IncomeProof,
    Released,
    Segment,
    Status,
)
from engine.core.tables import DecodeRules, Ints
from engine.policy.standing import OFFER
from engine.stream.decode.fields import AMOUNTS, ENUMS, TIMES, WORDS
from schemas.commands import (
    AcceptOffer,
    DeclineOffer,
    Freeze,
    Hold,
    Override,
    Release,
    RequestIncrease,
    SetCeiling,
    SetTemporaryLimit,
    Unfreeze,
)
from schemas.common import Event
from schemas.profiles import Profile, RelatedParty

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
OFFER_ID: Final = re.compile(rf"{OFFER}([1-9]\d{{0,17}})", re.ASCII)


def epoch_ms(moment: datetime) -> int:
    """Epoch milliseconds, finer digits cut off."""
    return (moment - EPOCH) // MILLISECOND


def policy_day(day: date | datetime, utc_offset_ms: int) -> int:
    """The number of a calendar date, or of the policy day that an instant lies in."""
    if isinstance(day, datetime):
        return (epoch_ms(day) + utc_offset_ms) // DAY_MS
    return (day - EPOCH.date()).days


def fill_event(column: Ints, event: Event, rules: DecodeRules, key: FingerprintKey) -> None:
    """Fill the column of a repayment, purchase or transfer, but for its fingerprint."""
    for name, time in TIMES.items():
        if hasattr(event, name):
            column[time] = epoch_ms(getattr(event, name))
    for name, amount in AMOUNTS.items():
        if hasattr(event, name):
            column[amount] = getattr(event, name)
    for name, (code, print_) in WORDS.items():
        word = getattr(event, name, None)
        if word is not None:
            known = rules.words[name]
            column[code] = known.index(word) + 1 if word in known else 0
            column[print_] = fingerprint(word.encode(), key)
    for name, (column_of, codes) in ENUMS.items():
        if hasattr(event, name):
            column[column_of] = codes[getattr(event, name).upper()]
    if hasattr(event, "loan_id"):
        column[Ev.LOAN] = fingerprint(event.loan_id.encode(), key)
    if event.reverses is not None:
        column[Ev.REVERSES_AT] = epoch_ms(event.reverses.occurred_at)
        column[Ev.REVERSES_FULL] = event.reverses.full


def fill_command(column: Ints, command: Any) -> None:
    """Fill the column of a command."""
    column[Ev.OCCURRED_AT] = epoch_ms(command.issued_at)
    column[Ev.COMMAND_KIND] = Command[command.kind.upper()]
    column[Ev.SECOND_PERSON] = command.approved_by not in (None, command.issued_by)
    match command:
        case Freeze() | Unfreeze():
            column[Ev.CAUSE] = Block[command.cause.upper()]
        case Hold():
            column[Ev.COMMAND_UNTIL] = epoch_ms(command.until)
        case Override():
            column[Ev.COMMAND_LIMIT], column[Ev.COMMAND_UNTIL] = command.limit_minor, epoch_ms(command.until)
        case SetTemporaryLimit():
            column[Ev.COMMAND_LIMIT], column[Ev.COMMAND_UNTIL] = command.limit_minor, epoch_ms(command.expires_at)
        case Release():
            column[Ev.COMMAND_OF] = Released[command.of.upper()]
        case RequestIncrease():
            column[Ev.COMMAND_LIMIT] = command.requested_limit_minor
        case SetCeiling() if command.ceiling_minor is not None:
            column[Ev.COMMAND_LIMIT] = command.ceiling_minor
        case AcceptOffer() | DeclineOffer():
            column[Ev.COMMAND_OF] = offer_number(command.offer_id)


def offer_number(name: str) -> int:
    """The sequence number of the change that made an offer; MISSING for text that names no offer."""
    match = OFFER_ID.fullmatch(name)
    return int(match[1]) if match else MISSING


def figures_of(profile: Profile, rules: DecodeRules) -> Ints:
    """(FIGURES + attributes,) the row of a profile (``layout.Fig``, then the policy's attributes); MISSING where it tells nothing."""
    row = np.full(FIGURES + len(rules.attributes), MISSING, np.int64)
    income, credit, business, granted = profile.income, profile.credit_record, profile.business, profile.granted
    known: dict[Fig, int | None] = {
        Fig.AS_OF: epoch_ms(profile.as_of),
        Fig.SEGMENT: Segment[profile.segment.upper()],
        Fig.STATUS: Status[profile.status.upper()],
        Fig.EMPLOYMENT: _code(Employment, profile.employment),
        Fig.INCOME_PROOF: _code(IncomeProof, income.proof if income else None),
        Fig.JURISDICTION: None if profile.jurisdiction is None else jurisdiction_code(profile.jurisdiction),
        Fig.APPLIED_AT: None if profile.applied_at is None else epoch_ms(profile.applied_at),
        Fig.REQUESTED_LIMIT: profile.requested_limit_minor,
        Fig.INCOME_MONTHLY: income.monthly_minor if income else None,
        Fig.DEBT_SERVICE_MONTHLY: profile.debt_service_monthly_minor,
        Fig.ASSETS: profile.assets_minor,
        Fig.EXPOSURE: profile.exposure_minor,
        Fig.EXTERNAL_DEBT: profile.external_debt_minor,
        Fig.EXTERNAL_LIMITS: profile.external_limits_minor,
        Fig.CREDIT_MONTHS: credit.months if credit else None,
        Fig.CREDIT_COMPLETENESS: credit.completeness_percent if credit else None,
        Fig.DELINQUENCIES_24M: credit.delinquencies_24m if credit else None,
        Fig.PERSISTENT_DEBT_MONTHS: credit.persistent_debt_months if credit else None,
        Fig.REVENUE_YEARLY: business.revenue_yearly_minor if business else None,
        Fig.BANK_FLOW_MONTHLY: business.bank_flow_monthly_minor if business else None,
        Fig.ECOSYSTEM_ACTIVITY_MONTHLY: business.ecosystem_activity_monthly if business else None,
        Fig.PRINCIPAL_ELIGIBLE: _principal_eligible(profile.related),
        Fig.RELATED_DAYS_PAST_DUE: max((p.days_past_due for p in profile.related if p.days_past_due is not None), default=None),
        Fig.RELATED_EXPOSURE: _related_exposure(profile.related),
        Fig.GRANTED_LIMIT: granted.limit_minor if granted else None,
        Fig.GRANTED_BAND: band_code(granted.band) if granted else None,
        Fig.APPLIED_SEQUENCE: profile.applied.sequence if profile.applied else None,
        Fig.APPLIED_LIMIT: profile.applied.limit_minor if profile.applied else None,
        Fig.CORRECTS: profile.corrects,
    }
    days: dict[Fig, date | datetime | None] = {
        Fig.OPENED_ON: profile.opened_on,
        Fig.IDENTITY_VERIFIED_UNTIL: profile.identity_verified_until,
        Fig.INCOME_AS_OF: income.as_of if income else None,
        Fig.CONSENT_AT: profile.consent_at,
        Fig.OPTED_OUT_AT: profile.opted_out_at,
        Fig.DEVICE_CHANGED_AT: profile.device_changed_at,
        Fig.CONTACT_CHANGED_AT: profile.contact_changed_at,
        Fig.GRANTED_SINCE: granted.since if granted else None,
    }
    known.update({figure: policy_day(day, rules.utc_offset_ms) for figure, day in days.items() if day is not None})
    for figure, value in known.items():
        if value is not None:
            row[figure] = value
    for place, name in enumerate(rules.attributes, FIGURES):
        row[place] = profile.attributes.get(name, MISSING)
    return row


def _code(codes: type[IntEnum], word: str | None) -> int | None:
    return None if word is None else codes[word.upper()]


def _principal_eligible(related: tuple[RelatedParty, ...]) -> int | None:
    known = [party.eligible for party in related if party.role == "principal"]
    if False in known:
        return 0
    return 1 if known and None not in known else None


def _related_exposure(related: tuple[RelatedParty, ...]) -> int | None:
    known = [p.exposure_minor for p in related if p.role in ("group", "joint") and p.exposure_minor is not None]
    return min(AMOUNT_MAX, sum(known)) if known else None
