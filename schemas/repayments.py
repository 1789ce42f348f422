"""Topic ``repayments``: one record for each payment of an instalment, and one at the end of its due day."""

from __future__ import annotations

from schemas.common import Event, Identifier, Instant, Minor


class Repayment(Event):
    """A payment on the instalment (loan_id, due_at), or with amount 0 the news that nothing came by the end of the due day.

    ``amount_due_minor`` is the instalment's whole due; a later value replaces it.
    """

    loan_id: Identifier
    due_at: Instant
    amount_due_minor: Minor
