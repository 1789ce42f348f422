"""From decisions of the kernel to the records that announce them: limit changes, advisories, answers to commands.

Everything in an output comes from the decision's row, its cause and the policy, so a replay renders the same bytes. The moment of sending is not
known here; the producer adds it as ``ce_time``. Values are JSON as ``schemas.changes`` and ``schemas.advisories`` have it.

Theory of operation. A value, its headers and the name that its id is made of are forms (``engine.policy.forms``), which compiled code fills in
for many decisions at once: a change's by the segment, an advisory's by its kind and the segment. A form reads the decision's row, behind it some
columns more (``Also``: the numbers of the reasons, the cause), and the row's strings (``String``). Only advice is looked for in Python, and only
where there can be any.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from enum import IntEnum, auto
from typing import Final, NamedTuple

import numpy as np

from engine.core.fingerprint import band_code
from engine.core.forms import Do
from engine.core.layout import Col, Guard, Kind, Out, Refused, Segment, Topic, after, before
from engine.core.name_ids import ID_BYTES, name_ids
from engine.core.packed import PADDING, Packed
from engine.core.reasons import REASONS_MAX
from engine.core.tables import Ints, Se
from engine.policy.advice import MOVES, Adviser
from engine.policy.compile import CompiledPolicy
from engine.policy.cost import example_cost
from engine.policy.explain import Explainer
from engine.policy.forms import (
    Blank,
    Form,
    Forms,
    below,
    date,
    digits,
    equals,
    instant,
    later,
    moment,
    one_of,
    quoted_string,
    record,
    string,
    text,
    when,
)
from engine.policy.fragments import encoded, quoted
from engine.policy.standing import standing_form
from engine.state.headers import length_bytes, sized
from engine.state.outputs import NUMBERS, Facts, Names, Outputs
from engine.stream.brakes import place_of
from engine.stream.sweep import Sweep
from schemas import cloudevents as ce
from schemas.topics import ADVISORIES, CHANGES, INPUTS

IDS: Final = uuid.UUID("6f0c1d52-5a0e-5b7e-9a44-6c2d1b0f7e31")
PRICED: Final = frozenset({Kind.GRANT, Kind.OFFER_ACCEPTED, Kind.RATE_CHANGE})
ANSWERS: Final = (Kind.COMMAND_ACCEPTED, Kind.COMMAND_REFUSED)
AT_ONCE: Final = 256  # decisions rendered: 64 cost 11.2 µs each, 256 and 512 9.0 and 8.2 (default policy)
SHARD_HEADER: Final = "shard"
OUTPUT_SEQUENCE_HEADER: Final = "output_sequence"
CAUSE_KINDS: Final = {Topic.PROFILE: "profile", Topic.COMMAND: "command", Topic.CONTROL: "control"}  # of the others: event
HEADERS: Final = 10  # of each output, without its time
TICK: Final = len(Topic)  # the place of a cause that is no record

_FACTS: Final = [int(column) for column in (Out.KIND, Out.SEGMENT, before(Col.BAND), after(Col.BAND), Out.SCORE, Out.GUARD, Out.BUCKET)]

_GUARDS: Final = [quoted(guard.name.lower()) for guard in Guard]
_KINDS: Final = ["command_result" if kind in ANSWERS else kind.name.lower() for kind in Kind]
_ADVISORIES: Final = [kind for kind in Kind if kind >= Kind.OVER_BORROWING]

# Plain numbers, which are quicker to come by than an enumeration's members
_KIND, _SEGMENT, _KIND_AND_CAUSE = int(Out.KIND), int(Out.SEGMENT), [int(Out.KIND), int(Out.CAUSE)]
_BEFORE_ADVISORIES, _REFUSED_KIND, _JUDGED = int(Kind.OVER_BORROWING) - 1, int(Kind.COMMAND_REFUSED), int(Refused.OFFER_STALE)
_CHANGES, _ADVISORIES_TOPIC = NUMBERS[CHANGES.name], NUMBERS[ADVISORIES.name]


class String(IntEnum):
    """The strings of a row."""

    ACCOUNT = 0
    CAUSE = 1  # its id
    EVENT_ID = 2
    ADVICE = 3  # the items of a JSON list


class Also(IntEnum):
    """Columns behind those of a decision."""

    REASONS = 0  # their numbers, -1: none
    PLACE = REASONS + REASONS_MAX  # of the cause: its Topic, or TICK
    OFFSET = auto()
    OCCURRED_AT = auto()
    OUTPUT_SEQUENCE = auto()
    BUDGET = auto()  # the shard's share of its segment's


class Causes(NamedTuple):
    """What decisions were made on, as columns (n,): records, by ``Topic`` and offset, or that time went by (``TICK``)."""

    places: Ints
    offsets: Ints
    ids: Packed
    occurred_at_ms: Ints

    def at(self, places: slice) -> Causes:
        """Those of some decisions."""
        return Causes(self.places[places], self.offsets[places], self.ids[places], self.occurred_at_ms[places])


_REFUSED: Final = {int(refused): refused.name.lower() for refused in Refused if refused not in (Refused.NONE, Refused.GUARD)}


def refusal_name(refused: int) -> str | None:
    """Why a command was refused, None if it was not."""
    if refused > Refused.GUARD:
        return Guard(refused - Refused.GUARD).name.lower()
    return _REFUSED.get(refused)


_REFUSALS: Final = [quoted(refusal_name(refused)) for refused in range(Refused.GUARD + len(Guard))]


def causes_of_tick(sweep: Sweep, tick_ms: int, count: int) -> Causes:
    """What ``count`` accounts are told of a sweep: the day, or the activation that it follows."""
    ids = Packed.of([sweep.cause.encode()])
    place, offset = (TICK, 0) if sweep.offset is None else (Topic.CONTROL, sweep.offset)
    return Causes(np.full(count, place), np.full(count, offset), ids.at(np.zeros(count, np.int64)), np.full(count, tick_ms))


class Renderer:
    """Renders the decisions of one shard under one policy. Decisions are rows, (n, decision_columns)."""

    def __init__(self, policy: CompiledPolicy, application: str, shard: int) -> None:
        self._explainer = explainer = Explainer(policy)
        self._adviser = Adviser(policy)
        self._costs = costs_of(policy)
        self._names = Names([segment.name.lower() for segment in Segment], policy.bands_by_code, explainer.sizes)
        self._segments = len(policy.segments)
        self._program, self._budgets_at = policy.program, [place_of(policy.program, segment.name) + Se.BUDGET for segment in Segment]
        also = policy.decision_columns
        reasons = those_given(also + Also.REASONS, explainer.texts)
        head = record(
            {
                "event_id": text('"') + string(String.EVENT_ID) + text('"'),
                "account_id": quoted_string(String.ACCOUNT),
                "occurred_at": instant(also + Also.OCCURRED_AT),
            }
        )[:-1]
        document = policy.document
        reference = encoded({"name": document.policy, "version": document.version, "hash": policy.hash})
        tail = text(',"cause":') + cause_form(also, shard) + text(b',"policy":%b}' % reference)
        previous, standing = (standing_form(policy, at) for at in (Out.PREVIOUS, Out.NEW))
        traces = explainer.traces
        changes = [change_form(previous, standing, trace, reasons, self._costs, place) for place, trace in enumerate(traces)]
        advisories = [advisory_form(kind, place, also, reasons, trace) for kind in _ADVISORIES for place, trace in enumerate(traces)]
        values = [head + text(",") + body + tail for body in (*changes, *advisories)]
        self._values = Forms([*values, *(headers_form(application, shard, kind, also) for kind in Kind)])
        self._headers_at = len(values)
        self._ids = Forms([identity_form(kind) for kind in Kind])
        self._shown = Forms([*traces, standing])

    def render(self, decisions: Ints, accounts: Packed, causes: Causes, output_sequence: int) -> Outputs:
        """Decisions as the records that announce them, each about an account and of a cause. The first is the shard's output of this number."""
        parts = []
        for first in range(0, len(decisions), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            parts.append(self._render(decisions[some], accounts[some], causes.at(some), output_sequence + first))
        return Outputs.joined(parts)

    def standing(self, decision: Ints) -> bytes:
        """The standing after one decision."""
        return self._show(decision, self._segments)

    def trace(self, decision: Ints) -> bytes:
        """The arithmetic of one evaluated decision, by name."""
        return self._show(decision, int(decision[Out.SEGMENT]))

    def cost(self, decision: Ints) -> bytes | None:
        """What the segment's example draw costs at the tier after a decision; None without a tier."""
        return self._costs.get((int(decision[Out.SEGMENT]), int(decision[after(Col.RATE_TIER)])))

    def _show(self, decision: Ints, form: int) -> bytes:
        [shown] = self._shown.fill(decision[None], np.array([[form]])).present()
        return shown

    def _render(self, decisions: Ints, accounts: Packed, causes: Causes, output_sequence: int) -> Outputs:
        kinds, segments = decisions[:, _KIND], decisions[:, _SEGMENT]
        sequences = np.arange(output_sequence, output_sequence + len(decisions))
        also = causes.places, causes.offsets, causes.occurred_at_ms, sequences, self._program[self._budgets_at][segments]
        rows = np.column_stack([decisions, self._explainer.reasons(decisions), *also])
        ids = name_ids(IDS.bytes, self._ids.fill(rows, kinds[:, None], [accounts, causes.ids]))
        families = np.maximum(kinds - _BEFORE_ADVISORIES, 0)  # 0: a change; of advisories each kind
        forms = np.column_stack([families * self._segments + segments, self._headers_at + kinds])
        told = self._values.fill(rows, forms, [accounts, causes.ids, ids, self._advice(decisions)])
        data = told.data[: int(told.ends[-1]) + PADDING].copy()  # the rest of it was room
        return Outputs(
            np.where(families == 0, _CHANGES, _ADVISORIES_TOPIC),
            Packed.copied([accounts]),  # which may lie in all that was read
            Packed(data, told.begins[::2].copy(), told.ends[::2].copy()),
            Packed(data, told.begins[1::2].copy(), told.ends[1::2].copy()),
            np.full(len(decisions), HEADERS),
            self._facts(decisions),
        )

    def _advice(self, decisions: Ints) -> Packed:
        """What is advised, as the items of a list."""
        told = [b""] * len(decisions)
        for place, (kind, cause) in enumerate(decisions[:, _KIND_AND_CAUSE].tolist()):
            if kind in MOVES:
                told[place] = b",".join(self._adviser.advise(decisions[place].tolist()))
            elif kind == _REFUSED_KIND and cause >= _JUDGED:
                told[place] = b",".join(self._adviser.to_do(decisions[place].tolist()))
        return Packed.of(told)

    def _facts(self, decisions: Ints) -> Facts:
        return Facts(np.vstack([decisions[:, _FACTS].T, self._explainer.missing(decisions)]), self._names)


def those_given(column: int, texts: Sequence[bytes]) -> Form:
    """The list of the texts whose numbers stand in ``REASONS_MAX`` columns, -1 for none."""
    one = (when(below(column + place, 0), (), one_of(column + place, texts) + text(",")) for place in range(REASONS_MAX))
    return (*text("["), *(blank for form in one for blank in form), Blank(Do.END_LIST), *text("]"))


def members(told: dict[str, Form]) -> Form:
    """The members of an object, without its braces."""
    return record(told)[1:-1]


def cause_form(also: int, shard: int) -> Form:
    """What was decided on, as the contract has it."""
    kinds = [CAUSE_KINDS.get(topic, "event") for topic in Topic]
    places = [f'{{"kind":"{kind}","topic":"{spec.name}","partition":{shard},"offset":' for kind, spec in zip(kinds, INPUTS, strict=True)]
    of_record = one_of(also + Also.PLACE, places) + digits(also + Also.OFFSET) + text(',"id":') + quoted_string(String.CAUSE) + text("}")
    of_tick = record({"kind": text('"tick"'), "id": quoted_string(String.CAUSE), "at": instant(also + Also.OCCURRED_AT)})
    return when(equals(also + Also.PLACE, TICK), of_tick, of_record)


def identity_form(kind: Kind) -> Form:
    """The name that an output's id is made of. Behind the account stands what an output is once for all of its outputs: a change by its sequence
    number, an answer by its command, any other advisory by its kind, its moment and its cause."""
    if kind < Kind.OVER_BORROWING:
        own = digits(Out.SEQUENCE)
    elif kind in ANSWERS:
        own = text("result:") + string(String.CAUSE)
    else:
        own = text(f"{_KINDS[kind]}:") + digits(Out.CLOCK) + text(":") + string(String.CAUSE)
    return string(String.ACCOUNT) + text(":") + own


def headers_form(application: str, shard: int, kind: Kind, also: int) -> Form:
    """The headers of an output, as they stand in a Kafka record."""
    family = "limit-change" if kind < Kind.OVER_BORROWING else "advisory"
    known = {
        ce.SOURCE: f"/{application}",
        ce.SPEC: ce.SPEC_VERSION,
        ce.CONTENT_TYPE: ce.JSON,
        SHARD_HEADER: str(shard),
        ce.TYPE: f"{ce.TYPE_PREFIX}.{family}.{_KINDS[kind]}.v1",
    }
    own = {
        ce.SUBJECT: Blank(Do.SIZED_STRING, value=String.ACCOUNT),
        ce.PARTITION_KEY: Blank(Do.SIZED_STRING, value=String.ACCOUNT),
        ce.CAUSATION_ID: Blank(Do.SIZED_STRING, value=String.CAUSE),
        OUTPUT_SEQUENCE_HEADER: Blank(Do.SIZED_NUMBER, also + Also.OUTPUT_SEQUENCE),
    }
    return (
        *text(sized(ce.ID.encode()) + length_bytes(ID_BYTES)),
        *string(String.EVENT_ID),
        *text(b"".join(sized(name.encode()) + sized(value.encode()) for name, value in known.items())),
        *(blank for name, value in own.items() for blank in (*text(sized(name.encode())), value)),
    )


def change_form(previous: Form, standing: Form, trace: Form, reasons: Form, costs: dict[tuple[int, int], bytes], segment: int) -> Form:
    """The members that are a limit change's own."""
    told = {
        "sequence": digits(Out.SEQUENCE),
        "kind": one_of(Out.KIND, map(quoted, _KINDS)),
        "previous": previous,
        "standing": standing,
        "score": digits(Out.SCORE),
        "trace": trace,
        "reasons": reasons,
        "advice": text("[") + string(String.ADVICE) + text("]"),
    }
    cost: Form = ()
    for (own, tier), known in costs.items():
        if own == segment:
            cost = when(equals(after(Col.RATE_TIER), tier), text(b',"cost":%b' % known), cost)
    priced: Form = ()
    for kind in sorted(PRICED) if cost else ():
        priced = when(equals(Out.KIND, kind), cost, priced)
    return members(told) + priced


def advisory_form(kind: Kind, segment: int, also: int, reasons: Form, trace: Form) -> Form:
    """The members that are an advisory's own, by its kind."""
    told: dict[str, Form] = {"kind": text(quoted(_KINDS[kind]))}
    match kind:
        case Kind.COMMAND_ACCEPTED | Kind.COMMAND_REFUSED:
            result = "accepted" if kind is Kind.COMMAND_ACCEPTED else "refused"
            told |= {
                "command_id": quoted_string(String.CAUSE),
                "result": text(quoted(result)),
                "reason": one_of(Out.CAUSE, _REFUSALS),
                "sequence": digits(Out.SEQUENCE),
            }
            judged = {"reasons": reasons, "advice": text("[") + string(String.ADVICE) + text("]"), "trace": trace}
            return members(told) + when(below(Out.CAUSE, Refused.OFFER_STALE), (), text(",") + members(judged))
        case Kind.STANDING_MISMATCH:
            has_temporary = later(after(Col.TEMPORARY_UNTIL), Out.CLOCK)
            told |= {
                "sequence": digits(Out.SEQUENCE),
                "limit_minor": when(has_temporary, digits(after(Col.TEMPORARY_LIMIT)), digits(after(Col.LIMIT))),
                "applied_sequence": digits(Out.APPLIED_SEQUENCE),
                "applied_limit_minor": digits(Out.APPLIED_LIMIT),
            }
        case Kind.BUDGET_SPENT | Kind.BREAKER_TRIPPED:
            told |= brake_members(kind, segment, also)
        case Kind.INCREASE_WITHHELD:
            told |= {
                "guard": one_of(Out.GUARD, _GUARDS),
                "target_limit_minor": digits(Out.TARGET_LIMIT),
                "until": moment(Out.GUARD_UNTIL),
                "reasons": reasons,
            }
        case _:
            told |= {"reasons": reasons}
    return members(told)


def brake_members(kind: Kind, segment: int, also: int) -> dict[str, Form]:
    """Where and when a brake has bitten, and what was counted by then."""
    name = Segment(segment).name.lower()
    told = {"segment": text(quoted(name)), "day": date(Out.BRAKE_DAY)}
    if kind is Kind.BREAKER_TRIPPED:
        return told | {"evaluated": digits(Out.BRAKE_EVALUATED), "lowered": digits(Out.BRAKE_LOWERED)}
    return told | {"share_minor": digits(also + Also.BUDGET), "raised_minor": digits(Out.BRAKE_RAISED)}


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
