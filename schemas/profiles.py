"""Topic ``account-profiles``: what the core and the CRM know of an account, whole each time; absent means unknown."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.common import Currency, Day, Identifier, Input, Instant, Jurisdiction, Minor, Signed, Word

COUNT_MAX: Final = 1_000_000
PARTIES_MAX: Final = 50

Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Percent = Annotated[int, Field(ge=0, le=100)]
AttributeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Income(Input):
    """Monthly income, how it is proven, and as of when."""

    monthly_minor: Minor
    proof: Literal["documented", "stated", "estimated"]
    as_of: Day


class CreditRecord(Input):
    """The record at the credit bureau."""

    months: Count | None = None
    completeness_percent: Percent | None = None
    delinquencies_24m: Count | None = None
    persistent_debt_months: Count | None = None


class Business(Input):
    """An enterprise's figures."""

    revenue_yearly_minor: Minor | None = None
    bank_flow_monthly_minor: Minor | None = None
    ecosystem_activity_monthly: Count | None = None


class RelatedParty(Input):
    """Another obligor whose standing matters here. Its facts come only with this profile."""

    party_id: Identifier
    role: Literal["principal", "guarantor", "group", "joint"]
    eligible: bool | None = None
    score: Signed | None = None
    days_past_due: Count | None = None
    limit_minor: Minor | None = None
    exposure_minor: Minor | None = None
    as_of: Day | None = None


class Granted(Input):
    """A standing granted elsewhere: where an account begins that this engine never decided on."""

    limit_minor: Minor
    band: Word
    since: Day


class Applied(Input):
    """What core banking applied last."""

    sequence: Annotated[int, Field(ge=0, le=2**53 - 1)]
    limit_minor: Minor


class Profile(Input):
    """A snapshot of an account. One whose ``as_of`` is not newer than the held one has no effect.

    ``exposure_minor`` is principal, accrued interest and fees, and authorised holds, at ``as_of``. ``attributes`` are free numbers that a policy
    may read. No names and no document numbers.
    """

    event_id: Identifier
    account_id: Identifier
    occurred_at: Instant
    as_of: Instant
    corrects: bool = False
    segment: Literal["individual", "enterprise"]
    status: Literal["active", "dormant", "forbearance", "insolvent", "deceased", "written_off", "closed"]
    currency: Currency
    jurisdiction: Jurisdiction | None = None
    opened_on: Day | None = None
    applied_at: Instant | None = None
    requested_limit_minor: Minor | None = None
    identity_verified_until: Day | None = None
    employment: Literal["job", "self_employed", "student", "retired", "unemployed", "other"] | None = None
    income: Income | None = None
    debt_service_monthly_minor: Minor | None = None
    assets_minor: Minor | None = None
    exposure_minor: Minor | None = None
    external_debt_minor: Minor | None = None
    external_limits_minor: Minor | None = None
    credit_record: CreditRecord | None = None
    business: Business | None = None
    consent_at: Day | None = None
    opted_out_at: Day | None = None
    device_changed_at: Day | None = None
    contact_changed_at: Day | None = None
    granted: Granted | None = None
    applied: Applied | None = None
    related: tuple[RelatedParty, ...] = Field((), max_length=PARTIES_MAX)
    attributes: dict[AttributeName, Signed] = Field(default_factory=dict, max_length=100)
