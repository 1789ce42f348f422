"""Topic ``limit-advisories``: what is said without a change of the standing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.changes import Advice, Cause, PolicyRef, Reason, Trace
from schemas.common import Output


class _Advisory(Output):
    event_id: str
    account_id: str
    occurred_at: str
    cause: Cause
    policy: PolicyRef


class CommandResult(_Advisory):
    """The answer to a command. ``reason`` says why it was refused; ``sequence`` is the account's last change after it. A refused request or
    acceptance carries the evaluation it was refused by."""

    kind: Literal["command_result"]
    command_id: str
    result: Literal["accepted", "refused"]
    reason: str | None
    sequence: int
    reasons: tuple[Reason, ...] = ()
    advice: tuple[Advice, ...] = ()
    trace: Trace | None = None


class OverBorrowing(_Advisory):
    """The customer borrows more than is good for them."""

    kind: Literal["over_borrowing"]
    reasons: tuple[Reason, ...]


class SuspectedTakeover(_Advisory):
    """For the risk desk: somebody else may be using the account."""

    kind: Literal["suspected_takeover"]
    reasons: tuple[Reason, ...]


class IncreaseWithheld(_Advisory):
    """The score asks for more, and a guard says no."""

    kind: Literal["increase_withheld"]
    guard: str
    target_limit_minor: int
    until: str | None
    reasons: tuple[Reason, ...]


class StandingMismatch(_Advisory):
    """Core banking has applied something else for too long."""

    kind: Literal["standing_mismatch"]
    sequence: int
    limit_minor: int
    applied_sequence: int
    applied_limit_minor: int


class BudgetSpent(_Advisory):
    """For the lender: what this shard may raise a segment's limits by on a day does not reach for this account's rise, the first on that day."""

    kind: Literal["budget_spent"]
    segment: str
    day: str
    share_minor: int
    raised_minor: int


class BreakerTripped(_Advisory):
    """For the lender: decreases were more than the segment's breaker allows; from this account's on there are none on this shard until it is
    released."""

    kind: Literal["breaker_tripped"]
    segment: str
    day: str
    evaluated: int
    lowered: int


Advisory = Annotated[
    CommandResult | OverBorrowing | SuspectedTakeover | IncreaseWithheld | StandingMismatch | BudgetSpent | BreakerTripped,
    Field(discriminator="kind"),
]
