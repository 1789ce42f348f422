"""What the events and the profile have: the fields of each event, their known words, and the type of each figure."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal, get_args

from engine.core.layout import Direction, Employment, Funding, IncomeProof, Outcome, Purpose, Status
from engine.policy.document import NumberField, ProfileFigure, SinceField, WordField

NUMBER_FIELDS: Final[tuple[str, ...]] = get_args(NumberField)
WORD_FIELDS: Final[tuple[str, ...]] = get_args(WordField)
SINCE_FIELDS: Final[tuple[str, ...]] = get_args(SinceField)
FIGURES: Final[tuple[str, ...]] = get_args(ProfileFigure)
ATTRIBUTE_PREFIX: Final = "attributes."

EVENT_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "repayment": ("amount_minor", "amount_due_minor", "days_late", "product"),
    "purchase": ("amount_minor", "category", "channel", "product", "funded_by", "merchant_id"),
    "transfer": ("amount_minor", "product", "direction", "purpose", "counterparty_id"),
    "instalment": ("amount_minor", "amount_due_minor", "days_late", "outcome"),
    "usage": ("amount_minor", "utilisation_percent"),
}

WORD_FIGURES: Final = ("status", "employment", "income_proof", "jurisdiction")
DATE_FIGURES: Final = (
    "opened_on",
    "identity_verified_until",
    "income_as_of",
    "consent_at",
    "opted_out_at",
    "device_changed_at",
    "contact_changed_at",
)

# A word's code is a bit of a 64-bit mask, and 0 is none: at most 63 words of a field over a whole policy.
WORDS_MAX: Final = 63

FigureType = Literal["word", "date", "number"]


def _words(codes: type[IntEnum]) -> tuple[str, ...]:
    return tuple(code.name.lower() for code in codes)


_CONTRACT_WORDS: Final = {
    "funded_by": _words(Funding),
    "direction": _words(Direction),
    "purpose": _words(Purpose),
    "outcome": _words(Outcome),
    "status": _words(Status),
    "employment": _words(Employment),
    "income_proof": _words(IncomeProof),
}


def contract_words(field: str) -> tuple[str, ...] | None:
    """All words that the contract allows in a field or figure; None where any word may stand."""
    return _CONTRACT_WORDS.get(field)


def figure_type(figure: str) -> FigureType | None:
    """Type of a profile figure or attribute; None if there is no such figure."""
    if figure in WORD_FIGURES:
        return "word"
    if figure in DATE_FIGURES:
        return "date"
    return "number" if figure in FIGURES or figure.startswith(ATTRIBUTE_PREFIX) else None
