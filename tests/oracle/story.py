"""A story for an example: a lender with a plain policy, and one account to which things happen.

The lender lives in UTC. A credit grade (``attributes.grade``) is the whole score, ten points a grade;
bands start at 10 and 20 points. Day 20000 is day 0 of a story, and everything happens at noon unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.policy.document import Policy
from tests.oracle.account import OracleAccount, Step
from tests.oracle.decide import Emission, Trace
from tests.oracle.portfolio import Portfolio
from tests.oracle.records import Command, Profile, Purchase, Repayment, Transfer
from tests.oracle.time_rules import DAY_MS, HOUR_MS

DAY_0 = 20_000
GRADES = {
    "feature": "grade",
    "bins": [{"points": 0}, *({"at_least": n, "points": 10 * n} for n in range(1, 10))],
    "missing": 0,
}
BANDS = [
    {"name": "none", "limit_minor": 0},
    {"name": "basic", "lower": 10, "limit_minor": 1_000},
    {"name": "prime", "lower": 20, "limit_minor": 5_000},
]
LIMITS = {"product_cap_minor": 9_000, "legal_cap_minor": 9_000, "round_to_minor": 100}
PURCHASES = {"name": "n", "event": "purchase", "kind": "count"}


def at(day: float, hour: float = 12) -> int:
    """The instant at an hour of an example's day."""
    return int((DAY_0 + day) * DAY_MS + hour * HOUR_MS)


def policy(
    *,
    measures: list[dict[str, Any]] | None = None,
    features: list[dict[str, Any]] | None = None,
    segment: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    **changes: Any,
) -> Policy:
    """The lender's policy with changes; its own feature ``grade`` stands behind the given ones."""
    standard = {
        "name": "individual",
        "base_points": 0,
        "scorecard": [GRADES],
        "bands": BANDS,
        "limits": LIMITS | (limits or {}),
        "cool_down": {"up_days": 0, "down_days": 0},
    }
    plain = {
        "policy": "example",
        "version": 1,
        "currency": "CNY",
        "measures": measures or [PURCHASES],
        "features": [*(features or []), {"name": "grade", "kind": "profile", "figure": "attributes.grade"}],
        "segments": [standard | (segment or {})],
    }
    return Policy.from_plain(plain | changes)


class Story:
    """One account to which things happen; the shard's clock is the largest time told so far."""

    def __init__(self, appetites: Mapping[str, tuple[str, int]] | None = None, portfolio: Portfolio | None = None, **changes: Any) -> None:
        self.policy = policy(**changes)
        self.account = OracleAccount(self.policy, lambda word: int(word) % 64, appetites, portfolio)
        self.clock = 0
        self.told = 0

    def _tell(self, record: type[Any], occurred_at: int, **fields: Any) -> Step:
        self.told += 1
        self.clock = max(self.clock, occurred_at)
        common = {"account_id": "a", "event_id": f"e{self.told}", "record_time": self.clock, "clock": self.clock}
        return self.account.apply(record(**(common | {"occurred_at": occurred_at} | fields)))

    def purchase(self, occurred_at: int, amount: int = 1, **fields: Any) -> Step:
        """A purchase, or the reversal of one."""
        return self._tell(Purchase, occurred_at, amount_minor=amount, **fields)

    def transfer(self, occurred_at: int, amount: int, **fields: Any) -> Step:
        """A transfer, or the reversal of one."""
        return self._tell(Transfer, occurred_at, amount_minor=amount, **fields)

    def pay(self, occurred_at: int, amount: int, *, due: int = 100, due_day: int = 10, **fields: Any) -> Step:
        """A payment on the instalment of loan ``l`` that is due on a day, or the reversal of one."""
        more = {"loan_id": "l", "due_at": at(due_day), "amount_due_minor": due} | fields
        return self._tell(Repayment, occurred_at, amount_minor=amount, **more)

    def profile(self, day: float, grade: int = 1, **fields: Any) -> Step:
        """A profile of an active customer who applies that day."""
        figures = {"status": "active"} | fields.pop("figures", {})
        standard = {"as_of": at(day), "applied_at": at(day), "figures": figures, "attributes": {"grade": grade}}
        return self._tell(Profile, at(day), **(standard | fields))

    def command(self, day: float, kind: str, cause: str | None = "takeover", **fields: Any) -> Step:
        """A command."""
        return self._tell(Command, at(day), kind=kind, cause=cause, **fields)

    def tick(self, now: int) -> Step:
        """Time goes by without a record."""
        self.clock = max(self.clock, now)
        return self.account.tick(self.clock)

    def value(self, feature: str) -> int | None:
        """A feature's value now."""
        names = [each.name for each in self.policy.features]
        return self.account.features()[names.index(feature)]

    def limit_after(self, step: Step) -> int:
        """The limit that stands, having checked that the step was accepted."""
        assert step.verdict == "accepted"
        return self.account.line.limit


def kinds(step: Step) -> list[str]:
    """What was emitted."""
    return [emission.kind for emission in step.emissions]


def only(step: Step) -> Emission:
    """The one thing that was emitted."""
    (emission,) = step.emissions
    return emission


def trace(step: Step) -> Trace:
    """How the step was judged."""
    assert step.trace is not None
    return step.trace
