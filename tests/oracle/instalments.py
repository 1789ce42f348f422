"""Instalments: what is due, what was paid, what became of it, and the cure after arrears (docs/policy.md §4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.policy import document as doc
from tests.oracle.events import Event
from tests.oracle.records import Repayment
from tests.oracle.time_rules import day_of, midnight

AMOUNT_MAX = 2**53 - 1
HELD_MAX = 36
SETTLED_KEEP_DAYS = 60


def bounded(amount: int) -> int:
    """An amount as an instalment holds it."""
    return min(max(amount, -AMOUNT_MAX), AMOUNT_MAX)


@dataclass
class Instalment:
    """One instalment that an account holds."""

    loan_id: str
    due_at: int
    due: int
    paid: int
    settled: bool = False
    shared: bool = False
    counted: set[str] = field(default_factory=set)


class Instalments:
    """An account's instalments in order of arrival, and whether it is in arrears or in cure."""

    def __init__(self, policy: doc.Policy) -> None:
        self.policy = policy
        self.held: list[Instalment] = []
        self.in_arrears = False
        self.cured_on: int | None = None

    def settle(self, today: int) -> list[Event]:
        """Drop what was settled long ago and count what has become past due."""
        self.held = [i for i in self.held if not (i.settled and self._due_day(i) + SETTLED_KEEP_DAYS < today)]
        outcomes = []
        for instalment in self.held:
            last_day = self._due_day(instalment) + self.policy.arrears.grace_days
            if not instalment.settled and last_day < today:
                outcome = "partial" if instalment.paid > 0 else "missed"
                outcomes += self._count(instalment, outcome, midnight(self.policy, last_day + 1))
        return outcomes

    def repay(self, record: Repayment) -> list[Event]:
        """Take a repayment or its reversal."""
        reversal = record.reverses_at is not None
        instalment = next((i for i in self.held if (i.loan_id, i.due_at) == (record.loan_id, record.due_at)), None)
        if instalment is None:
            paid = record.amount_due_minor - record.amount_minor if reversal else record.amount_minor
            instalment = self._room_for(Instalment(record.loan_id, record.due_at, record.amount_due_minor, paid))
        elif reversal:
            instalment.paid = bounded(instalment.paid - record.amount_minor)
        else:
            instalment.due = instalment.due if instalment.shared else record.amount_due_minor
            instalment.paid = bounded(instalment.paid + record.amount_minor)
        was_settled = instalment.settled
        instalment.settled = instalment.paid >= instalment.due - self.policy.arrears.tolerance_minor
        if reversal or was_settled or not instalment.settled:
            return []
        in_time = day_of(self.policy, record.occurred_at) <= self._due_day(instalment) + self.policy.arrears.grace_days
        return self._count(instalment, "on_time" if in_time else "late", record.occurred_at)

    def _room_for(self, new: Instalment) -> Instalment:
        """Hold a new instalment, or add it to the shared one; returns the one that holds it."""
        if len(self.held) == HELD_MAX:
            settled = [i for i in self.held if i.settled]
            if not settled:
                last = self.held[-1]
                last.shared = True
                last.due = bounded(last.due + new.due)
                last.paid = bounded(last.paid + new.paid)
                return last
            self.held.remove(min(settled, key=lambda i: i.due_at))
        self.held.append(new)
        return new

    def _count(self, instalment: Instalment, outcome: str, at: int) -> list[Event]:
        """The outcome as an event, unless this instalment had it before."""
        if outcome in instalment.counted:
            return []
        instalment.counted.add(outcome)
        numbers = {
            "amount_minor": instalment.due,
            "amount_due_minor": instalment.due,
            "days_late": day_of(self.policy, at) - self._due_day(instalment),
        }
        return [Event("instalment", at, {"outcome": outcome}, numbers)]

    def _due_day(self, instalment: Instalment) -> int:
        return day_of(self.policy, instalment.due_at)

    def days_past_due(self, today: int) -> int:
        """Days past due of the oldest open instalment beyond its grace."""
        late = [today - self._due_day(i) for i in self.held if not i.settled]
        return max((days for days in late if days > self.policy.arrears.grace_days), default=0)

    def bucket(self, today: int) -> int:
        """Bucket of the days past due, 0 when current."""
        return sum(lower <= self.days_past_due(today) for lower in self.policy.arrears.bucket_lower_days)

    def look_at_cure(self, today: int) -> None:
        """Note that the account is in arrears, or that it has just left them."""
        if self.bucket(today) >= 1:
            self.in_arrears, self.cured_on = True, None
        elif self.in_arrears:
            self.in_arrears, self.cured_on = False, today

    def in_cure(self, today: int) -> bool:
        """Whether a cure is running."""
        return self.cured_on is not None and today - self.cured_on < self.policy.arrears.cure_days
