"""A standing as it is told: the form (``engine.policy.forms``) of what stands before or after a decision, as ``schemas.changes`` has it."""

from __future__ import annotations

from typing import Final

from engine.core.layout import MISSING, Block, Col, Out, Standing
from engine.policy.compile import CompiledPolicy
from engine.policy.forms import Form, digits, equals, instant, known, later, moment, named, number, one_of, record, text, when
from engine.policy.fragments import BOOLEANS, NULL, encoded, quoted

OFFER: Final = "offer-"  # what an offer's id begins with, before the sequence number of the change that made it
STATES: Final = [quoted(state.name.lower()) for state in Standing]
BLOCKS: Final = [encoded([block.name.lower() for block in Block if bits >> block & 1]).decode() for bits in range(1 << len(Block))]
FALSE, TRUE = map(text, BOOLEANS)


def standing_form(policy: CompiledPolicy, at: Out) -> Form:
    """The standing in the columns of a decision from ``at`` on, before (``Out.PREVIOUS``) or after it (``Out.NEW``); the exposure is that of the
    moment, before and after."""
    column = {own: at + own - Col.STANDING for own in Col if Col.STANDING <= own <= Col.PENDING_RATE_AT}
    bands = {code: quoted(name) for code, name in policy.bands_by_code.items()}
    tiers = {code: quoted(name) for code, name in policy.tiers_by_code.items()}

    def limit(own: Col, name: str, ends: Col) -> Form:
        return record({"limit_minor": number(column[own]), name: instant(column[ends])})

    offer_id = {"offer_id": text(f'"{OFFER}') + digits(column[Col.OFFER]) + text('"')}
    offer_of = {"limit_minor": number(column[Col.OFFER_LIMIT]), "expires_at": instant(column[Col.OFFER_UNTIL])}
    pending_rate = {"rate_tier": named(column[Col.PENDING_RATE], tiers), "effective_at": moment(column[Col.PENDING_RATE_AT])}
    has_temporary = later(column[Col.TEMPORARY_UNTIL], Out.CLOCK)
    return record(
        {
            "state": one_of(column[Col.STANDING], STATES),
            "limit_minor": number(column[Col.LIMIT]),
            "limit_in_force_minor": when(has_temporary, digits(column[Col.TEMPORARY_LIMIT]), digits(column[Col.LIMIT])),
            "currency": text(quoted(policy.document.currency)),
            "band": named(column[Col.BAND], bands),
            "rate_tier": named(column[Col.RATE_TIER], tiers),
            "drawing_allowed": when(equals(column[Col.STANDING], Standing.OPEN), when(equals(column[Col.BLOCKS], 0), TRUE, FALSE), FALSE),
            "blocks": one_of(column[Col.BLOCKS], BLOCKS),
            "ceiling_minor": number(column[Col.CEILING]),
            "temporary": known(column[Col.TEMPORARY_UNTIL], limit(Col.TEMPORARY_LIMIT, "until", Col.TEMPORARY_UNTIL)),
            "offer": known(
                column[Col.OFFER], when(equals(column[Col.OFFER_UNTIL], MISSING), record(offer_id), record(offer_id | offer_of))
            ),
            "pending": known(column[Col.PENDING_AT], limit(Col.PENDING_LIMIT, "effective_at", Col.PENDING_AT)),
            "pending_rate": known(column[Col.PENDING_RATE], record(pending_rate)),
            "hold_until": when(later(column[Col.HOLD_UNTIL], Out.CLOCK), instant(column[Col.HOLD_UNTIL]), text(NULL)),
            "override": when(
                later(column[Col.OVERRIDE_UNTIL], Out.CLOCK), limit(Col.OVERRIDE_LIMIT, "until", Col.OVERRIDE_UNTIL), text(NULL)
            ),
            "exposure_minor": number(Out.EXPOSURE),
            "exposure_as_of": moment(Out.EXPOSURE_AS_OF),
        }
    )
