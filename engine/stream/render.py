"""From a decision of the kernel to the record that announces it: a limit change, or the answer to a command.

Everything in a value comes from the decision's row, its cause and the policy, so a replay renders the same bytes. The moment of sending is not
known here; the producer adds it as ``ce_time``.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic_core import to_json

from engine.core.layout import MISSING, Block, Kind, Out, Refused, Standing
from engine.policy.compile import CompiledPolicy
from engine.policy.explain import Explainer, Explanation
from engine.state.record import Output
from schemas import cloudevents as ce
from schemas.topics import ADVISORIES, CHANGES

IDS: Final = uuid.UUID("6f0c1d52-5a0e-5b7e-9a44-6c2d1b0f7e31")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SHARD_HEADER: Final = "shard"
OUTPUT_SEQUENCE_HEADER: Final = "output_sequence"


@dataclass(frozen=True, slots=True)
class Cause:
    """The record that was decided on."""

    kind: str
    topic: str
    partition: int
    offset: int
    id: str
    occurred_at_ms: int


def instant(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return (EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Renderer:
    """Renders the decisions of one shard under one policy."""

    def __init__(self, policy: CompiledPolicy, application: str, shard: int) -> None:
        self._policy = policy
        self._explainer = Explainer(policy)
        self._source = f"/{application}".encode()
        self._shard = str(shard).encode()
        document = policy.document
        self._reference = {"name": document.policy, "version": document.version, "hash": policy.hash}

    def render(self, decision: Sequence[int], account: bytes, cause: Cause, output_sequence: int) -> Output:
        """One decision as the record that announces it; ``output_sequence`` counts the shard's outputs."""
        kind = Kind(decision[Out.KIND])
        is_answer = kind in (Kind.COMMAND_ACCEPTED, Kind.COMMAND_REFUSED)
        body = self._command_result(decision, kind, cause) if is_answer else self._change(decision, kind)
        what = f"result:{cause.id}" if is_answer else str(decision[Out.SEQUENCE])
        event_id = str(uuid.uuid5(IDS, f"{account.decode()}:{what}"))
        value = {
            "event_id": event_id,
            "account_id": account.decode(),
            "occurred_at": instant(cause.occurred_at_ms),
            **body,
            "cause": {"kind": cause.kind, "topic": cause.topic, "partition": cause.partition, "offset": cause.offset, "id": cause.id},
            "policy": self._reference,
        }
        headers = (
            (ce.ID, event_id.encode()),
            (ce.SOURCE, self._source),
            (ce.SPEC, ce.SPEC_VERSION.encode()),
            (ce.TYPE, f"{ce.TYPE_PREFIX}.{'advisory' if is_answer else 'limit-change'}.{body['kind']}.v1".encode()),
            (ce.SUBJECT, account),
            (ce.PARTITION_KEY, account),
            (ce.CAUSATION_ID, cause.id.encode()),
            (ce.CONTENT_TYPE, ce.JSON.encode()),
            (SHARD_HEADER, self._shard),
            (OUTPUT_SEQUENCE_HEADER, str(output_sequence).encode()),
        )
        topic = ADVISORIES.name if is_answer else CHANGES.name
        return Output(topic, account, to_json(value), headers)

    @staticmethod
    def _command_result(decision: Sequence[int], kind: Kind, cause: Cause) -> dict[str, Any]:
        refused = kind is Kind.COMMAND_REFUSED
        return {
            "kind": "command_result",
            "command_id": cause.id,
            "result": "refused" if refused else "accepted",
            "reason": Refused(decision[Out.CAUSE]).name.lower() if refused else None,
            "sequence": decision[Out.SEQUENCE],
        }

    def _change(self, decision: Sequence[int], kind: Kind) -> dict[str, Any]:
        explanation = self._explainer.explain(decision)
        return {
            "sequence": decision[Out.SEQUENCE],
            "kind": kind.name.lower(),
            "previous": self.standing(decision, Out.PREVIOUS_LIMIT, Out.PREVIOUS_BAND, Out.PREVIOUS_BLOCKS, Out.PREVIOUS_STANDING),
            "standing": self.standing(decision, Out.LIMIT, Out.BAND, Out.BLOCKS, Out.STANDING),
            "score": explanation.score,
            "trace": trace_of(explanation),
            "reasons": [{"code": r.code, "feature": r.feature, "about": r.about, "text": r.text} for r in explanation.reasons],
            "advice": [],
        }

    def standing(self, decision: Sequence[int], limit_at: Out, band_at: Out, blocks_at: Out, standing_at: Out) -> dict[str, Any]:
        """The standing whose parts are in these columns of a decision."""
        limit, band, blocks = decision[limit_at], decision[band_at], decision[blocks_at]
        state = Standing(decision[standing_at])
        named = [block.name.lower() for block in Block if blocks >> block & 1] if blocks else []
        exposure, as_of = decision[Out.EXPOSURE], decision[Out.EXPOSURE_AS_OF]
        return {
            "state": state.name.lower(),
            "limit_minor": limit,
            "limit_in_force_minor": limit,
            "currency": self._policy.document.currency,
            "band": None if band == MISSING else self._policy.bands_by_code.get(band, f"unknown-{band:x}"),
            "rate_tier": None,
            "drawing_allowed": state is Standing.OPEN and not named,
            "blocks": named,
            "ceiling_minor": None,
            "temporary": None,
            "offer": None,
            "pending": None,
            "exposure_minor": None if exposure == MISSING else exposure,
            "exposure_as_of": None if as_of == MISSING else instant(as_of),
        }

    def assess(self, decision: Sequence[int]) -> dict[str, Any]:
        """The arithmetic of a decision, by name."""
        return trace_of(self._explainer.explain(decision))


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
        "days_past_due": explanation.days_past_due,
        "bucket": explanation.bucket,
        "warming_up": explanation.warming_up,
        "forced": explanation.forced,
    }
