"""From the oracle's records to the kernel's matrices, and from the kernel's rows and decisions back to the oracle's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from engine.core.decide import EMISSIONS_MAX, run
from engine.core.exposure import exposure_of
from engine.core.fingerprint import FingerprintKey, band_code, fingerprint
from engine.core.instalments import bucket_of, days_past_due
from engine.core.layout import (
    CAPS_AT,
    EVENT_COLUMNS,
    FIGURES,
    INSTALMENT_FIELDS,
    INSTALMENTS_AT,
    MISSING,
    MOVEMENTS_AT,
    SETTLED_BIT,
    VALUES_AT,
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
    Out,
    Refused,
    Segment,
    Standing,
    Status,
    Topic,
    Verdict,
)
from engine.core.layout import Command as CommandKind
from engine.core.limits import NO_CAP
from engine.core.rows import blank_row
from engine.core.tables import FACTS, Ints, Me, MeasureKind
from engine.core.windows import tile_of
from engine.policy.compile import FIGURE_COLUMNS, CompiledPolicy, compile_policy
from engine.policy.document import Policy
from engine.stream.decode.fields import AMOUNTS, ENUMS, WORDS
from tests.oracle.account import OracleAccount
from tests.oracle.decide import Emission, Line, Trace
from tests.oracle.records import Command, Forget, Profile, Purchase, Record, Repayment, Transfer

KEY: Final = FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")
TOPICS: Final = {
    Profile: Topic.PROFILE,
    Forget: Topic.PROFILE,
    Command: Topic.COMMAND,
    Repayment: Topic.REPAYMENT,
    Transfer: Topic.TRANSFER,
    Purchase: Topic.PURCHASE,
}
COMMANDS: Final = {"freeze": CommandKind.FREEZE, "unfreeze": CommandKind.UNFREEZE}
OLD_BAND: Final = "band_of_old"  # of a standing granted elsewhere


def word_bit(word: str) -> int:
    """The bit of a word in an open distinct measure: the low six of its fingerprint."""
    return fingerprint(word.encode(), KEY) & 63


def known(value: Any) -> int | None:
    """A cell's value, None for MISSING."""
    return None if value == MISSING else int(value)


class Kernel:
    """The kernel on a log's accounts: a row for each, in the order of their ids."""

    def __init__(self, policy: Policy, log: Sequence[Record]) -> None:
        self.policy: CompiledPolicy = compile_policy(policy, KEY)
        self.accounts = sorted({record.account_id for record in log})
        self.rows = np.tile(blank_row(self.policy.layout), (len(self.accounts), 1))
        self.events = np.full((EVENT_COLUMNS, len(log)), MISSING, np.int64)
        self.profiles = np.full((len(log), FIGURES + len(self.policy.layout.attributes)), MISSING, np.int64)
        self.decisions = np.zeros((EMISSIONS_MAX, self.policy.decision_columns), np.int64)
        self.verdicts = np.full(len(log), -1, np.int64)
        self._facts = np.zeros(FACTS, np.int64)
        self._band_names = {band_code(name): name for name in (OLD_BAND, *(b.name for s in policy.segments for b in s.bands))}
        for i, record in enumerate(log):
            self._fill(i, record)

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
            column[Ev.COMMAND_KIND] = COMMANDS.get(record.kind, CommandKind.OTHER)
            column[Ev.CAUSE] = Block[record.cause.upper()] if record.cause else 0
        elif isinstance(record, Profile):
            self._fill_profile(self.profiles[i], record)
        elif not isinstance(record, Forget):
            self._fill_posting(column, record)

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
            vocabulary = self.policy.decode.words["jurisdiction"]
            return vocabulary.index(value) + 1 if value in vocabulary else 0
        if value == "else":  # a word of the contract's that no generated policy names
            return Employment.OTHER if name == "employment" else IncomeProof.ESTIMATED
        codes: Any = {"status": Status, "employment": Employment, "income_proof": IncomeProof}[name]
        return int(codes[value.upper()])

    # Decisions out

    def verdict(self, i: int) -> str:
        """What became of record ``i``."""
        return Verdict(self.verdicts[i]).name.lower()

    def emission(self, decision: Ints) -> Emission:
        """A decision as the oracle tells it."""
        kind, cause = Kind(decision[Out.KIND]), int(decision[Out.CAUSE])
        is_block = kind in (Kind.FREEZE, Kind.UNFREEZE)
        named = Block(cause).name if is_block else Refused(cause).name if kind is Kind.COMMAND_REFUSED else None
        return Emission(
            kind=kind.name.lower(),  # type: ignore[arg-type]
            sequence=int(decision[Out.SEQUENCE]),
            clock=int(decision[Out.CLOCK]),
            cause=None if named is None else named.lower(),
            previous=self._line(decision, Out.PREVIOUS_LIMIT, Out.PREVIOUS_BAND, Out.PREVIOUS_BLOCKS, Out.PREVIOUS_STANDING),
            new=self._line(decision, Out.LIMIT, Out.BAND, Out.BLOCKS, Out.STANDING),
            trace=self.trace(decision) if decision[Out.EVALUATED] else None,
        )

    def trace(self, decision: Ints) -> Trace:
        """The trace of a decision as the oracle tells it, but for the failed requirement, which the kernel does not tell."""
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
        )

    def _line(self, decision: Ints, limit: Out, band: Out, blocks: Out, standing: Out) -> Line:
        return self._line_of(*(int(decision[column]) for column in (limit, band, blocks, standing)))

    def _line_of(self, limit: int, band: int, blocks: int, standing: int) -> Line:
        names = frozenset(block.name.lower() for block in Block if blocks >> block & 1)
        return Line(limit, None if band == MISSING else self._band_names[band], names, Standing(standing).name.lower())  # type: ignore[arg-type]

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
        line = self._line_of(*(int(row[column]) for column in (Col.LIMIT, Col.BAND, Col.BLOCKS, Col.STANDING)))
        entries = [row[INSTALMENTS_AT + n * INSTALMENT_FIELDS :][:INSTALMENT_FIELDS] for n in range(int(row[Col.INSTALMENTS]))]
        movements = row[MOVEMENTS_AT : MOVEMENTS_AT + 2 * int(row[Col.MOVEMENTS])].reshape(-1, 2)
        past_due = int(days_past_due(t, row, clock))
        older = known(row[Col.OLDER_UNTIL])
        return {
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
            "in_arrears": bool(row[Col.IN_ARREARS]),
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
        found: dict[str, Any] = {"tiles": {}, "balances": {}, "last_seen": {}}
        for measure, entry in zip(self.policy.document.measures, self.policy.layout.measures, strict=False):
            kind, base, count = MeasureKind(entry[Me.KIND]), int(entry[Me.BASE]), int(entry[Me.TILES])
            if kind is MeasureKind.BALANCE:
                found["balances"][measure.name] = int(row[base])
            elif kind is MeasureKind.LAST_SEEN:
                found["last_seen"][measure.name] = known(row[base])
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
    unwindowed = {*state["balances"], *state["last_seen"]}
    tiles = {name: cells for name, cells in state["tiles"].items() if name not in unwindowed}
    return state | {"open_instalments": sorted(loans), "tiles": tiles}


def comparable(trace: Trace | None, policy: Policy) -> Any:
    """A trace for comparison: only the values that its segment reads, without the failed requirement."""
    if trace is None:
        return None
    segment = next(s for s in policy.segments if s.name == trace.segment)
    read = {c.feature for c in segment.scorecard} | {r.feature for r in segment.eligibility}
    values = {f.name: value for f, value in zip(policy.features, trace.values, strict=True) if f.name in read}
    return {**vars(trace), "values": values, "requirement": None}


def comparable_emission(emission: Emission, policy: Policy) -> dict[str, Any]:
    """An emission for comparison."""
    return {**vars(emission), "trace": comparable(emission.trace, policy)}
