"""From a decision of the kernel to the record that announces it: a limit change, or the answer to a command.

Everything in a value comes from the decision's row, its cause and the policy, so a replay renders the same bytes. The moment of sending is not
known here; the producer adds it as ``ce_time``.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from pydantic_core import to_json

from engine.core.fingerprint import band_code
from engine.core.layout import MISSING, Block, Col, Guard, Kind, Out, Refused, Segment, Standing, after
from engine.core.tables import Se
from engine.policy.advice import Advice, Adviser
from engine.policy.compile import CompiledPolicy
from engine.policy.cost import example_cost
from engine.policy.explain import Explainer, Explanation, Reason
from engine.policy.units import date_of
from engine.state.record import Output
from engine.stream.brakes import place_of
from engine.stream.decode.columns import offer_id
from engine.stream.sweep import Sweep
from engine.stream.tally import Told, facts_of
from schemas import cloudevents as ce
from schemas.topics import ADVISORIES, CHANGES, CONTROL

IDS: Final = uuid.UUID("6f0c1d52-5a0e-5b7e-9a44-6c2d1b0f7e31")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
PRICED: Final = frozenset({Kind.GRANT, Kind.OFFER_ACCEPTED, Kind.RATE_CHANGE})
SHARD_HEADER: Final = "shard"
OUTPUT_SEQUENCE_HEADER: Final = "output_sequence"


@dataclass(frozen=True, slots=True)
class Cause:
    """What was decided on: a record, or that time went by (no topic, ``at_ms``)."""

    kind: str
    topic: str | None
    partition: int | None
    offset: int | None
    id: str
    occurred_at_ms: int

    def plain(self) -> dict[str, Any]:
        """As the contract has it."""
        told: dict[str, Any] = {"kind": self.kind, "topic": self.topic, "partition": self.partition, "offset": self.offset, "id": self.id}
        return told if self.kind != "tick" else {"kind": self.kind, "id": self.id, "at": instant(self.occurred_at_ms)}


def instant(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return (EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_or_none(at_ms: int) -> str | None:
    """``instant``, None for MISSING."""
    return None if at_ms == MISSING else instant(at_ms)


def named_by(names: Mapping[int, str], code: int | None) -> str | None:
    """The name of a band or tier by its code; one that the policy does not know is told by the code."""
    return None if code is None else names.get(code, f"unknown-{code:x}")


def limit_in_force(decision: Sequence[int], at: Out) -> int:
    """The limit in force before or after a decision: the temporary one while there is one."""
    until = decision[at + Col.TEMPORARY_UNTIL - Col.STANDING]
    return decision[at + (Col.TEMPORARY_LIMIT if until > decision[Out.CLOCK] else Col.LIMIT) - Col.STANDING]


def refusal_name(refused: int) -> str | None:
    """Why a command was refused, None if it was not."""
    if refused == Refused.NONE:
        return None
    return (Guard(refused - Refused.GUARD).name if refused > Refused.GUARD else Refused(refused).name).lower()


def identity(decision: Sequence[int], kind: Kind, cause: Cause) -> str:
    """What an output is, once for all of an account's: a change by its sequence number, an answer by its command, any other advisory by its kind,
    its moment and its cause."""
    if kind < Kind.OVER_BORROWING:
        return str(decision[Out.SEQUENCE])
    return f"result:{cause.id}" if kind >= Kind.COMMAND_ACCEPTED else f"{kind.name.lower()}:{decision[Out.CLOCK]}:{cause.id}"


def reasons_of(reasons: Sequence[Reason]) -> list[dict[str, Any]]:
    """Reasons as the contract has them."""
    return [{"code": reason.code, "feature": reason.feature, "about": reason.about, "text": reason.text} for reason in reasons]


def tick_cause(sweep: Sweep, shard: int, tick_ms: int) -> Cause:
    """What an account is told of a sweep: the day, or the activation that it follows."""
    if sweep.offset is None:
        return Cause("tick", None, None, None, sweep.cause, tick_ms)
    return Cause("control", CONTROL.name, shard, sweep.offset, sweep.cause, tick_ms)


class Renderer:
    """Renders the decisions of one shard under one policy."""

    def __init__(self, policy: CompiledPolicy, application: str, shard: int) -> None:
        self._policy = policy
        self._explainer = Explainer(policy)
        self._adviser = Adviser(policy)
        self._same_headers = (
            (ce.SOURCE, f"/{application}".encode()),
            (ce.SPEC, ce.SPEC_VERSION.encode()),
            (ce.CONTENT_TYPE, ce.JSON.encode()),
            (SHARD_HEADER, str(shard).encode()),
        )
        document = policy.document
        self._reference = {"name": document.policy, "version": document.version, "hash": policy.hash}

    def render(self, decision: Sequence[int], account: bytes, cause: Cause, output_sequence: int) -> Output:
        """One decision as the record that announces it; ``output_sequence`` counts the shard's outputs."""
        kind = Kind(decision[Out.KIND])
        is_change = kind < Kind.OVER_BORROWING
        body = self._change(decision, kind) if is_change else self._advisory(decision, kind, cause)
        event_id = str(uuid.uuid5(IDS, f"{account.decode()}:{identity(decision, kind, cause)}"))
        value = {
            "event_id": event_id,
            "account_id": account.decode(),
            "occurred_at": instant(cause.occurred_at_ms),
            **body,
            "cause": cause.plain(),
            "policy": self._reference,
        }
        headers = (
            (ce.ID, event_id.encode()),
            *self._same_headers,
            (ce.TYPE, f"{ce.TYPE_PREFIX}.{'limit-change' if is_change else 'advisory'}.{body['kind']}.v1".encode()),
            (ce.SUBJECT, account),
            (ce.PARTITION_KEY, account),
            (ce.CAUSATION_ID, cause.id.encode()),
            (OUTPUT_SEQUENCE_HEADER, b"%d" % output_sequence),
        )
        return Told(CHANGES.name if is_change else ADVISORIES.name, account, to_json(value), headers, facts_of(body))

    def _advisory(self, decision: Sequence[int], kind: Kind, cause: Cause) -> dict[str, Any]:
        """What an advisory of a kind tells."""
        match kind:
            case Kind.COMMAND_ACCEPTED | Kind.COMMAND_REFUSED:
                return self._command_result(decision, kind, cause)
            case Kind.STANDING_MISMATCH:
                return {
                    "kind": "standing_mismatch",
                    "sequence": decision[Out.SEQUENCE],
                    "limit_minor": limit_in_force(decision, Out.NEW),
                    "applied_sequence": decision[Out.APPLIED_SEQUENCE],
                    "applied_limit_minor": decision[Out.APPLIED_LIMIT],
                }
            case Kind.BUDGET_SPENT | Kind.BREAKER_TRIPPED:
                return {"kind": kind.name.lower(), **self._brake(decision, kind)}
        told: dict[str, Any] = {"kind": kind.name.lower()}
        if kind is Kind.INCREASE_WITHHELD:
            told |= {
                "guard": Guard(decision[Out.GUARD]).name.lower(),
                "target_limit_minor": decision[Out.TARGET_LIMIT],
                "until": instant_or_none(decision[Out.GUARD_UNTIL]),
            }
        return told | {"reasons": reasons_of(self._explainer.reasons(decision))}

    def _brake(self, decision: Sequence[int], kind: Kind) -> dict[str, Any]:
        """Where and when a brake has bitten, and what was counted by then."""
        segment = Segment(decision[Out.SEGMENT]).name.lower()
        told = {"segment": segment, "day": date_of(decision[Out.BRAKE_DAY])}
        if kind is Kind.BREAKER_TRIPPED:
            return told | {"evaluated": decision[Out.BRAKE_EVALUATED], "lowered": decision[Out.BRAKE_LOWERED]}
        share = int(self._policy.program[place_of(self._policy.program, segment) + Se.BUDGET])
        return told | {"share_minor": share, "raised_minor": decision[Out.BRAKE_RAISED]}

    def _command_result(self, decision: Sequence[int], kind: Kind, cause: Cause) -> dict[str, Any]:
        refused = decision[Out.CAUSE]
        told = {
            "kind": "command_result",
            "command_id": cause.id,
            "result": "accepted" if kind is Kind.COMMAND_ACCEPTED else "refused",
            "reason": refusal_name(refused),
            "sequence": decision[Out.SEQUENCE],
        }
        if refused < Refused.OFFER_STALE:
            return told
        explanation = self._explainer.explain(decision)
        advice = [advice_of(advice) for advice in self._adviser.to_do(decision)]
        return told | {"reasons": reasons_of(explanation.reasons), "advice": advice, "trace": trace_of(explanation)}

    def _change(self, decision: Sequence[int], kind: Kind) -> dict[str, Any]:
        explanation = self._explainer.explain(decision)
        cost = self.cost_of(decision) if kind in PRICED else None
        return {
            "sequence": decision[Out.SEQUENCE],
            "kind": kind.name.lower(),
            "previous": self.standing(decision, Out.PREVIOUS),
            "standing": self.standing(decision, Out.NEW),
            "score": explanation.score,
            "trace": trace_of(explanation),
            "reasons": reasons_of(explanation.reasons),
            "advice": [advice_of(advice) for advice in self._adviser.advise(decision)],
            **({"cost": cost} if cost is not None else {}),
        }

    def cost_of(self, decision: Sequence[int]) -> dict[str, Any] | None:
        """What the segment's example draw costs at the tier after a decision; None without a tier."""
        return self._costs.get((decision[Out.SEGMENT], decision[after(Col.RATE_TIER)]))

    @cached_property
    def _costs(self) -> dict[tuple[int, int], dict[str, Any]]:
        """The cost of each segment's example draw, by segment number and tier code."""
        found = {}
        for number, segment in enumerate(self._policy.segments):
            if segment is None or segment.rates is None:
                continue
            example = segment.rates.example
            for tier in segment.rates.tiers:
                cost = example_cost(example, tier)
                found[number, band_code(tier.name)] = {
                    "draw_minor": example.draw_minor,
                    "term_months": example.term_months,
                    "plan": example.plan,
                    "apr_effective_bp": cost.apr_effective_bp,
                    "apr_nominal_bp": cost.apr_nominal_bp,
                    "total_payable_minor": cost.total_payable_minor,
                    "total_cost_minor": cost.total_cost_minor,
                }
        return found

    def standing(self, decision: Sequence[int], at: Out) -> dict[str, Any]:
        """The standing before (``Out.PREVIOUS``) or after (``Out.NEW``) a decision."""

        def part(column: Col) -> int | None:
            value = decision[at + column - Col.STANDING]
            return None if value == MISSING else value

        def until(limit: Col, end: Col, name: str) -> dict[str, Any] | None:
            return None if part(end) is None else {"limit_minor": part(limit), name: instant_or_none(decision[at + end - Col.STANDING])}

        blocks = decision[at + Col.BLOCKS - Col.STANDING]
        state = Standing(decision[at])
        named = [block.name.lower() for block in Block if blocks >> block & 1] if blocks else []
        exposure, as_of = decision[Out.EXPOSURE], decision[Out.EXPOSURE_AS_OF]
        offer, pending_rate = part(Col.OFFER), part(Col.PENDING_RATE)
        hold = part(Col.HOLD_UNTIL)
        return {
            "state": state.name.lower(),
            "limit_minor": part(Col.LIMIT),
            "limit_in_force_minor": limit_in_force(decision, at),
            "currency": self._policy.document.currency,
            "band": named_by(self._policy.bands_by_code, part(Col.BAND)),
            "rate_tier": named_by(self._policy.tiers_by_code, part(Col.RATE_TIER)),
            "drawing_allowed": state is Standing.OPEN and not named,
            "blocks": named,
            "ceiling_minor": part(Col.CEILING),
            "temporary": until(Col.TEMPORARY_LIMIT, Col.TEMPORARY_UNTIL, "until"),
            "offer": None
            if offer is None
            else {"offer_id": offer_id(offer), **(until(Col.OFFER_LIMIT, Col.OFFER_UNTIL, "expires_at") or {})},
            "pending": until(Col.PENDING_LIMIT, Col.PENDING_AT, "effective_at"),
            "pending_rate": None
            if pending_rate is None
            else {
                "rate_tier": named_by(self._policy.tiers_by_code, pending_rate),
                "effective_at": instant_or_none(decision[at + Col.PENDING_RATE_AT - Col.STANDING]),
            },
            "hold_until": None if hold is None or hold <= decision[Out.CLOCK] else instant(hold),
            "override": until(Col.OVERRIDE_LIMIT, Col.OVERRIDE_UNTIL, "until")
            if (part(Col.OVERRIDE_UNTIL) or MISSING) > decision[Out.CLOCK]
            else None,
            "exposure_minor": None if exposure == MISSING else exposure,
            "exposure_as_of": instant_or_none(as_of),
        }

    def assess(self, decision: Sequence[int]) -> dict[str, Any]:
        """The arithmetic of a decision, by name."""
        return trace_of(self._explainer.explain(decision))


def advice_of(advice: Advice) -> dict[str, Any]:
    """One piece of advice as the contract has it."""
    return {
        "code": advice.code,
        "feature": advice.feature,
        "value": advice.value,
        "value_needed": advice.value_needed,
        "points": advice.points,
        "until": None if advice.until is None else instant(advice.until),
        "text": advice.text,
    }


def trace_of(explanation: Explanation) -> dict[str, Any]:
    """An explanation as the contract's trace."""
    return {
        "segment": explanation.segment,
        "base_points": explanation.base_points,
        "features": [
            {"feature": row.feature, "value": row.value, "bin_at_least": row.bin_at_least, "points": row.points}
            for row in explanation.features
        ],
        "score": explanation.score,
        "target_band": explanation.target_band,
        "target_limit_minor": explanation.target_limit_minor,
        "caps": explanation.caps,
        "bound_by": explanation.bound_by,
        "guard": explanation.guard,
        "guard_until": None if explanation.guard_until_ms is None else instant(explanation.guard_until_ms),
        "requirement": explanation.requirement,
        "signals": explanation.signals,
        "days_past_due": explanation.days_past_due,
        "bucket": explanation.bucket,
        "warming_up": explanation.warming_up,
        "forced": explanation.forced,
    }
