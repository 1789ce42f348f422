"""Topic ``limit-commands``: what operators and the customer's app ask for. Each is answered by a ``command_result`` advisory."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.common import Identifier, Input, Instant, Minor, Text

Cause = Literal["customer", "takeover", "risk_desk", "arrears", "legal"]


class _Command(Input):
    command_id: Identifier
    account_id: Identifier
    issued_at: Instant
    issued_by: Identifier
    approved_by: Identifier | None = None
    reason: Text


class Freeze(_Command):
    """No more drawing, for this cause."""

    kind: Literal["freeze"]
    cause: Cause


class Unfreeze(_Command):
    """This cause no longer stands; drawing is allowed when no other does."""

    kind: Literal["unfreeze"]
    cause: Cause


class Hold(_Command):
    """The limit stays as it is until then."""

    kind: Literal["hold"]
    until: Instant


class Override(_Command):
    """This limit instead of the computed one until then."""

    kind: Literal["override"]
    limit_minor: Minor
    until: Instant


class Release(_Command):
    """End a hold, an override or a temporary limit before its time."""

    kind: Literal["release"]
    of: Literal["hold", "override", "temporary"]


class SetTemporaryLimit(_Command):
    """Another limit until it expires."""

    kind: Literal["set_temporary_limit"]
    limit_minor: Minor
    expires_at: Instant


class RequestIncrease(_Command):
    """The customer asks for more."""

    kind: Literal["request_increase"]
    requested_limit_minor: Minor


class SetCeiling(_Command):
    """The customer's own ceiling; without one it is lifted."""

    kind: Literal["set_ceiling"]
    ceiling_minor: Minor | None = None


class AcceptOffer(_Command):
    """The customer takes an offer."""

    kind: Literal["accept_offer"]
    offer_id: Identifier


class DeclineOffer(_Command):
    """The customer declines an offer."""

    kind: Literal["decline_offer"]
    offer_id: Identifier


class OptOut(_Command):
    """No more increases without the customer's request."""

    kind: Literal["opt_out"]


class Close(_Command):
    """End the line."""

    kind: Literal["close"]


Command = Annotated[
    Freeze
    | Unfreeze
    | Hold
    | Override
    | Release
    | SetTemporaryLimit
    | RequestIncrease
    | SetCeiling
    | AcceptOffer
    | DeclineOffer
    | OptOut
    | Close,
    Field(discriminator="kind"),
]
