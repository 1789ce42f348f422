"""From a decision of the kernel to the record that announces it: a limit change, or the answer to a command.

Everything in a value comes from the decision's row, its cause and the policy, so a replay renders the same bytes. The moment of sending is not
known here; the producer adds it as ``ce_time``. Values are JSON as ``schemas.changes`` and ``schemas.advisories`` have it, written out key by key
around fragments that are made once (``engine.policy.fragments``).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.core.fingerprint import band_code
from engine.core.layout import MISSING, STANDING_COLUMNS, Block, Col, Guard, Kind, Out, Refused, Segment, Standing, after, before
from engine.core.tables import Se
from engine.policy.advice import Adviser
from engine.policy.compile import CompiledPolicy
from engine.policy.cost import example_cost
from engine.policy.explain import Explainer
from engine.policy.fragments import BOOLEANS, NULL, encoded, instant, moment, number, quoted
from engine.policy.units import date_of
from engine.state.record import Output
from engine.stream.brakes import place_of
from engine.stream.decode.columns import offer_id
from engine.stream.sweep import Sweep
from engine.stream.tally import NO_BAND, ChangeFacts, Facts, Told, WithheldFacts
from schemas import cloudevents as ce
from schemas.topics import ADVISORIES, CHANGES, CONTROL

IDS: Final = uuid.UUID("6f0c1d52-5a0e-5b7e-9a44-6c2d1b0f7e31")
PRICED: Final = frozenset(map(int, (Kind.GRANT, Kind.OFFER_ACCEPTED, Kind.RATE_CHANGE)))
ANSWERS: Final = frozenset({Kind.COMMAND_ACCEPTED, Kind.COMMAND_REFUSED})
SHARD_HEADER: Final = "shard"
OUTPUT_SEQUENCE_HEADER: Final = "output_sequence"

_STATES: Final = [quoted(state.name.lower()) for state in Standing]
_GUARDS: Final = [guard.name.lower() for guard in Guard]
_KINDS: Final = ["command_result" if kind in ANSWERS else kind.name.lower() for kind in Kind]
_BLOCKS: Final = [encoded([block.name.lower() for block in Block if bits >> block & 1]).decode() for bits in range(1 << len(Block))]
_VARIANTS: Final = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}
_FIRST_ADVISORY, _OPEN, _CLOSED = int(Kind.OVER_BORROWING), int(Standing.OPEN), int(Guard.CLOSED)
_KIND, _SEQUENCE, _CLOCK, _SEGMENT = int(Out.KIND), int(Out.SEQUENCE), int(Out.CLOCK), int(Out.SEGMENT)
_PREVIOUS, _NEW, _EXPOSURE, _EXPOSURE_AS_OF = int(Out.PREVIOUS), int(Out.NEW), int(Out.EXPOSURE), int(Out.EXPOSURE_AS_OF)
_SCORE, _GUARD, _BUCKET, _TIER = int(Out.SCORE), int(Out.GUARD), int(Out.BUCKET), after(Col.RATE_TIER)
_BAND_BEFORE, _BAND_AFTER = before(Col.BAND), after(Col.BAND)


@dataclass(frozen=True, slots=True)
class Cause:
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
    return f"unknown-{code:x}"


def limit_in_force(limit: int, temporary: int, until: int, clock: int) -> int:
    """The limit in force at a moment: the temporary one while there is one."""
    return temporary if until > clock else limit


def limit_with(name: str, limit: int, at_ms: int) -> str:
    """A limit with an instant of this name."""
    return f'{{"limit_minor":{number(limit)},"{name}":"{instant(at_ms)}"}}'


def exposure_of(decision: Sequence[int]) -> str:
    """What is owed here and elsewhere at a decision, and when that was known."""
    return f'"exposure_minor":{number(decision[_EXPOSURE])},"exposure_as_of":{moment(decision[_EXPOSURE_AS_OF])}'


def offer_of(number_of: int, limit: int, until_ms: int) -> str:
    """A limit that the customer may accept."""
    what = "" if until_ms == MISSING else f',"limit_minor":{number(limit)},"expires_at":"{instant(until_ms)}"'
    return f'{{"offer_id":"{offer_id(number_of)}"{what}}}'


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
    """Renders the decisions of one shard under one policy."""

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
        document = policy.document
        self._reference = encoded({"name": document.policy, "version": document.version, "hash": policy.hash})
        self._currency = quoted(document.currency)
        self._bands = {MISSING: NULL} | {code: quoted(name) for code, name in policy.bands_by_code.items()}
        self._tiers = {MISSING: NULL} | {code: quoted(name) for code, name in policy.tiers_by_code.items()}
        self._labels = {MISSING: NO_BAND} | policy.bands_by_code
        self._costs = costs_of(policy)

    def render(self, decision: Sequence[int], account: bytes, cause: Cause, output_sequence: int) -> Output:
        """One decision as the record that announces it; ``output_sequence`` counts the shard's outputs."""
        kind = decision[_KIND]
        is_change = kind < _FIRST_ADVISORY
        body = self._change(decision) if is_change else self._advisory(decision, Kind(kind), cause)
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

    def _advisory(self, decision: Sequence[int], kind: Kind, cause: Cause) -> bytes:
        """What an advisory of a kind tells."""
        told = f'"kind":"{_KINDS[kind]}"'
        match kind:
            case Kind.COMMAND_ACCEPTED | Kind.COMMAND_REFUSED:
                return self._command_result(decision, kind, cause)
            case Kind.STANDING_MISMATCH:
                held, temporary, until = (decision[after(column)] for column in (Col.LIMIT, Col.TEMPORARY_LIMIT, Col.TEMPORARY_UNTIL))
                limit = limit_in_force(held, temporary, until, decision[_CLOCK])
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

    def _command_result(self, decision: Sequence[int], kind: Kind, cause: Cause) -> bytes:
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
            self.trace(decision),
        )

    def _change(self, decision: Sequence[int]) -> bytes:
        """What a change of the standing tells."""
        kind, exposure = decision[_KIND], exposure_of(decision)
        previous, standing = self._standing(decision, _PREVIOUS, exposure), self._standing(decision, _NEW, exposure)
        told = (
            f'"sequence":{decision[_SEQUENCE]},"kind":"{_KINDS[kind]}","previous":{previous},"standing":{standing},'
            f'"score":{decision[_SCORE]},"trace":{self._explainer.trace(decision)},"reasons":['
        )
        cost = self.cost(decision) if kind in PRICED else None
        return b'%b%b],"advice":[%b]%b' % (
            told.encode(),
            b",".join(self._explainer.reasons(decision)),
            b",".join(self._adviser.advise(decision)),
            b"" if cost is None else b',"cost":%b' % cost,
        )

    def cost(self, decision: Sequence[int]) -> bytes | None:
        """What the segment's example draw costs at the tier after a decision; None without a tier."""
        return self._costs.get((decision[_SEGMENT], decision[_TIER]))

    def standing(self, decision: Sequence[int], at: Out) -> bytes:
        """The standing before (``Out.PREVIOUS``) or after (``Out.NEW``) a decision."""
        return self._standing(decision, at, exposure_of(decision)).encode()

    def trace(self, decision: Sequence[int]) -> bytes:
        """The arithmetic of an evaluated decision, by name."""
        return self._explainer.trace(decision).encode()

    def _standing(self, decision: Sequence[int], at: int, exposure: str) -> str:
        """What stands, in the columns of a decision from ``at`` on; the exposure is that of the moment, before and after."""
        state, limit, band, blocks, ceiling, *others, tier, pending_tier, pending_tier_at = decision[at : at + STANDING_COLUMNS]
        temporary, temporary_until, offer, offer_limit, offer_until, pending, pending_at, hold_until, override, override_until = others
        clock = decision[_CLOCK]
        in_force = limit_in_force(limit, temporary, temporary_until, clock)
        band_name = self._bands.get(band) or quoted(unknown(band))
        tier_name = self._tiers.get(tier) or quoted(unknown(tier))
        short = NULL if temporary_until == MISSING else limit_with("until", temporary, temporary_until)
        offered = NULL if offer == MISSING else offer_of(offer, offer_limit, offer_until)
        announced = NULL if pending_at == MISSING else limit_with("effective_at", pending, pending_at)
        rate = NULL
        if pending_tier != MISSING:
            name = self._tiers.get(pending_tier) or quoted(unknown(pending_tier))
            rate = f'{{"rate_tier":{name},"effective_at":{moment(pending_tier_at)}}}'
        hold = moment(hold_until) if hold_until > clock else NULL
        by_hand = limit_with("until", override, override_until) if override_until > clock else NULL
        return (
            f'{{"state":{_STATES[state]},"limit_minor":{number(limit)},"limit_in_force_minor":{in_force},"currency":{self._currency},'
            f'"band":{band_name},"rate_tier":{tier_name},"drawing_allowed":{BOOLEANS[state == _OPEN and blocks == 0]},'
            f'"blocks":{_BLOCKS[blocks]},"ceiling_minor":{number(ceiling)},"temporary":{short},"offer":{offered},"pending":{announced},'
            f'"pending_rate":{rate},"hold_until":{hold},"override":{by_hand},{exposure}}}'
        )


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
