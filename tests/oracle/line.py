"""What an evaluation leaves behind: what stands, what is emitted, and how it was judged (docs/policy.md §8, §9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Change = Literal[
    "grant",
    "increase",
    "decrease",
    "freeze",
    "unfreeze",
    "close",
    "offer",
    "offer_accepted",
    "offer_declined",
    "offer_expired",
    "announce",
    "announce_withdrawn",
    "temporary_start",
    "temporary_end",
    "rate_change",
]
Answer = Literal["command_accepted", "command_refused"]
Advisory = Literal["over_borrowing", "increase_withheld", "suspected_takeover", "standing_mismatch", "budget_spent", "breaker_tripped"]
Kind = Literal[Change, Answer, Advisory]
Guard = Literal[
    "closed",
    "override",
    "hold",
    "blocked",
    "in_arrears",
    "in_cure",
    "forbearance",
    "not_eligible",
    "identity_lapsed",
    "ability_not_fresh",
    "over_indebted",
    "opted_out",
    "quiet_hours",
    "cool_down_up",
    "cool_down_down",
    "notice_running",
    "warming_up",
    "consent_missing",
    "budget_spent",
    "breaker",
    "not_earned",
]


@dataclass(frozen=True)
class Line:
    """What stands: limit, band by name, blocks, and ``none``, ``open`` or ``closed``.

    The rest is what is stored: a hold or an override whose end has passed is still told here. Times are ms, tiers are names.
    """

    limit: int
    band: str | None
    blocks: frozenset[str]
    standing: Literal["none", "open", "closed"]
    ceiling: int | None = None
    temporary: tuple[int, int] | None = None  # limit, until
    offer: tuple[int, int, int] | None = None  # number, limit, until
    pending: tuple[int, int] | None = None  # limit, from when on
    hold_until: int | None = None
    override: tuple[int, int] | None = None  # limit, until
    rate_tier: str | None = None
    pending_rate: tuple[str, int] | None = None  # tier, from when on


@dataclass(frozen=True)
class Trace:
    """How one evaluation came out.

    While the profile's status closes the account nothing is judged from ``caps`` on: all None, and guard ``closed``. ``brakes`` are the day of
    the account's segment and what was raised, evaluated and lowered there when the limit was decided: 0 then too, and without brakes.
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
    guard: str | None = None  # a Guard: what withheld a change of the limit
    requirement: str | None = None  # code of the requirement or warning behind a guard that stands for one
    brakes: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class Emission:
    """A change, the answer to a command, or an advisory.

    ``cause`` is the block of a freeze or unfreeze, the reason of a refusal, ``command`` of a close by command, ``limit`` or ``rate`` of an
    announcement and its withdrawal, the code of an over-borrowing, the guard of an increase withheld. An answer and an advisory carry the
    account's sequence, and ``previous`` and ``new`` are both the line.
    """

    kind: Kind
    sequence: int
    clock: int
    cause: str | None
    previous: Line
    new: Line
    trace: Trace | None
