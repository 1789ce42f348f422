"""The words that generated policies and logs have in common, and the moment around which logs begin."""

from __future__ import annotations

from typing import Final

START: Final = 1_772_323_200_000  # 2026-03-01T00:00:00Z

WORDS: Final[dict[str, tuple[str, ...]]] = {
    "category": ("groceries", "dining", "travel", "health", "lottery", "gambling"),
    "channel": ("app", "pos", "web"),
    "product": ("card", "loan"),
    "funded_by": ("own", "credit"),
    "direction": ("in", "out"),
    "purpose": ("salary", "wealth", "draw", "loan", "rent", "person", "other", "own"),
    "merchant_id": tuple(f"merchant-{i}" for i in range(30)),
    "counterparty_id": tuple(f"party-{i}" for i in range(30)),
    "outcome": ("on_time", "late", "partial", "missed"),
}
EVENT_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "repayment": ("product",),
    "purchase": ("category", "channel", "product", "funded_by", "merchant_id"),
    "transfer": ("product", "direction", "purpose", "counterparty_id"),
    "instalment": ("outcome",),
    "usage": (),
}
EVENT_NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "repayment": ("amount_minor", "amount_due_minor", "days_late"),
    "purchase": ("amount_minor",),
    "transfer": ("amount_minor",),
    "instalment": ("amount_minor", "amount_due_minor", "days_late"),
    "usage": ("amount_minor", "utilisation_percent"),
}

AMOUNTS: Final = (1, 99, 100, 2_500, 10_000, 10_000, 30_000, 50_000, 80_000, 120_000, 400_000)
DATES: Final = (
    "opened_on",
    "identity_verified_until",
    "income_as_of",
    "consent_at",
    "opted_out_at",
    "device_changed_at",
    "contact_changed_at",
)
NUMBERS: Final[dict[str, tuple[int, int]]] = {
    "income_monthly_minor": (0, 400_000),
    "debt_service_monthly_minor": (0, 200_000),
    "assets_minor": (0, 5_000_000),
    "external_debt_minor": (0, 1_000_000),
    "external_limits_minor": (0, 300_000),
    "credit_months": (0, 120),
    "credit_completeness_percent": (0, 100),
    "delinquencies_24m": (0, 8),
    "persistent_debt_months": (0, 24),
    "revenue_yearly_minor": (0, 9_000_000),
    "bank_flow_monthly_minor": (0, 900_000),
    "ecosystem_activity_monthly": (0, 300),
    "principal_eligible": (0, 1),
    "related_days_past_due": (0, 60),
    "related_exposure_minor": (0, 500_000),
    "attributes.tax_grade": (-2, 5),
    "attributes.Stars": (0, 5),
}
FIGURE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "employment": ("job", "student", "retired"),
    "income_proof": ("documented", "stated"),
    "jurisdiction": ("CN", "HK", "SG"),
    "status": ("active", "dormant", "forbearance", "insolvent", "deceased", "written_off", "closed"),
}
