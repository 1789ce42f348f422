"""From the oracle's records to the kernel's matrices, and from the kernel's rows and decisions back to the oracle's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from engine.core.decide import EMISSIONS_MAX, move_clock, run, sweep
from engine.core.exposure import exposure_of
from engine.core.fingerprint import FingerprintKey, band_code, fingerprint, jurisdiction_code
from engine.core.instalments import bucket_of, days_past_due
from engine.core.layout import (
    CAPS_AT,
    EVENT_COLUMNS,
    FIGURES,
    INSTALMENT_FIELDS,
    INSTALMENTS_AT,
    LEG_FIELDS,
    MISSING,
    MOVEMENTS_AT,
    SETTLED_BIT,
    STANDING_COLUMNS,
    TOPS_MAX,
    VALUES_AT,
    Announced,
    Appetite,
    Block,
    Bound,
    Col,
    Employment,
    Ev,
    Fig,
    Guard,
    IncomeProof,
    Inst,
    Kind,
    Leg,
    Out,
    Released,
    Segment,
    Standing,
    Status,
    Top,
    Topic,
    Verdict,
)
from engine.core.layout import Command as CommandKind
from engine.core.limits import NO_CAP
from engine.core.rows import blank_row
from engine.core.tables import FACTS, SEGMENT, Ints, Me, MeasureKind, Ru, Se
from engine.core.windows import rebuild, tile_of
from engine.policy import document as doc
from engine.policy.compile import FIGURE_COLUMNS, CompiledPolicy, compile_policy, requirements_in_order, tests_of, warnings_in_order
from engine.policy.document import Policy
from engine.stream.decode.columns import offer_number
from engine.stream.decode.fields import AMOUNTS, ENUMS, WORDS
from engine.stream.render import refusal_name
from tests.oracle.account import OracleAccount
from tests.oracle.decide import Emission, Line, Trace
from tests.oracle.portfolio import Kept, Portfolio, has_brakes, share
from tests.oracle.records import Command, Forget, Profile, Purchase, Record, Repayment, Transfer
from tests.oracle.shard import OracleShard, in_sweep_order

KEY: Final = FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")
TOPICS: Final = {
    Profile: Topic.PROFILE,
    Forget: Topic.PROFILE,
    Command: Topic.COMMAND,
    Repayment: Topic.REPAYMENT,
    Transfer: Topic.TRANSFER,
    Purchase: Topic.PURCHASE,
}
COUNTS: Final = {  # of what is kept of a segment
    "day": Se.BRAKE_DAY,
    "raised": Se.RAISED,
    "evaluated": Se.EVALUATED,
    "lowered": Se.LOWERED,
    "expected": Se.EXPECTED,
}
OLD_BAND: Final = "band_of_old"  # of a standing granted elsewhere


def word_bit(word: str) -> int:
    """The bit of a word in an open distinct measure: the low six of its fingerprint."""
    return fingerprint(word.encode(), KEY) & 63


def known(value: Any) -> int | None:
    """A cell's value, None for MISSING."""
    return None if value == MISSING else int(value)


class Kernel:
    """The kernel on a log's accounts: a row for each, in the order of their ids. ``before`` are versions of the policy that rows may come from:
    what stands may have their names."""

    def __init__(self, policy: Policy, log: Sequence[Record], before: Sequence[Policy] = ()) -> None:
        self.policy: CompiledPolicy = compile_policy(policy, KEY)
        self.accounts = sorted({record.account_id for record in log})
        self.rows = np.tile(blank_row(self.policy.layout), (len(self.accounts), 1))
        self.events = np.full((EVENT_COLUMNS, len(log)), MISSING, np.int64)
        self.profiles = np.full((len(log), FIGURES + len(self.policy.layout.attributes)), MISSING, np.int64)
        self.decisions = np.zeros((EMISSIONS_MAX, self.policy.decision_columns), np.int64)
        self.verdicts = np.full(len(log), -1, np.int64)
        self._facts = np.zeros(FACTS, np.int64)
        self._shard, self._partitions = 0, 1
        segments = [segment for each in (policy, *before) for segment in each.segments]
        self._band_names = {band_code(name): name for name in (OLD_BAND, *(b.name for s in segments for b in s.bands))}
        codes = [test.code for segment in segments for test in tests_of(segment)]
        tiers = [tier.name for segment in segments if segment.rates is not None for tier in segment.rates.tiers]
        self._codes = {band_code(name): name for name in (*codes, *tiers)}
        for i, record in enumerate(log):
            self._fill(i, record)

    def set_appetite(self, segment: str, mode: str, day: int) -> None:
        """The lender's appetite for a segment from here on, in force since a policy day."""
        self._set(segment, Se.APPETITE, Appetite[mode.upper()])
        self._set(segment, Se.APPETITE_DAY, day)

    # Brakes

    def set_brakes(self, shard: int, partitions: int) -> None:
        """Brake by the share of one of so many shards."""
        self._shard, self._partitions = shard, partitions
        for segment in self.policy.document.segments:
            brakes = segment.brakes or doc.Brakes()
            if brakes.budget_minor is not None:
                self._set(segment.name, Se.BUDGET, share(brakes.budget_minor, shard, partitions))
            if brakes.breaker is not None:
                self._set(segment.name, Se.MIN_EVALUATIONS, share(brakes.breaker.min_evaluations, shard, partitions))

    def expect(self, segment: str, decreases: int) -> None:
        """So many decreases are expected of an appetite on all shards."""
        self._set(segment, Se.EXPECTED, share(decreases, self._shard, self._partitions))

    def release(self, segment: str | None = None) -> None:
        """Let a tripped breaker go, of one segment or of all."""
        for name in [each.name for each in self.policy.document.segments if each.name == (segment or each.name)]:
            if self._get(name, Se.TRIPPED):
                for register in (Se.TRIPPED, Se.LOWERED, Se.EVALUATED):
                    self._set(name, register, 0)

    def kept(self) -> dict[str, Kept]:
        """What is kept of each segment that has brakes."""
        return {segment.name: self._kept(segment.name) for segment in self.policy.document.segments if has_brakes(segment)}

    def _kept(self, segment: str) -> Kept:
        tripped = self._get(segment, Se.TRIPPED)
        assert tripped in (0, 2), "a trip is told where it happens"
        kept = Kept(is_tripped=tripped == 2, is_spent_told=self._get(segment, Se.BUDGET_TOLD) == 1)
        for name, register in COUNTS.items():
            setattr(kept, name, self._get(segment, register))
        return kept

    def keep(self, portfolio: Portfolio) -> None:
        """Go on from what a shard has kept, as its machine does under another version."""
        for segment in filter(has_brakes, self.policy.document.segments):
            kept = portfolio.kept[segment.name]
            for name, register in COUNTS.items():
                self._set(segment.name, register, getattr(kept, name))
            self._set(segment.name, Se.TRIPPED, 2 if kept.is_tripped else 0)
            self._set(segment.name, Se.BUDGET_TOLD, int(kept.is_spent_told))

    def _place(self, segment: str) -> int:
        return int(self.policy.program[Ru.SEGMENTS]) + Segment[segment.upper()] * SEGMENT

    def _get(self, segment: str, register: Se) -> int:
        return int(self.policy.program[self._place(segment) + register])

    def _set(self, segment: str, register: Se, value: int) -> None:
        self.policy.program[self._place(segment) + register] = value

    # Records, and time without them

    def take(self, first: int, end: int, room: int = EMISSIONS_MAX) -> list[Ints]:
        """Take records ``first`` .. ``end`` in one batch; the decisions, each a copy of its row. ``room`` is the decision matrix's length."""
        order = np.arange(first, end)
        if room != len(self.decisions):
            self.decisions = np.zeros((room, self.policy.decision_columns), np.int64)
        taken: list[Ints] = []
        place = 0
        while place < len(order):
            place, count = run(
                self.policy.program, self.rows, self.events, order, self.profiles, place, self.decisions, self.verdicts, self._facts
            )
            taken += [decision.copy() for decision in self.decisions[:count]]
        return taken

    def tell(self, record: Record) -> list[Ints]:
        """Take a record that was not in the log, of an account that was; the decisions. Its verdict is that of record 0."""
        self.events[:, 0], self.profiles[0], self.verdicts[0] = MISSING, MISSING, -1
        self._fill(0, record)
        return self.take(0, 1)

    def sweep(self, clock: int, *, writes_all: bool = False) -> list[Ints]:
        """Let time go by for every account, in the order of a sweep; the decisions, each a copy of its row. An account that nothing is said
        about, in the arrears bucket in which it was, stays as it was, unless ``writes_all``."""
        known = [self.accounts.index(account_id) for account_id in in_sweep_order(self.accounts)]
        slots = np.array([slot for slot in known if self.rows[slot, Col.FIRST_AT] != MISSING], np.int64)
        before = self.rows.copy()
        taken: list[Ints] = []
        place = 0
        while place < len(slots):
            place, count = sweep(self.policy.program, self.rows, slots, place, clock, self._facts, self.decisions)
            taken += [decision.copy() for decision in self.decisions[:count]]
        rolled = np.flatnonzero(self.rows[:, Col.BUCKET] != before[:, Col.BUCKET])
        silent = np.setdiff1d(np.arange(len(self.rows)), [*rolled, *(decision[Out.SLOT] for decision in taken)])
        if not writes_all:
            self.rows[silent] = before[silent]
        return taken

    def pass_time(self, clock: int | None) -> None:
        """Move every account's clock as sweeps do that say nothing, which leave no trace in the row; None: they know no time."""
        for row in self.rows:
            rebuild(self.policy.program, row, row[Col.CLOCK])
            if clock is not None:
                move_clock(self.policy.program, row, MISSING, clock, self._facts)

    # Records in

    def _fill(self, i: int, record: Record) -> None:
        column = self.events[:, i]
        topic = TOPICS[type(record)]
        column[Ev.TOPIC] = topic
        column[Ev.SLOT] = self.accounts.index(record.account_id)
        column[Ev.RECORD_TIME], column[Ev.CLOCK], column[Ev.OCCURRED_AT] = record.record_time, record.clock, record.occurred_at
        column[Ev.FINGERPRINT] = fingerprint(repr((topic, record.source, record.event_id)).encode(), KEY)
        column[Ev.PROFILE_ROW] = MISSING if isinstance(record, Forget) else i
        if isinstance(record, Command):
            self._fill_command(column, record)
        elif isinstance(record, Profile):
            self._fill_profile(self.profiles[i], record)
        elif not isinstance(record, Forget):
            self._fill_posting(column, record)

    def _fill_command(self, column: Ints, command: Command) -> None:
        column[Ev.COMMAND_KIND] = CommandKind[command.kind.upper()]
        column[Ev.CAUSE] = Block[command.cause.upper()] if command.cause else MISSING
        column[Ev.COMMAND_LIMIT] = MISSING if command.limit_minor is None else command.limit_minor
        column[Ev.COMMAND_UNTIL] = MISSING if command.until is None else command.until
        if command.of is not None:
            column[Ev.COMMAND_OF] = Released[command.of.upper()]
        if command.offer_id is not None:
            column[Ev.COMMAND_OF] = offer_number(command.offer_id)
        column[Ev.SECOND_PERSON] = command.second_person

    def _fill_posting(self, column: Ints, record: Repayment | Purchase | Transfer) -> None:
        for name, amount in AMOUNTS.items():
            column[amount] = getattr(record, name, MISSING)
        for name, (code, print_) in WORDS.items():
            word = getattr(record, name, None)
            vocabulary = self.policy.decode.words[name]
            column[code] = vocabulary.index(word) + 1 if word in vocabulary else 0
            column[print_] = MISSING if word is None else fingerprint(word.encode(), KEY)
        for name, (code, codes) in ENUMS.items():
            word = getattr(record, name, None)
            column[code] = 0 if word is None else codes[word.upper()]
        if isinstance(record, Repayment):
            column[Ev.LOAN], column[Ev.DUE_AT] = fingerprint(record.loan_id.encode(), KEY), record.due_at
        if record.reverses_at is not None:
            column[Ev.REVERSES_AT], column[Ev.REVERSES_FULL] = record.reverses_at, record.reverses_full

    def _fill_profile(self, row: Ints, profile: Profile) -> None:
        row[Fig.AS_OF] = profile.as_of
        row[Fig.SEGMENT] = Segment[profile.segment.upper()]
        row[Fig.APPLIED_AT] = MISSING if profile.applied_at is None else profile.applied_at
        row[Fig.REQUESTED_LIMIT] = MISSING if profile.requested_limit_minor is None else profile.requested_limit_minor
        row[Fig.EXPOSURE] = MISSING if profile.exposure_minor is None else profile.exposure_minor
        if profile.applied is not None:
            row[Fig.APPLIED_SEQUENCE], row[Fig.APPLIED_LIMIT] = profile.applied.sequence, profile.applied.limit_minor
        row[Fig.CORRECTS] = profile.corrects
        for name, value in profile.figures.items():
            row[FIGURE_COLUMNS[name]] = self._figure(name, value)
        if profile.granted is not None:
            granted = profile.granted
            row[Fig.GRANTED_LIMIT], row[Fig.GRANTED_BAND] = granted.limit_minor, band_code(granted.band)
            row[Fig.GRANTED_SINCE] = granted.since_day
        for place, name in enumerate(self.policy.layout.attributes):
            row[FIGURES + place] = profile.attributes.get(name, MISSING)

    def _figure(self, name: str, value: int | str) -> int:
        if isinstance(value, int):
            return value
        if name == "jurisdiction":
            return jurisdiction_code(value)
        codes: Any = {"status": Status, "employment": Employment, "income_proof": IncomeProof}[name]
        return int(codes[value.upper()])

    # Decisions out

    def verdict(self, i: int) -> str:
        """What became of record ``i``."""
        return Verdict(self.verdicts[i]).name.lower()

    def emission(self, decision: Ints) -> Emission:
        """A decision as the oracle tells it."""
        kind, cause = Kind(decision[Out.KIND]), int(decision[Out.CAUSE])
        return Emission(
            kind=kind.name.lower(),  # type: ignore[arg-type]
            sequence=int(decision[Out.SEQUENCE]),
            clock=int(decision[Out.CLOCK]),
            cause=self._cause(kind, cause),
            previous=self._line(decision[Out.PREVIOUS : Out.NEW]),
            new=self._line(decision[Out.NEW : Out.EXPOSURE]),
            trace=self.trace(decision) if decision[Out.EVALUATED] else None,
        )

    def _cause(self, kind: Kind, cause: int) -> str | None:
        """A decision's cause by name."""
        match kind:
            case Kind.FREEZE | Kind.UNFREEZE:
                return Block(cause).name.lower()
            case Kind.COMMAND_REFUSED:
                return refusal_name(cause)
            case Kind.CLOSE:
                return "command" if cause else None
            case Kind.ANNOUNCE | Kind.ANNOUNCE_WITHDRAWN:
                return Announced(cause).name.lower()
            case Kind.OVER_BORROWING:
                return self._codes[cause]
            case Kind.INCREASE_WITHHELD:
                return Guard(cause).name.lower()
        return None

    def trace(self, decision: Ints) -> Trace:
        """The trace of a decision as the oracle tells it."""
        segment = self.policy.segments[decision[Out.SEGMENT]]
        assert segment is not None
        bins_at = VALUES_AT + len(self.policy.document.features)
        bins = [int(b) for b in decision[bins_at : bins_at + len(segment.scorecard)]]
        guard = Guard(decision[Out.GUARD])
        is_over = guard is Guard.CLOSED
        caps = {Bound(b).name.lower(): int(decision[CAPS_AT + b]) for b in range(VALUES_AT - CAPS_AT) if decision[CAPS_AT + b] < NO_CAP}
        return Trace(
            segment=segment.name,
            exposure=known(decision[Out.EXPOSURE]),
            exposure_as_of=known(decision[Out.EXPOSURE_AS_OF]),
            days_past_due=int(decision[Out.DAYS_PAST_DUE]),
            bucket=int(decision[Out.BUCKET]),
            values=[known(value) for value in decision[VALUES_AT:bins_at]],
            bins=bins,
            points=[c.missing if b < 0 else c.bins[b].points for c, b in zip(segment.scorecard, bins, strict=True)],
            score=int(decision[Out.SCORE]),
            warming_up=bool(decision[Out.WARMING_UP]),
            caps=None if is_over else caps,
            target_band=None if is_over else segment.bands[decision[Out.TARGET_BAND]].name,
            target=None if is_over else int(decision[Out.TARGET_LIMIT]),
            bound_by=None if is_over else Bound(decision[Out.BOUND_BY]).name.lower(),
            forced=None if is_over else bool(decision[Out.FORCED]),
            guard=None if guard is Guard.NONE else guard.name.lower(),
            requirement=self._requirement(segment, int(decision[Out.REQUIREMENT])),
            brakes=tuple(int(n) for n in decision[Out.BRAKE_DAY : Out.BRAKE_LOWERED + 1]),  # type: ignore[arg-type]
        )

    @staticmethod
    def _requirement(segment: doc.Segment, number: int) -> str | None:
        """The code of the requirement or warning of a number."""
        return None if number < 0 else [*requirements_in_order(segment), *warnings_in_order(segment)][number].code

    def _line(self, standing: Ints) -> Line:
        """A standing, (STANDING_COLUMNS,), as the oracle has it."""

        def part(column: Col) -> int | None:
            return known(standing[column - Col.STANDING])

        def both(*columns: Col) -> Any:
            """These columns together, None if they are not set."""
            return None if part(columns[-1]) is None else tuple(part(column) for column in columns)

        band, tier, pending = part(Col.BAND), part(Col.RATE_TIER), both(Col.PENDING_RATE, Col.PENDING_RATE_AT)
        return Line(
            limit=int(standing[Col.LIMIT - Col.STANDING]),
            band=None if band is None else self._band_names[band],
            blocks=frozenset(block.name.lower() for block in Block if standing[Col.BLOCKS - Col.STANDING] >> block & 1),
            standing=Standing(standing[0]).name.lower(),  # type: ignore[arg-type]
            ceiling=part(Col.CEILING),
            temporary=both(Col.TEMPORARY_LIMIT, Col.TEMPORARY_UNTIL),
            offer=both(Col.OFFER, Col.OFFER_LIMIT, Col.OFFER_UNTIL),
            pending=both(Col.PENDING_LIMIT, Col.PENDING_AT),
            hold_until=part(Col.HOLD_UNTIL),
            override=both(Col.OVERRIDE_LIMIT, Col.OVERRIDE_UNTIL),
            rate_tier=None if tier is None else self._codes[tier],
            pending_rate=None if pending is None else (self._codes[pending[0]], pending[1]),
        )

    # State out

    def state(self, account_id: str) -> dict[str, Any]:
        """An account's row as ``OracleAccount.state`` tells it."""
        row, t = self.rows[self.accounts.index(account_id)], self.policy.program
        clock = int(row[Col.CLOCK])
        if clock == MISSING:
            blank = blank_row(self.policy.layout)
            blank[Col.SEQUENCE] = row[Col.SEQUENCE]
            assert np.array_equal(row, blank)
            return {"sequence": int(row[Col.SEQUENCE])}
        line = self._line(row[Col.STANDING : Col.STANDING + STANDING_COLUMNS])
        code = known(row[Col.WITHHELD_CODE])
        withheld = (
            Guard(row[Col.WITHHELD]).name.lower() if row[Col.WITHHELD] != MISSING else None,
            None if code is None else self._codes[code],
            known(row[Col.WITHHELD_TARGET]),
            known(row[Col.WITHHELD_UNTIL]),
        )
        entries = [row[INSTALMENTS_AT + n * INSTALMENT_FIELDS :][:INSTALMENT_FIELDS] for n in range(int(row[Col.INSTALMENTS]))]
        movements = row[MOVEMENTS_AT : MOVEMENTS_AT + 2 * int(row[Col.MOVEMENTS])].reshape(-1, 2)
        past_due = int(days_past_due(t, row, clock))
        older = known(row[Col.OLDER_UNTIL])
        return {
            "line": line,
            "opted_out": known(row[Col.OPTED_OUT_DAY]),
            "takeover_lifted": known(row[Col.TAKEOVER_LIFTED_DAY]),
            "offer_ended": known(row[Col.OFFER_ENDED_DAY]),
            "last_change_at": known(row[Col.LAST_CHANGE_AT]),
            "warned": None if row[Col.WARNED] == MISSING else (self._codes[int(row[Col.WARNED])], known(row[Col.WARNED_UNTIL])),
            "withheld": None if row[Col.WITHHELD] == MISSING else withheld,
            "mismatch": None if row[Col.MISMATCH] == MISSING else (known(row[Col.MISMATCH]), known(row[Col.MISMATCH_UNTIL])),
            "standing": line.standing,
            "limit": line.limit,
            "band": line.band,
            "blocks": sorted(line.blocks),
            "sequence": int(row[Col.SEQUENCE]),
            "accepted": int(row[Col.ACCEPTED]),
            "first_at": int(row[Col.FIRST_AT]),
            "clock": clock,
            "last_change": known(row[Col.LAST_CHANGE_DAY]),
            "last_decrease": known(row[Col.LAST_DECREASE_DAY]),
            "closed_on": known(row[Col.CLOSED_DAY]),
            "days_past_due": past_due,
            "bucket": int(bucket_of(t, past_due)),
            "in_arrears": row[Col.BUCKET] > 0,
            "cured_on": known(row[Col.CURED_ON]),
            "exposure": known(exposure_of(row)),
            "movements": sorted((int(at), int(amount)) for at, amount in movements),
            "older": None if older is None else (older, int(row[Col.OLDER_SUM])),
            "open_instalments": sorted(
                (int(e[Inst.LOAN]), int(e[Inst.DUE_AT]), int(e[Inst.DUE]), int(e[Inst.PAID]))
                for e in entries
                if not e[Inst.FLAGS] & SETTLED_BIT
            ),
            "settled_instalments": sum(bool(e[Inst.FLAGS] & SETTLED_BIT) for e in entries),
            **self._measured(row),
        }

    def _measured(self, row: Ints) -> dict[str, Any]:
        """Tiles, balances and last times by the document's measures; behind them in the layout stand the derived ones."""
        found: dict[str, Any] = {"tiles": {}, "balances": {}, "last_seen": {}, "tops": {}, "trips": {}}
        for measure, entry in zip(self.policy.document.measures, self.policy.layout.measures, strict=False):
            kind, base, count = MeasureKind(entry[Me.KIND]), int(entry[Me.BASE]), int(entry[Me.TILES])
            if kind is MeasureKind.BALANCE:
                found["balances"][measure.name] = int(row[base])
            elif kind is MeasureKind.LAST_SEEN:
                found["last_seen"][measure.name] = known(row[base])
            elif kind is MeasureKind.TOP:
                held = [int(row[base + Top.FIRST + 2 * place + 1]) for place in range(TOPS_MAX)]
                found["tops"][measure.name] = (int(row[base + Top.TOTAL]), sorted(amount for amount in held if amount))
            elif kind is MeasureKind.ROUND_TRIPS:
                legs = row[base : base + count].reshape(-1, LEG_FIELDS)
                found["trips"][measure.name] = [(int(leg[Leg.AT]), int(leg[Leg.AMOUNT]), int(leg[Leg.REST])) for leg in legs if leg[Leg.AT]]
            else:
                head = int(tile_of(int(row[Col.CLOCK]), int(entry[Me.OFFSET]), int(entry[Me.WIDTH])))
                cells = {tile: int(row[base + tile % count]) for tile in range(head - count + 1, head + 1)}
                is_mask = kind is MeasureKind.DISTINCT
                found["tiles"][measure.name] = {tile: cell & (2**64 - 1) if is_mask else cell for tile, cell in cells.items() if cell}
        return found


def oracle_state(account: OracleAccount) -> dict[str, Any]:
    """The oracle's state, loans by fingerprint."""
    state = account.state()
    if account.now is None:
        return state
    loans = [(fingerprint(loan.encode(), KEY), due_at, due, paid) for loan, due_at, due, paid in state["open_instalments"]]
    unwindowed = {*state["balances"], *state["last_seen"], *state["tops"], *state["trips"]}
    tiles = {name: cells for name, cells in state["tiles"].items() if name not in unwindowed}
    return state | {"open_instalments": sorted(loans), "tiles": tiles}


def assert_same_state(kernel: Kernel, shard: OracleShard) -> None:
    """Both hold the same of every account, and of every segment that has brakes."""
    for account_id, account in shard.accounts.items():
        assert kernel.state(account_id) == oracle_state(account)
    kept = kernel.kept()
    assert kept == {segment: shard.portfolio.kept[segment] for segment in kept}


def comparable(trace: Trace | None, policy: Policy) -> Any:
    """A trace for comparison: only the values that its segment reads."""
    if trace is None:
        return None
    segment = next(s for s in policy.segments if s.name == trace.segment)
    read = {c.feature for c in segment.scorecard} | {test.feature for test in tests_of(segment)}
    values = {f.name: value for f, value in zip(policy.features, trace.values, strict=True) if f.name in read}
    return {**vars(trace), "values": values}


def comparable_emission(emission: Emission, policy: Policy) -> dict[str, Any]:
    """An emission for comparison."""
    return {**vars(emission), "trace": comparable(emission.trace, policy)}
