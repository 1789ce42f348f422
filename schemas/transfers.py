"""Topic ``transfers``: money in and out."""

from __future__ import annotations

from typing import Literal

from schemas.common import Event, Identifier


class Transfer(Event):
    """A transfer. ``draw`` is the payout of this line, ``loan`` one of another lender, ``own`` between the
    customer's own accounts."""

    direction: Literal["in", "out"]
    counterparty_id: Identifier
    purpose: Literal["salary", "wealth", "draw", "loan", "rent", "person", "other", "own"]
