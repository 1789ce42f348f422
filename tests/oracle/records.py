"""The records an account receives, as plain values: times in epoch ms, money in minor units, words or None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What every record has.

    ``record_time`` is its Kafka timestamp, ``clock`` the shard's clock when it is taken, ``source`` its ``ce_source``.
    """

    account_id: str
    event_id: str  # of a command: its command_id
    occurred_at: int  # of a command: its issued_at
    record_time: int
    clock: int
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Posting(_Record):
    amount_minor: int
    product: str | None = None
    reverses_at: int | None = None  # reverses.occurred_at; None: no reversal
    reverses_full: bool = False


@dataclass(frozen=True, kw_only=True)
class Repayment(_Posting):
    """A payment on the instalment (loan_id, due_at), or the news that none came (amount 0)."""

    loan_id: str
    due_at: int
    amount_due_minor: int


@dataclass(frozen=True, kw_only=True)
class Purchase(_Posting):
    """A purchase."""

    category: str | None = None
    channel: str | None = None
    merchant_id: str | None = None
    funded_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Transfer(_Posting):
    """A transfer."""

    direction: str | None = None
    counterparty_id: str | None = None
    purpose: str | None = None


@dataclass(frozen=True)
class Granted:
    """A standing granted elsewhere, as a profile brings it. ``since_day`` is a policy day."""

    limit_minor: int
    band: str
    since_day: int


@dataclass(frozen=True)
class Applied:
    """What core banking applied last, as a profile tells it."""

    sequence: int
    limit_minor: int


@dataclass(frozen=True, kw_only=True)
class Profile(_Record):
    """A snapshot, flattened to the names of ``document.ProfileFigure`` (absent: unknown); dates are policy days."""

    as_of: int
    segment: str = "individual"
    applied_at: int | None = None
    requested_limit_minor: int | None = None
    exposure_minor: int | None = None
    granted: Granted | None = None
    applied: Applied | None = None
    corrects: bool = False
    figures: Mapping[str, int | str] = field(default_factory=dict)
    attributes: Mapping[str, int] = field(default_factory=dict)

    def figure(self, name: str) -> int | str | None:
        """A figure by the name a policy gives it (``attributes.x`` for an attribute), None if unknown."""
        if name.startswith("attributes."):
            return self.attributes.get(name.removeprefix("attributes."))
        return self.figures.get(name)


@dataclass(frozen=True, kw_only=True)
class Command(_Record):
    """A command, flattened: ``cause`` of freeze and unfreeze; ``until`` also for ``expires_at``; ``limit_minor`` also for the requested limit
    and the ceiling; ``of`` of release; ``offer_id``. ``second_person``: approved_by is there and is not issued_by."""

    kind: str
    cause: str | None = None
    until: int | None = None
    limit_minor: int | None = None
    of: str | None = None
    offer_id: str | None = None
    second_person: bool = False


@dataclass(frozen=True, kw_only=True)
class Forget(_Record):
    """The wish to forget the account: a profile without a value. It has no time of its own: ``occurred_at`` is the record's."""


Posting = Repayment | Purchase | Transfer
Record = Repayment | Purchase | Transfer | Profile | Command | Forget
