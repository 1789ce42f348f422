"""A customer's life in any order: commands, profiles, postings and time, on the kernel and the oracle side by side, step by step.

Hypothesis writes the life, and shortens one that fails. After every step the two must agree, the line must be one that docs/policy.md §8 and §9
allow, and what was said must follow from what stood before. The table of §8 is written out here once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, get_args

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from engine.core.commands import ALLOWED
from engine.core.layout import Command as CommandKind
from engine.core.layout import Standing
from engine.core.tables import Ints
from tests.core.bridge import OLD_BAND, Kernel, comparable, comparable_emission, oracle_state, word_bit
from tests.generate import policies
from tests.generate.words import START
from tests.oracle.account import OracleAccount, Step
from tests.oracle.decide import CLOSING, DECIDED_LATER
from tests.oracle.line import Change, Emission, Guard, Line
from tests.oracle.records import Applied, Command, Forget, Granted, Profile, Purchase, Record, Repayment, Transfer
from tests.oracle.time_rules import DAY_MS, HOUR_MS
from tests.scenarios.scenario import lender

CHANGES: Final = frozenset(get_args(Change))
GUARDS: Final = frozenset(get_args(Guard))
RAISES: Final = ("grant", "increase", "offer_accepted")
OWN_BLOCKS: Final = frozenset({"past_due", "over_cap"})
CAUSES: Final = ("customer", "takeover", "risk_desk", "arrears", "legal")
ALSO_WITHOUT_A_LINE: Final = ("set_ceiling", "opt_out", "accept_offer", "decline_offer")
BAD_END: Final = {"ends_in_the_past", "ends_too_late"}
BAD_LIMIT: Final = {"above_legal_cap", "above_ceiling", "in_arrears", "in_cure", "second_person_needed"}
REFUSALS: Final[dict[str, frozenset[str]]] = {
    "freeze": frozenset({"already_in_force"}),
    "unfreeze": frozenset({"not_in_force"}),
    "hold": frozenset(BAD_END),
    "override": frozenset(BAD_END | BAD_LIMIT | {"on_hold"}),
    "set_temporary_limit": frozenset(BAD_END | BAD_LIMIT),
    "release": frozenset({"not_in_force"}),
    "set_ceiling": frozenset({"already_in_force"}),
    "decline_offer": frozenset({"offer_unknown"}),
    "accept_offer": frozenset({"offer_unknown", "offer_stale"}) | GUARDS,
    "request_increase": frozenset({"not_raised"}) | GUARDS,
    "opt_out": frozenset({"already_in_force"}),
    "close": frozenset(),
}
# What a command that is done says before its answer; of the others the line tells, or the account.
SAYS: Final = {
    "freeze": "freeze",
    "unfreeze": "unfreeze",
    "set_temporary_limit": "temporary_start",
    "decline_offer": "offer_declined",
    "accept_offer": "offer_accepted",
    "request_increase": "increase",
    "close": "close",
}
REACHED: Counter[tuple[str, str]] = Counter()

spans = st.sampled_from([1, HOUR_MS, 9 * HOUR_MS, DAY_MS, DAY_MS + 1, 3 * DAY_MS, 8 * DAY_MS, 31 * DAY_MS])
ends = st.sampled_from([-DAY_MS, 0, 1, HOUR_MS, DAY_MS, 7 * DAY_MS, 29 * DAY_MS, 400 * DAY_MS])
choices = st.integers(0, 10**6)


@pytest.mark.parametrize("kind", REFUSALS)
def test_the_table_of_commands(kind: str) -> None:
    """The kernel's table says what the page says."""
    allowed = [ALLOWED[CommandKind[kind.upper()], standing] == 1 for standing in (Standing.NONE, Standing.OPEN, Standing.CLOSED)]
    assert allowed == [kind in ALSO_WITHOUT_A_LINE, True, False]


class Life(RuleBasedStateMachine):
    """One account. ``clock`` is the shard's, which is where the next record or sweep finds it."""

    @initialize(
        policy=st.one_of(st.builds(lender), st.builds(lender), policies()), start=st.sampled_from(["applied", "granted", "visited", None])
    )
    def begin(self, policy: Any, start: str | None) -> None:
        """Most often with a profile: of who applied, has a line from elsewhere, or may be offered one."""
        self.policy = policy
        self.clock = START + 12 * HOUR_MS
        self.account = OracleAccount(policy, word_bit)
        self.told: list[Record] = []
        first = Forget(account_id="a", event_id="", occurred_at=START, record_time=START, clock=START)
        self.kernel = Kernel(policy, [first])
        if start is not None:
            flags = {"applied": 1 << 8, "granted": 1 << 6 | 1 << 7, "visited": 0}[start]
            self.a_profile_comes(grade=20, status="active", segment="individual", exposure=300, flags=flags, late=0)

    # What happens

    def common(self, late: int = 0) -> dict[str, Any]:
        """The fields of every record; each comes a moment after the one before."""
        self.clock += 1
        number = f"e{len(self.told)}"
        return {
            "account_id": "a",
            "event_id": number,
            "occurred_at": self.clock - late,
            "record_time": self.clock,
            "clock": self.clock,
        }

    @rule(span=spans)
    def time_passes(self, span: int) -> None:
        self.clock += span

    @rule(span=spans)
    def a_sweep_comes(self, span: int) -> None:
        self.clock += span
        self.sweep()

    @precondition(lambda self: self.ends_to_come())
    @rule(which=choices)
    def something_ends(self, which: int) -> None:
        """A sweep in the last moment of what is in force, and one at its end."""
        coming = self.ends_to_come()
        end = coming[which % len(coming)]
        for moment in (max(self.clock, end - 1), end):
            self.clock = moment
            self.sweep()

    def ends_to_come(self) -> list[int]:
        line = self.account.line
        ends = [
            line.hold_until,
            *(part and part[-1] for part in (line.temporary, line.offer, line.pending, line.override, line.pending_rate)),
        ]
        return [end for end in ends if end is not None and end > self.clock]

    @rule(
        grade=st.sampled_from([None, 0, 10, 20, 20, 30, 40, 45, 50]),
        status=st.sampled_from(["active"] * 12 + ["dormant", "forbearance", "closed", "deceased"]),
        segment=st.sampled_from(["individual"] * 4 + ["enterprise"]),
        exposure=st.sampled_from([None, 0, 300, 900, 2_500, 20_000]),
        flags=choices,
        late=st.sampled_from([0, 0, 0, 2 * DAY_MS]),
    )
    def a_profile_comes(self, grade: int | None, status: str, segment: str, exposure: int | None, flags: int, late: int) -> None:
        common, today = self.common(late), self.clock // DAY_MS
        has = [flags >> bit & 1 == 1 for bit in range(12)]
        figures: dict[str, int | str] = {"status": status, "identity_verified_until": today + 1000, "income_monthly_minor": 20_000}
        figures |= {"consent_at": today - (flags % 3)} if has[0] else {}
        figures |= {"opted_out_at": today - 1} if has[1] and has[2] else {}
        figures |= {"device_changed_at": today, "contact_changed_at": today} if has[3] and has[4] and has[5] else {}
        bands = [OLD_BAND, *(band.name for band in self.policy.segments[0].bands)]
        granted = Granted(1_000, bands[flags % len(bands)], today - 50) if has[6] and has[7] else None
        self.take(
            Profile(
                **common,
                as_of=common["occurred_at"],
                segment=segment,
                applied_at=common["occurred_at"] if has[8] or has[5] else None,
                requested_limit_minor=1_500 if has[9] and has[2] else None,
                exposure_minor=exposure,
                granted=granted,
                applied=Applied(self.account.sequence, self.account.line.limit) if has[10] else None,
                corrects=has[11] and has[1],
                figures=figures,
                attributes={} if grade is None else {"grade": grade, "lenders": 3 if has[4] and has[9] else 0},
            )
        )

    @rule(amount=st.sampled_from([0, 100, 1_000, 5_000]), draws=st.booleans())
    def money_moves(self, amount: int, draws: bool) -> None:
        if draws:
            self.take(Transfer(**self.common(), amount_minor=amount, direction="in", counterparty_id="c", purpose="draw"))
        else:
            self.take(Purchase(**self.common(), amount_minor=amount, funded_by="credit", merchant_id="m"))

    @rule(paid=st.sampled_from([0, 0, 50, 100]), due_in=st.sampled_from([-100, -31, -4, -4, 0, 5]))
    def an_instalment_is_told(self, paid: int, due_in: int) -> None:
        due_at = self.clock // DAY_MS * DAY_MS + due_in * DAY_MS
        self.take(Repayment(**self.common(), amount_minor=paid, loan_id="l", due_at=due_at, amount_due_minor=100))

    @precondition(lambda self: self.account.instalments.held)
    @rule()
    def all_instalments_are_paid(self) -> None:
        for owed in [held for held in self.account.instalments.held if not held.settled]:
            rest = max(0, owed.due - owed.paid)
            terms: dict[str, Any] = {"loan_id": owed.loan_id, "due_at": owed.due_at, "amount_due_minor": owed.due}
            self.take(Repayment(**self.common(), amount_minor=rest, **terms))

    @precondition(lambda self: self.told)
    @rule(which=choices)
    def a_record_comes_again(self, which: int) -> None:
        recent = self.told[-16:]
        self.take(recent[which % len(recent)])

    @rule()
    def the_breaker_is_released(self) -> None:
        self.account.portfolio.release()
        self.kernel.release()

    @rule(really=st.sampled_from([False, False, True]))
    def the_account_is_to_be_forgotten(self, really: bool) -> None:
        if really:
            self.take(Forget(**self.common()))

    # The twelve commands

    def limits(self) -> list[int]:
        """Limits that somebody may name: those that stand, those of bands, and what lies just off them."""
        segment, line = self.account.segment, self.account.line
        named = [line.limit, line.ceiling or 0, segment.limits.legal_cap_minor, *(band.limit_minor for band in segment.bands)]
        return sorted({0, *named, *(limit + 1 for limit in named), *(max(0, limit - 400) for limit in named)})

    def command(self, kind: str, **fields: Any) -> None:
        self.take(Command(**self.common(), kind=kind, **fields))

    def limit(self, which: int) -> int:
        named = self.limits()
        return named[which % len(named)]

    @rule(cause=st.sampled_from(CAUSES))
    def freeze(self, cause: str) -> None:
        self.command("freeze", cause=cause)

    @rule(which=choices)
    def unfreeze(self, which: int) -> None:
        causes = sorted(self.account.line.blocks & set(CAUSES)) or CAUSES
        self.command("unfreeze", cause=causes[which % len(causes)])

    @rule(end=ends)
    def hold(self, end: int) -> None:
        self.command("hold", until=self.clock + 1 + end)

    @rule(end=ends, which=choices, second_person=st.sampled_from([True, True, False]))
    def override(self, end: int, which: int, second_person: bool) -> None:
        self.command("override", until=self.clock + 1 + end, limit_minor=self.limit(which), second_person=second_person)

    @rule(end=ends, which=choices, second_person=st.sampled_from([True, True, False]))
    def set_temporary_limit(self, end: int, which: int, second_person: bool) -> None:
        self.command("set_temporary_limit", until=self.clock + 1 + end, limit_minor=self.limit(which), second_person=second_person)

    @rule(of=st.sampled_from(["hold", "override", "temporary"]))
    def release(self, of: str) -> None:
        self.command("release", of=of)

    @rule(which=choices)
    def request_increase(self, which: int) -> None:
        self.command("request_increase", limit_minor=self.limit(which))

    @rule(
        grade=st.sampled_from([20, 30, 30, 45]),
        amiss=st.sampled_from([None, None, "held", "frozen", "in arrears"]),
        has_consented=st.booleans(),
    )
    def who_does_better_asks_for_more(self, grade: int, amiss: str | None, has_consented: bool) -> None:
        """With something amiss, now and then, that is to stop both what the engine would do by itself and what is asked for."""
        match amiss:
            case "held":
                self.command("hold", until=self.clock + 9 * DAY_MS)
            case "frozen":
                self.command("freeze", cause="risk_desk")
            case "in arrears":
                self.an_instalment_is_told(paid=0, due_in=-4)
        self.clock += 4 * DAY_MS
        self.a_profile_comes(grade=grade, status="active", segment="individual", exposure=300, flags=int(has_consented), late=0)
        self.command("request_increase", limit_minor=100 * grade)

    @rule(grade=st.sampled_from([30, 45]))
    def who_does_better_takes_what_is_offered(self, grade: int) -> None:
        """Without consent what is earned is offered."""
        self.clock += 4 * DAY_MS
        self.a_profile_comes(grade=grade, status="active", segment="individual", exposure=300, flags=0, late=0)
        if self.account.line.offer is not None:
            self.command("accept_offer", offer_id=self.offer_id(0))

    @rule(which=choices, lifted=st.booleans())
    def set_ceiling(self, which: int, lifted: bool) -> None:
        self.command("set_ceiling", limit_minor=None if lifted else self.limit(which))

    def offer_id(self, wrong: int) -> str:
        offer = self.account.line.offer
        return f"offer-{(1 if offer is None else offer[0]) + wrong}"

    @rule(wrong=st.sampled_from([0, 0, 0, 1]))
    def accept_offer(self, wrong: int) -> None:
        self.command("accept_offer", offer_id=self.offer_id(wrong))

    @precondition(lambda self: self.account.line.offer is not None)
    @rule(accepted=st.booleans())
    def an_offer_is_answered(self, accepted: bool) -> None:
        self.command("accept_offer" if accepted else "decline_offer", offer_id=self.offer_id(0))

    @rule(wrong=st.sampled_from([0, 0, 1]))
    def decline_offer(self, wrong: int) -> None:
        self.command("decline_offer", offer_id=self.offer_id(wrong))

    @rule()
    def opt_out(self) -> None:
        self.command("opt_out")

    @rule(really=st.sampled_from([False, False, False, True]))
    def close(self, really: bool) -> None:
        if really:
            self.command("close")

    # One step

    def take(self, record: Record) -> None:
        before, sequence, was_told = self.account.line, self.account.sequence, self.standing_at_the_command()
        step = self.account.apply(record)
        decisions = self.kernel.tell(record)
        assert self.kernel.verdict(0) == step.verdict
        self.told += [record] if step.verdict in ("accepted", "no_profile") else []
        emissions = self.agree(step, decisions)
        assert_in_sequence(emissions, sequence)
        if isinstance(record, Command):
            self.assert_answered(record, emissions, was_told, step)
        else:
            assert not [e for e in emissions if e.kind.startswith("command_")]
        if step.verdict == "accepted":
            self.assert_sound(before, emissions, step, record if isinstance(record, Command) else None)

    def sweep(self) -> None:
        before, sequence = self.account.line, self.account.sequence
        step = self.account.tick(self.clock)
        emissions = self.agree(step, self.kernel.sweep(self.clock))
        assert_in_sequence(emissions, sequence)
        assert not [e for e in emissions if e.kind.startswith("command_")]
        if emissions:
            self.assert_sound(before, emissions, step, None)

    def agree(self, step: Step, decisions: Sequence[Ints]) -> list[Emission]:
        """Kernel and oracle say the same, for the same reasons, and hold the same afterwards; what the kernel says."""
        emissions = [self.kernel.emission(decision) for decision in decisions]
        expected = [comparable_emission(emission, self.policy) for emission in step.emissions]
        assert [comparable_emission(emission, self.policy) for emission in emissions] == expected
        if step.trace is not None and (decisions or step.verdict == "accepted"):
            assert comparable(self.kernel.trace(self.kernel.decisions[0]), self.policy) == comparable(step.trace, self.policy)
        assert self.kernel.state("a") == oracle_state(self.account)
        kept = self.kernel.kept()
        assert kept == {segment: self.account.portfolio.kept[segment] for segment in kept}
        return emissions

    def standing_at_the_command(self) -> str:
        """The row of §8's table that a command of now falls under."""
        account = self.account
        is_known = account.profile is not None or not self.policy.needs_profile
        begins = account.segment.initial_standing is not None and is_known and not account.is_closed_by_status
        return "open" if account.line.standing == "none" and begins else account.line.standing

    # What holds

    def assert_answered(self, command: Command, emissions: Sequence[Emission], standing: str, step: Step) -> None:
        """One answer, and the one that §8 gives; none to a command told before."""
        answers = [place for place, e in enumerate(emissions) if e.kind.startswith("command_")]
        if step.verdict == "duplicate":
            assert not emissions
            return
        assert len(answers) == 1
        answer = emissions[answers[0]]
        REACHED[command.kind, standing if step.verdict == "accepted" else "no_profile"] += 1
        REACHED[command.kind, answer.kind] += 1
        if step.verdict == "no_profile":
            assert (answer.kind, answer.cause, len(emissions)) == ("command_refused", "no_profile", 1)
            return
        is_allowed = standing == "open" or (standing == "none" and command.kind in ALSO_WITHOUT_A_LINE)
        if not is_allowed:
            assert (answer.kind, answer.cause) == ("command_refused", "not_open")
        elif answer.kind == "command_refused":
            is_closing = self.account.is_closed_by_status and command.kind in DECIDED_LATER
            assert answer.cause in REFUSALS[command.kind] or (is_closing and answer.cause == "not_open")
        else:
            self.assert_done(command, emissions[: answers[0]])

    def assert_done(self, command: Command, said: Sequence[Emission]) -> None:
        """What a command that is accepted asks for stands, or was said right before the answer."""
        if command.kind in SAYS:
            done = said[-1]
            assert done.kind == SAYS[command.kind]
            new = done.new
            match command.kind:
                case "freeze" | "unfreeze":
                    assert (command.cause in new.blocks) == (command.kind == "freeze")
                case "set_temporary_limit":
                    assert new.temporary == (command.limit_minor, command.until)
                case "request_increase":
                    assert command.limit_minor is not None
                    assert done.previous.limit < new.limit <= command.limit_minor
                case "accept_offer":
                    offer = done.previous.offer
                    assert offer is not None
                    assert (command.offer_id, new.limit) == (f"offer-{offer[0]}", offer[1])
                    assert offer[2] > done.clock
                    assert done.trace is not None
                    assert done.trace.target is not None
                    assert done.trace.target >= new.limit
        elif command.kind == "opt_out":
            assert self.account.opted_out == self.account.today
        elif command.kind == "set_ceiling":
            assert self.account.line.ceiling == command.limit_minor
        elif self.account.line.standing == "open":
            line = self.account.line
            match command.kind:
                case "hold":
                    assert line.hold_until == command.until
                case "override":
                    assert line.override == (command.limit_minor, command.until)
                case "release":
                    assert {"hold": line.hold_until, "override": line.override, "temporary": line.temporary}[str(command.of)] is None

    def assert_sound(self, before: Line, emissions: Sequence[Emission], step: Step, command: Command | None) -> None:
        """The line after an evaluation is legal, and what was said of it was allowed."""
        assert step.trace is not None
        line, segment, now = self.account.line, self.account.segment, self.account.now
        assert now is not None
        legal_cap, bucket = segment.limits.legal_cap_minor, step.trace.bucket
        in_cure = self.account.instalments.in_cure(self.account.today)
        is_judged = not self.account.is_closed_by_status
        assert is_judged or line.standing != "open"
        if line.standing == "open":
            assert line.band is not None
            assert ("over_cap" in line.blocks) == (line.limit > legal_cap)
            assert ("past_due" in line.blocks) == (bucket >= self.policy.arrears.block_drawing_from_bucket)
        else:
            # Nothing of an open line; without one there may be an offer, and after one blocks by command.
            offer = line.offer if line.standing == "none" and is_judged else None
            blocks = line.blocks - OWN_BLOCKS if line.standing == "closed" else frozenset()
            assert line == Line(0, None, blocks, line.standing, ceiling=line.ceiling, offer=offer)
        if line.temporary is not None:
            limit, until = line.temporary
            assert until > now
            assert limit <= min(legal_cap, legal_cap if line.ceiling is None else line.ceiling)
            assert bucket == 0 or limit <= line.limit or "temporary_start" in {e.kind for e in emissions} or line.limit < before.limit
        if line.offer is not None:
            assert line.offer[2] > now
            assert line.offer[0] <= self.account.sequence
            assert line.offer[1] > line.limit
        held, overridden = self.account.is_in_force(line.hold_until), self.account.override_limit is not None
        if line.pending is not None:
            assert line.pending[0] < line.limit
            decided_alone = command is not None and command.kind in DECIDED_LATER
            assert line.pending[1] > now or held or overridden or decided_alone or step.trace.guard == "breaker"
        if line.pending_rate is not None:
            assert line.rate_tier is not None
            assert line.pending_rate[1] > now or held or segment.rates is None
        for emission in emissions:
            if emission.kind in RAISES or emission.kind == "offer":
                self.assert_raised(emission, bucket, legal_cap, in_cure=in_cure)
            if emission.kind == "temporary_start":
                assert emission.new.temporary is not None
                assert emission.new.temporary[0] <= max(emission.new.limit, 0 if bucket or in_cure else legal_cap)

    def assert_raised(self, emission: Emission, bucket: int, legal_cap: int, *, in_cure: bool) -> None:
        """Never above the law, in arrears or in cure; nor, of a line that is open, blocked or held."""
        old, new = emission.previous, emission.new
        limit = new.offer[1] if emission.kind == "offer" and new.offer is not None else new.limit
        assert old.limit < limit <= legal_cap
        assert bucket == 0
        assert not in_cure
        if old.standing == "open":
            assert old.hold_until is None or old.hold_until <= emission.clock
            assert not old.blocks or (old.override is not None and old.override[1] > emission.clock)
        assert not self.account.is_closed_by_status
        assert self.account.figure("status") not in CLOSING


def assert_in_sequence(emissions: Sequence[Emission], sequence: int) -> None:
    """One number for each change, none for the rest; each begins with what the one before left."""
    for emission in emissions:
        sequence += emission.kind in CHANGES
        assert emission.sequence == sequence
        assert (emission.previous != emission.new) == (emission.kind in CHANGES)
    limits = [(e.previous.limit, e.new.limit) for e in emissions]
    assert all(before[1] == after[0] for before, after in pairwise(limits))


def live(examples: int, lives: type[Life] = Life, **how: Any) -> None:
    """Lives of some sixty steps."""
    usual = settings(max_examples=examples, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck), **how)
    run_state_machine_as_test(lives, settings=usual)


def test_no_life_comes_to_an_illegal_state() -> None:
    """And every command meets every standing, and is both done and refused: in as many rounds of lives as that takes, at most six. What
    Hypothesis draws from a seed depends on the constants of all modules that were imported before."""
    REACHED.clear()
    wanted = {(kind, where) for kind in REFUSALS for where in ("none", "open", "closed", "command_refused", "command_accepted")}
    for number in range(6):
        live(160, seed(number)(type("Life", (Life,), {})), database=None)
        if wanted <= {*REACHED, ("close", "command_refused")}:
            break
    assert wanted - set(REACHED) <= {("close", "command_refused")}


def test_nor_does_one_that_was_never_lived_before() -> None:
    live(60)
