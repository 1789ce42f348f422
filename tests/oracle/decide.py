"""One evaluation, step by step in the written order (docs/policy.md §9)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.oracle import guards
from tests.oracle.commands import refusal
from tests.oracle.features import feature_value, is_missing_as_partial
from tests.oracle.guards import Entry
from tests.oracle.line import Advisory, Change, Emission, Guard, Kind, Line, Trace
from tests.oracle.records import Command, Profile, Record
from tests.oracle.scoring import ladder_place, score_of, standing_place, target_of, target_place
from tests.oracle.time_rules import HOUR_MS, midnight

if TYPE_CHECKING:
    from tests.oracle.account import OracleAccount

__all__ = ["CLOSING", "Emission", "Guard", "Kind", "Line", "Trace", "evaluate", "refuse"]

CLOSING = ("closed", "deceased", "insolvent", "written_off")
ENGINE_BLOCKS = frozenset({"past_due", "over_cap"})
DECIDED_LATER = ("accept_offer", "request_increase")
NOT_TOLD_AS_WITHHELD = ("quiet_hours", "hold", "consent_missing")


def refuse(account: OracleAccount, reason: str) -> Emission:
    """The answer to a command that is refused."""
    assert account.now is not None
    return Emission("command_refused", account.sequence, account.now, reason, account.line, account.line, None)


def evaluate(account: OracleAccount, record: Record | None, shard_day: int, *, is_counted: bool) -> tuple[list[Emission], Trace]:
    """Evaluate the account once, after a record's work is done, or after time went by (None). ``shard_day`` is the policy day of the shard's
    clock, ``is_counted`` whether the portfolio counts this evaluation."""
    return _Evaluation(account, record, shard_day, is_counted=is_counted).run()


class _Evaluation:
    """One evaluation; ``asked`` is the command that step 8 decides."""

    def __init__(self, account: OracleAccount, record: Record | None, shard_day: int, *, is_counted: bool) -> None:
        assert account.now is not None
        self.account = account
        self.now = account.now
        self.today = account.today
        self.record = record
        self.shard_day = shard_day
        self.is_counted = is_counted
        self.has_tripped = False
        self.asked: Command | None = None
        self.emissions: list[Emission] = []

    def run(self) -> tuple[list[Emission], Trace]:
        is_closed = self.account.is_closed_by_status
        if not is_closed:
            self.end_what_is_over()
        if isinstance(self.record, Command):
            self.take(self.record)
        if is_closed:
            self.close_by_status()
        trace = judge(self.account)
        if is_closed:
            trace = replace(trace, guard="closed")
        else:
            self.block("past_due", trace.bucket >= self.account.policy.arrears.block_drawing_from_bucket)
            self.end_a_temporary_limit_that_is_too_high(trace)
            self.look_for_a_takeover(trace)
            self.account.portfolio.begin(self.account.segment, self.shard_day, is_counted=self.is_counted)
            trace = self.decide(trace)
            trace = replace(trace, brakes=self.account.portfolio.brakes(self.account.segment))
            self.block("over_cap", self.account.line.limit > self.account.segment.limits.legal_cap_minor)
            self.advise_on_the_brakes(trace)
            self.advise_on_debt(trace)
            self.advise_on_an_increase_withheld(trace)
        self.advise_on_a_mismatch()
        return [replace(emission, trace=trace) for emission in self.emissions], trace

    # What is emitted

    def change(self, kind: Change, cause: str | None = None, **changes: Any) -> None:
        """A change: the next sequence number, and the line with these changes."""
        self.account.sequence += 1
        self.account.last_change_at = self.now
        previous = self.account.line
        self.account.stand(replace(previous, **changes))
        self.emissions.append(Emission(kind, self.account.sequence, self.now, cause, previous, self.account.line, None))

    def block(self, cause: str, stands: bool) -> None:
        """Set or lift a block of an open account, if it differs."""
        blocks = self.account.line.blocks
        if self.account.line.standing == "open" and stands != (cause in blocks):
            self.change("freeze" if stands else "unfreeze", cause, blocks=blocks | {cause} if stands else blocks - {cause})

    def close(self, cause: str | None) -> None:
        """Close an open line; only blocks by command and the ceiling stay."""
        line = self.account.line
        given_up = vars(Line(0, None, line.blocks - ENGINE_BLOCKS, "closed", ceiling=line.ceiling))
        self.change("close", cause, **given_up)
        self.account.closed_on = self.today

    def accept(self) -> None:
        """The answer to a command that was done."""
        line = self.account.line
        self.emissions.append(Emission("command_accepted", self.account.sequence, self.now, None, line, line, None))

    def refuse(self, reason: str) -> None:
        """The answer to a command that is refused."""
        self.emissions.append(refuse(self.account, reason))

    def advise(self, kind: Advisory, cause: str | None = None) -> None:
        """An advisory."""
        line = self.account.line
        self.emissions.append(Emission(kind, self.account.sequence, self.now, cause, line, line, None))

    # Steps 1 to 3

    def end_what_is_over(self) -> None:
        line = self.account.line
        if line.temporary is not None and not self.account.is_in_force(line.temporary[1]):
            self.change("temporary_end", temporary=None)
        if line.offer is not None and not self.account.is_in_force(line.offer[2]):
            self.change("offer_expired", offer=None)

    def take(self, command: Command) -> None:
        reason = refusal(self.account, command)
        if reason is not None:
            self.refuse(reason)
        elif command.kind in DECIDED_LATER:
            self.asked = command
        else:
            self.carry_out(command)
            self.accept()

    def carry_out(self, command: Command) -> None:
        account, line = self.account, self.account.line
        match command.kind:
            case "freeze" | "unfreeze":
                assert command.cause is not None
                self.block(command.cause, command.kind == "freeze")
                if (command.kind, command.cause) == ("unfreeze", "takeover"):
                    account.takeover_lifted = self.today
            case "hold":
                account.stand(replace(line, hold_until=command.until))
            case "override":
                assert command.limit_minor is not None
                assert command.until is not None
                account.stand(replace(line, override=(command.limit_minor, command.until)))
            case "set_temporary_limit":
                self.change("temporary_start", temporary=(command.limit_minor, command.until))
            case "release" if command.of == "hold":
                account.stand(replace(line, hold_until=None))
            case "release" if command.of == "override":
                account.stand(replace(line, override=None))
            case "release":
                self.change("temporary_end", temporary=None)
            case "set_ceiling":
                account.stand(replace(line, ceiling=command.limit_minor))
            case "decline_offer":
                self.change("offer_declined", offer=None)
            case "opt_out":
                account.opted_out = self.today
            case "close":
                self.close("command")

    def close_by_status(self) -> None:
        if self.account.line.standing == "open":
            self.close(None)
        self.account.stand(replace(self.account.line, offer=None))
        if self.asked is not None:
            self.refuse("not_open")
            self.asked = None

    # Steps 5 and 6

    def end_a_temporary_limit_that_is_too_high(self, trace: Trace) -> None:
        line = self.account.line
        if line.temporary is None:
            return
        limit = line.temporary[0]
        is_above_the_ceiling = line.ceiling is not None and limit > line.ceiling
        is_raise_in_arrears = limit > line.limit and trace.bucket >= 1
        if limit > self.account.segment.limits.legal_cap_minor or is_above_the_ceiling or is_raise_in_arrears:
            self.change("temporary_end", temporary=None)

    def look_for_a_takeover(self, trace: Trace) -> None:
        account, takeover = self.account, self.account.segment.protection.takeover
        if account.line.standing != "open" or takeover is None or "takeover" in account.line.blocks:
            return
        values = guards.values_of(account, trace)
        points = sum(signal.points for signal in takeover.signals if guards.passes(account, signal, values))
        has_rested = account.takeover_lifted is None or self.today - account.takeover_lifted >= takeover.rest_days
        if points >= takeover.freeze_from and has_rested:
            self.block("takeover", True)
            self.advise("suspected_takeover")

    # Steps 7 and 8

    def decide(self, trace: Trace) -> Trace:
        """The change of the limit and of the rate; the trace with target and guard."""
        trace, own = judge_target(self.account, trace)
        line, target = self.account.line, trace.target
        assert target is not None
        withheld: Entry | None
        if self.asked is not None and self.asked.kind == "request_increase":
            trace, withheld = self.decide_request(self.asked, trace)
        elif self.asked is not None:
            withheld = self.decide_acceptance(trace)
        elif line.standing != "open":
            withheld = self.decide_grant(trace)
        elif target > line.limit:
            withheld = self.withdraw_or_increase(trace)
        elif target < line.limit:
            withheld = self.decide_decrease(trace, own=own)
        else:
            withheld = None
            self.withdraw()
        if withheld is not None:
            trace = replace(trace, guard=withheld.name, requirement=withheld.code)
        if line.standing == "open":
            self.decide_rate(trace)
        return trace

    def raise_to(self, kind: Change, limit: int, trace: Trace) -> None:
        """Grant, increase or offer_accepted, which the budget counts unless a person has set it; a grant brings the target tier with it."""
        if self.account.override_limit is None:
            self.account.portfolio.raise_by(self.account.segment, limit - self.account.line.limit)
        changes: dict[str, Any] = {"limit": limit, "band": trace.target_band, "standing": "open", "pending": None, "offer": None}
        if self.account.line.standing != "open":
            changes["rate_tier"] = target_tier(self.account, trace)
        self.change(kind, **changes)
        self.account.last_change = self.today

    def lower_to(self, limit: int, trace: Trace) -> None:
        self.change("decrease", limit=limit, band=trace.target_band, pending=None)
        self.account.last_change = self.account.last_decrease = self.today

    def decide_grant(self, trace: Trace) -> Entry | None:
        account = self.account
        assert trace.target is not None
        if trace.target == 0:
            return guards.first([Entry("not_earned", guards.has_applied(account))])
        withheld = guards.first(guards.of_a_grant(account, trace))
        if withheld is not None:
            return withheld
        if guards.has_applied(account):
            withheld = guards.first([guards.budget_spent(account, trace.target)])
            if withheld is None:
                self.raise_to("grant", trace.target, trace)
            return withheld
        if account.closed_on is None and account.segment.increases.unsolicited_offers:
            return guards.first(guards.of_the_engines_own_wish(account)) or self.offer(trace)
        return Entry("consent_missing", True)

    def withdraw_or_increase(self, trace: Trace) -> Entry | None:
        assert trace.target is not None
        if self.withdraw():
            return None
        corrects = isinstance(self.record, Profile) and self.record.corrects
        entries = guards.of_an_increase(self.account, trace, asked=False, corrects=corrects)
        withheld = guards.first([*entries, guards.budget_spent(self.account, trace.target)])
        if withheld is not None and withheld.name == "consent_missing":
            return self.offer(trace)
        if withheld is None:
            self.raise_to("increase", trace.target, trace)
        return withheld

    def withdraw(self) -> bool:
        """Take back the announcement of a decrease whose day has come; whether there was one."""
        pending = self.account.line.pending
        if pending is None or self.now < pending[1] or self.account.override_limit is not None:
            return False
        self.change("announce_withdrawn", "limit", pending=None)
        return True

    def offer(self, trace: Trace) -> Entry | None:
        """Offer the target, unless an offer is live, the last one ended too short a time ago, or the budget is spent."""
        assert trace.target is not None
        account, increases = self.account, self.account.segment.increases
        rests = account.offer_ended is not None and self.today - account.offer_ended < increases.offer_rest_days
        if account.line.offer is not None or rests:
            return Entry("consent_missing", True)
        spent = guards.budget_spent(account, trace.target)
        if spent.bites:
            return spent
        until = midnight(account.policy, self.today + increases.offer_days)
        self.change("offer", offer=(account.sequence + 1, trace.target, until))
        return None

    def decide_decrease(self, trace: Trace, *, own: bool) -> Entry | None:
        account, pending = self.account, self.account.line.pending
        assert trace.target is not None
        withheld = guards.first(guards.of_a_decrease(account, trace, own=own))
        if withheld is not None:
            return withheld
        notice_days = account.segment.notices.decrease_days
        if account.override_limit is not None or trace.forced or own:
            self.lower_to(trace.target, trace)
        elif not self.passes_the_breaker(trace):
            return Entry("breaker", True)
        elif pending is not None:
            self.lower_to(max(trace.target, pending[0]), trace)
        elif notice_days == 0:
            self.lower_to(trace.target, trace)
        else:
            self.change("announce", "limit", pending=(trace.target, midnight(account.policy, self.today + notice_days)))
        return None

    def passes_the_breaker(self, trace: Trace) -> bool:
        """Whether a decrease that nobody commands may be done: what was announced unless the breaker has tripped, any other as it counts."""
        account, portfolio, caps = self.account, self.account.portfolio, trace.caps or {}
        was_tripped = portfolio.is_tripped(account.segment)
        if account.line.pending is not None:
            return not was_tripped
        standing = account.line.limit
        is_the_appetites = caps["band"] >= standing and "appetite" in caps and caps["appetite"] < standing
        passes = portfolio.lets_lower(account.segment, is_the_appetites=is_the_appetites)
        self.has_tripped = not was_tripped and portfolio.is_tripped(account.segment)
        return passes

    def decide_request(self, command: Command, trace: Trace) -> tuple[Trace, Entry | None]:
        """A customer's wish for more; the trace of an accepted one is bound by it."""
        assert trace.target is not None
        assert command.limit_minor is not None
        unit = self.account.segment.limits.round_to_minor
        requested = command.limit_minor // unit * unit
        limit = min(trace.target, requested)
        if limit <= self.account.line.limit:
            self.refuse("not_raised")
            return trace, None
        entries = guards.of_an_increase(self.account, trace, asked=True, corrects=False)
        withheld = guards.first([*entries, guards.budget_spent(self.account, limit)])
        if withheld is not None:
            self.refuse(withheld.name)
            return trace, withheld
        trace = replace(trace, target=limit, bound_by="requested" if requested < trace.target else trace.bound_by)
        self.raise_to("increase", limit, trace)
        self.accept()
        return trace, None

    def decide_acceptance(self, trace: Trace) -> Entry | None:
        account, line = self.account, self.account.line
        assert trace.target is not None
        assert line.offer is not None
        offered = line.offer[1]
        overridden = Entry("override", account.override_limit is not None)
        is_open = line.standing == "open"
        entries = guards.of_an_increase(account, trace, asked=True, corrects=False) if is_open else guards.of_a_grant(account, trace)
        withheld = guards.first([overridden, *entries])
        if withheld is None and trace.target < offered:
            self.refuse("offer_stale")
            self.change("offer_expired", offer=None)
            return None
        withheld = withheld or guards.first([guards.budget_spent(account, offered)])
        if withheld is not None:
            self.refuse(withheld.name)
        else:
            self.raise_to("offer_accepted", offered, trace)
            self.accept()
        return withheld

    def decide_rate(self, trace: Trace) -> None:
        """The tier of an account that was open before."""
        account, line, rates = self.account, self.account.line, self.account.segment.rates
        if rates is None or account.is_in_force(line.hold_until):
            return
        names = [tier.name for tier in rates.tiers]
        standing = names.index(line.rate_tier) if line.rate_tier in names else None
        target = ladder_place(rates.tiers, trace.score, standing)
        is_due = line.pending_rate is not None and self.now >= line.pending_rate[1]
        is_sound = trace.bucket == 0 and not account.instalments.in_cure(self.today)
        if standing is None or (target > standing and is_sound):
            self.change("rate_change", rate_tier=names[target], pending_rate=None)
        elif target < standing and line.pending_rate is None:
            if rates.rise_notice_days == 0:
                self.change("rate_change", rate_tier=names[target])
            else:
                day = midnight(account.policy, self.today + rates.rise_notice_days)
                self.change("announce", "rate", pending_rate=(names[target], day))
        elif target < standing and is_due:
            assert line.pending_rate is not None
            announced = line.pending_rate[0]
            tier = max(target, names.index(announced) if announced in names else target)
            self.change("rate_change", rate_tier=names[tier], pending_rate=None)
        elif is_due and target >= standing:
            self.change("announce_withdrawn", "rate", pending_rate=None)

    # Step 10

    def next_advice(self) -> int:
        """Until when an advisory that is told now is not told again."""
        return midnight(self.account.policy, self.today + self.account.segment.notices.advisory_days)

    def advise_on_the_brakes(self, trace: Trace) -> None:
        account = self.account
        if trace.guard == "budget_spent" and account.portfolio.tell_spent(account.segment):
            self.advise("budget_spent")
        if self.has_tripped:
            self.advise("breaker_tripped")

    def advise_on_debt(self, trace: Trace) -> None:
        account, codes = self.account, guards.warnings(self.account, trace)
        if account.line.standing != "open" or not codes:
            return
        if account.warned is None or account.warned[0] != codes[0] or self.now >= account.warned[1]:
            account.warned = (codes[0], self.next_advice())
            self.advise("over_borrowing", codes[0])

    def advise_on_an_increase_withheld(self, trace: Trace) -> None:
        account, line = self.account, self.account.line
        assert trace.target is not None
        is_raise = line.standing != "open" or trace.target > line.limit
        if self.asked is not None or trace.guard is None or trace.guard in NOT_TOLD_AS_WITHHELD or not is_raise:
            return
        told = (trace.guard, trace.requirement, trace.target)
        if account.withheld is None or account.withheld[:3] != told or self.now >= account.withheld[3]:
            account.withheld = (*told, self.next_advice())
            self.advise("increase_withheld", trace.guard)

    def advise_on_a_mismatch(self) -> None:
        account, hours = self.account, self.account.policy.reconcile_hours
        applied = None if account.profile is None else account.profile.applied
        if account.line.standing == "none" or hours is None or applied is None:
            return
        assert account.profile is not None
        since = account.last_change_at
        if since is not None and account.profile.as_of < since + hours * HOUR_MS:
            return
        if (applied.sequence, applied.limit_minor) == (account.sequence, account.limit_in_force):
            return
        if account.mismatch is None or account.mismatch[0] != account.sequence or self.now >= account.mismatch[1]:
            account.mismatch = (account.sequence, self.next_advice())
            self.advise("standing_mismatch")


def judge(account: OracleAccount) -> Trace:
    """The trace as far as the score."""
    policy, segment, view = account.policy, account.segment, account.view()
    values = {feature.name: feature_value(feature, view) for feature in policy.features}
    scored = score_of(segment, values)
    in_scorecard = {characteristic.feature for characteristic in segment.scorecard}
    return Trace(
        segment=segment.name,
        exposure=view.exposure,
        exposure_as_of=account.profile.as_of if account.profile else None,
        days_past_due=view.days_past_due,
        bucket=account.instalments.bucket(account.today),
        values=list(values.values()),
        bins=scored.bins,
        points=scored.points,
        score=scored.score,
        warming_up=any(is_missing_as_partial(f, view) for f in policy.features if f.name in in_scorecard),
    )


def judge_target(account: OracleAccount, trace: Trace) -> tuple[Trace, bool]:
    """The trace with the target, against the standing before any change of the limit; and whether it is the customer's own."""
    segment, line = account.segment, account.line
    is_open = line.standing == "open"
    standing_band = standing_place(segment, line.band, line.limit) if is_open else None
    band = segment.bands[target_place(segment, trace.score, standing_band)]
    mode, since = account.appetites.get(segment.name, ("neutral", 0))
    target = target_of(
        account.policy,
        segment,
        band,
        account.profile,
        standing=line.limit if is_open else None,
        exposure=trace.exposure,
        bucket=trace.bucket,
        ceiling=line.ceiling,
        override=account.override_limit,
        appetite=(mode, account.today - since),
    )
    judged = replace(trace, caps=target.caps, target_band=band.name, target=target.limit, bound_by=target.bound_by, forced=target.forced)
    return judged, target.own


def target_tier(account: OracleAccount, trace: Trace) -> str | None:
    """The tier that a grant brings with it."""
    rates = account.segment.rates
    return None if rates is None else rates.tiers[ladder_place(rates.tiers, trace.score, None)].name
