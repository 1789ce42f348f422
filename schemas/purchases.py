"""Topic ``purchases``: posted purchases (authorisations appear only inside the profile's exposure)."""

from __future__ import annotations

from typing import Literal

from schemas.common import Event, Identifier, Word


class Purchase(Event):
    """A purchase. ``funded_by`` says whether it draws on this line."""

    category: Word
    channel: Word
    merchant_id: Identifier
    funded_by: Literal["own", "credit"]
