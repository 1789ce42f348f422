"""From a decision of the kernel to the record that announces it: a limit change, or the answer to a command.

Everything in a value comes from the decision's row, its cause and the policy, so a replay renders the same bytes. The moment of sending is not
known here; the producer adds it as ``ce_time``. Values are JSON as ``schemas.changes`` and ``schemas.advisories`` have it. What a change tells up
to its reasons, which is most of it, is a form that compiled code fills in for all decisions at once (``engine.policy.forms``); the rest is
written out key by key around fragments that are made once (``engine.policy.fragments``).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from engine.core.fingerprint import band_code
from engine.core.layout import MISSING, Col, Guard, Kind, Out, Refused, Segment, after, before
from engine.core.tables import Ints, Se
from engine.policy.advice import Adviser
from engine.policy.compile import CompiledPolicy
from engine.policy.cost import example_cost
from engine.policy.explain import Explainer
from engine.policy.forms import UNKNOWN, Form, Forms, digits, one_of, record
from engine.policy.fragments import encoded, instant, moment, quoted
from engine.policy.standing import standing_form
from engine.policy.units import date_of
from engine.state.record import Output
from engine.stream.brakes import place_of
from engine.stream.sweep import Sweep
from engine.stream.tally import NO_BAND, ChangeFacts, Facts, Told, WithheldFacts
from schemas import cloudevents as ce
from schemas.topics import ADVISORIES, CHANGES, CONTROL

IDS: Final = uuid.UUID("6f0c1d52-5a0e-5b7e-9a44-6c2d1b0f7e31")
PRICED: Final = frozenset(map(int, (Kind.GRANT, Kind.OFFER_ACCEPTED, Kind.RATE_CHANGE)))
ANSWERS: Final = frozenset({Kind.COMMAND_ACCEPTED, Kind.COMMAND_REFUSED})
AT_ONCE: Final = 64  # forms filled in, whose half a megabyte stays in the processor's cache until it is taken
SHARD_HEADER: Final = "shard"
OUTPUT_SEQUENCE_HEADER: Final = "output_sequence"

_GUARDS: Final = [guard.name.lower() for guard in Guard]
_KINDS: Final = ["command_result" if kind in ANSWERS else kind.name.lower() for kind in Kind]
_VARIANTS: Final = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}
_FIRST_ADVISORY, _CLOSED = int(Kind.OVER_BORROWING), int(Guard.CLOSED)
_KIND, _SEQUENCE, _CLOCK, _SEGMENT, _CAUSE = int(Out.KIND), int(Out.SEQUENCE), int(Out.CLOCK), int(Out.SEGMENT), int(Out.CAUSE)
_SCORE, _GUARD, _BUCKET, _TIER = int(Out.SCORE), int(Out.GUARD), int(Out.BUCKET), after(Col.RATE_TIER)
_BAND_BEFORE, _BAND_AFTER = before(Col.BAND), after(Col.BAND)


class Cause(NamedTuple):
    """What was decided on: a record, or that time went by (no topic, ``at_ms``)."""

    kind: str
    topic: str | None
    partition: int | None
    offset: int | None
    id: str
    occurred_at_ms: int

    def told(self) -> bytes:
        """As the contract has it."""
        if self.kind == "tick":
            return b'{"kind":"tick","id":%b,"at":"%b"}' % (encoded(self.id), instant(self.occurred_at_ms).encode())
        place = f'{{"kind":"{self.kind}","topic":"{self.topic}","partition":{self.partition},"offset":{self.offset},"id":'
        return b"%b%b}" % (place.encode(), encoded(self.id))


def uuid5(name: bytes) -> str:
    """The name-based UUID (RFC 9562, version 5) of an output's name among ``IDS``."""
    digits = hashlib.sha1(IDS.bytes + name, usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{_VARIANTS[digits[16]]}{digits[17:20]}-{digits[20:32]}"


def unknown(code: int) -> str:
    """The name of a band or tier that the policy does not know: it is told by its code."""
    return f"{UNKNOWN}{code:x}"


def refusal_name(refused: int) -> str | None:
    """Why a command was refused, None if it was not."""
    if refused == Refused.NONE:
        return None
    return (Guard(refused - Refused.GUARD).name if refused > Refused.GUARD else Refused(refused).name).lower()


def identity(decision: Sequence[int], kind: int, cause: Cause) -> str:
    """What an output is, once for all of an account's: a change by its sequence number, an answer by its command, any other advisory by its kind,
    its moment and its cause."""
    if kind < _FIRST_ADVISORY:
        return str(decision[_SEQUENCE])
    return f"result:{cause.id}" if kind in ANSWERS else f"{_KINDS[kind]}:{decision[_CLOCK]}:{cause.id}"


def tick_cause(sweep: Sweep, shard: int, tick_ms: int) -> Cause:
    """What an account is told of a sweep: the day, or the activation that it follows."""
    if sweep.offset is None:
        return Cause("tick", None, None, None, sweep.cause, tick_ms)
    return Cause("control", CONTROL.name, shard, sweep.offset, sweep.cause, tick_ms)


class Renderer:
    """Renders the decisions of one shard under one policy. Decisions are rows, (n, decision_columns)."""

    def __init__(self, policy: CompiledPolicy, application: str, shard: int) -> None:
        self._policy = policy
        self._explainer = Explainer(policy)
        self._adviser = Adviser(policy)
        same_headers = (
            (ce.SOURCE, f"/{application}".encode()),
            (ce.SPEC, ce.SPEC_VERSION.encode()),
            (ce.CONTENT_TYPE, ce.JSON.encode()),
            (SHARD_HEADER, str(shard).encode()),
        )
        families = [f"{ce.TYPE_PREFIX}.{'limit-change' if kind < Kind.OVER_BORROWING else 'advisory'}" for kind in Kind]
        types = [f"{family}.{kind}.v1".encode() for family, kind in zip(families, _KINDS, strict=True)]
        self._headers = [(*same_headers, (ce.TYPE, own)) for own in types]  # by kind
        document, traces = policy.document, self._explainer.traces
        self._reference = encoded({"name": document.policy, "version": document.version, "hash": policy.hash})
        self._labels = {MISSING: NO_BAND} | policy.bands_by_code
        self._costs = costs_of(policy)
        previous, standing = (standing_form(policy, at) for at in (Out.PREVIOUS, Out.NEW))
        # By segment what a change tells up to its reasons, then each segment's trace, the standing, and nothing
        self._forms = Forms([*(change_form(previous, standing, trace) for trace in traces), *traces, standing, ()])
        self._trace_at, self._standing_at, self._nothing_at = len(traces), 2 * len(traces), 2 * len(traces) + 1

    def render(self, decisions: Ints, about: Iterable[tuple[bytes, Cause]], output_sequence: int) -> Iterator[Output]:
        """Decisions as the records that announce them, each about an account and of a cause. The first is the shard's output of this number."""
        accounts = iter(about)
        for first in range(0, len(decisions), AT_ONCE):
            some = decisions[first : first + AT_ONCE]
            filled, ranked = self._forms.fill(some, self._forms_of(some)), self._explainer.ranked(some)
            for decision, told in zip(ranked.tolist(), filled, strict=True):
                assert told is not None
                yield self._output(decision, told, *next(accounts), output_sequence)
                output_sequence += 1

    def standing(self, decision: Ints) -> bytes:
        """The standing after one decision."""
        return self._filled(decision, self._standing_at)

    def trace(self, decision: Ints) -> bytes:
        """The arithmetic of one evaluated decision, by name."""
        return self._filled(decision, self._trace_at + int(decision[_SEGMENT]))

    def cost(self, decision: Sequence[int]) -> bytes | None:
        """What the segment's example draw costs at the tier after a decision; None without a tier."""
        return self._costs.get((decision[_SEGMENT], decision[_TIER]))

    def _filled(self, decision: Ints, form: int) -> bytes:
        [told] = self._forms.fill(decision[None], np.array([form])).present()
        return told

    def _forms_of(self, decisions: Ints) -> Ints:
        """Which form each decision takes: of a change what it tells up to its reasons, of an answer to a request that was judged the trace."""
        kinds, segments = decisions[:, _KIND], decisions[:, _SEGMENT]
        is_judged = (kinds == Kind.COMMAND_REFUSED) & (decisions[:, _CAUSE] >= Refused.OFFER_STALE)
        forms = np.where(is_judged, self._trace_at + segments, self._nothing_at)
        return np.where(kinds < _FIRST_ADVISORY, segments, forms)

    def _output(self, decision: Sequence[int], told: bytes, account: bytes, cause: Cause, output_sequence: int) -> Output:
        """One decision as the record that announces it; ``told`` is what its form says."""
        kind = decision[_KIND]
        is_change = kind < _FIRST_ADVISORY
        body = self._change(decision, told) if is_change else self._advisory(decision, told, Kind(kind), cause)
        event_id = uuid5(b"%b:%b" % (account, identity(decision, kind, cause).encode())).encode()
        value = b'{"event_id":"%b","account_id":%b,"occurred_at":"%b",%b,"cause":%b,"policy":%b}' % (
            event_id,
            encoded(account.decode()),
            instant(cause.occurred_at_ms).encode(),
            body,
            cause.told(),
            self._reference,
        )
        headers = (
            (ce.ID, event_id),
            *self._headers[kind],
            (ce.SUBJECT, account),
            (ce.PARTITION_KEY, account),
            (ce.CAUSATION_ID, cause.id.encode()),
            (OUTPUT_SEQUENCE_HEADER, b"%d" % output_sequence),
        )
        return Told(CHANGES.name if is_change else ADVISORIES.name, account, value, headers, self._facts(decision))

    def _facts(self, decision: Sequence[int]) -> Facts | None:
        """What is counted of an output; None of most advisories."""
        kind = decision[_KIND]
        if kind >= _FIRST_ADVISORY:
            return WithheldFacts(_GUARDS[decision[_GUARD]]) if kind == Kind.INCREASE_WITHHELD else None
        clientele, before, after = self._explainer.clientele(decision), decision[_BAND_BEFORE], decision[_BAND_AFTER]
        missing = clientele.scorecard.missing(decision)
        return ChangeFacts(
            clientele.name,
            self._labels.get(before) or unknown(before),
            self._labels.get(after) or unknown(after),
            None if decision[_GUARD] == _CLOSED else decision[_SCORE],  # the profile's status closed the line: nothing was judged
            decision[_BUCKET],
            clientele.scorecard.size - missing,
            missing,
        )

    def _advisory(self, decision: Sequence[int], trace: bytes, kind: Kind, cause: Cause) -> bytes:
        """What an advisory of a kind tells."""
        told = f'"kind":"{_KINDS[kind]}"'
        match kind:
            case Kind.COMMAND_ACCEPTED | Kind.COMMAND_REFUSED:
                return self._command_result(decision, trace, kind, cause)
            case Kind.STANDING_MISMATCH:
                held, temporary, until = (decision[after(column)] for column in (Col.LIMIT, Col.TEMPORARY_LIMIT, Col.TEMPORARY_UNTIL))
                limit = temporary if until > decision[_CLOCK] else held
                told += (
                    f',"sequence":{decision[Out.SEQUENCE]},"limit_minor":{limit}'
                    f',"applied_sequence":{decision[Out.APPLIED_SEQUENCE]},"applied_limit_minor":{decision[Out.APPLIED_LIMIT]}'
                )
                return told.encode()
            case Kind.BUDGET_SPENT | Kind.BREAKER_TRIPPED:
                return f"{told},{self._brake(decision, kind)}".encode()
            case Kind.INCREASE_WITHHELD:
                told += (
                    f',"guard":"{_GUARDS[decision[_GUARD]]}","target_limit_minor":{decision[Out.TARGET_LIMIT]}'
                    f',"until":{moment(decision[Out.GUARD_UNTIL])}'
                )
        return b'%b,"reasons":[%b]' % (told.encode(), b",".join(self._explainer.reasons(decision)))

    def _brake(self, decision: Sequence[int], kind: Kind) -> str:
        """Where and when a brake has bitten, and what was counted by then."""
        segment = Segment(decision[Out.SEGMENT]).name.lower()
        told = f'"segment":"{segment}","day":"{date_of(decision[Out.BRAKE_DAY])}"'
        if kind is Kind.BREAKER_TRIPPED:
            return f'{told},"evaluated":{decision[Out.BRAKE_EVALUATED]},"lowered":{decision[Out.BRAKE_LOWERED]}'
        share = int(self._policy.program[place_of(self._policy.program, segment) + Se.BUDGET])
        return f'{told},"share_minor":{share},"raised_minor":{decision[Out.BRAKE_RAISED]}'

    def _command_result(self, decision: Sequence[int], trace: bytes, kind: Kind, cause: Cause) -> bytes:
        """Whether a command was done, why not, and of a request for more what stands against it."""
        refused = decision[Out.CAUSE]
        result = "accepted" if kind is Kind.COMMAND_ACCEPTED else "refused"
        told = f',"result":"{result}","reason":{quoted(refusal_name(refused))},"sequence":{decision[Out.SEQUENCE]}'
        answer = b'"kind":"command_result","command_id":%b%b' % (encoded(cause.id), told.encode())
        if refused < Refused.OFFER_STALE:
            return answer
        return b'%b,"reasons":[%b],"advice":[%b],"trace":%b' % (
            answer,
            b",".join(self._explainer.reasons(decision)),
            b",".join(self._adviser.to_do(decision)),
            trace,
        )

    def _change(self, decision: Sequence[int], told: bytes) -> bytes:
        """What a change of the standing tells."""
        cost = self.cost(decision) if decision[_KIND] in PRICED else None
        return b'%b,"reasons":[%b],"advice":[%b]%b' % (
            told,
            b",".join(self._explainer.reasons(decision)),
            b",".join(self._adviser.advise(decision)),
            b"" if cost is None else b',"cost":%b' % cost,
        )


def change_form(previous: Form, standing: Form, trace: Form) -> Form:
    """The members of a change up to its reasons."""
    members = {
        "sequence": digits(_SEQUENCE),
        "kind": one_of(_KIND, map(quoted, _KINDS)),
        "previous": previous,
        "standing": standing,
        "score": digits(_SCORE),
        "trace": trace,
    }
    return record(members)[1:-1]  # without its braces


def costs_of(policy: CompiledPolicy) -> dict[tuple[int, int], bytes]:
    """The cost of each segment's example draw, by segment number and tier code."""
    found = {}
    for place, segment in enumerate(policy.segments):
        if segment is None or segment.rates is None:
            continue
        example = segment.rates.example
        for tier in segment.rates.tiers:
            cost = example_cost(example, tier)
            found[place, band_code(tier.name)] = encoded(
                {
                    "draw_minor": example.draw_minor,
                    "term_months": example.term_months,
                    "plan": example.plan,
                    "apr_effective_bp": cost.apr_effective_bp,
                    "apr_nominal_bp": cost.apr_nominal_bp,
                    "total_payable_minor": cost.total_payable_minor,
                    "total_cost_minor": cost.total_cost_minor,
                }
            )
    return found
