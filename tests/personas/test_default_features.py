"""What the default policy's features say of things that happen: worked out with the oracle, one account at a time."""

from __future__ import annotations

from typing import Any

from tests.oracle.account import OracleAccount
from tests.oracle.decide import Trace
from tests.oracle.records import Profile, Purchase, Repayment, Transfer
from tests.personas.lives import POLICY

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FIRST_DAY = 20_000
MONTH_YUAN = 8_000


class Customer:
    """An account whose days begin at midnight in China; amounts in yuan."""

    def __init__(self, segment: str = "individual", **profile: Any) -> None:
        self.account = OracleAccount(POLICY, word_bit=lambda word: sum(map(ord, word)) % 64)
        self.told = 0
        self.trace: Trace | None = None
        figures = {"status": "active", "income_monthly_minor": 100 * MONTH_YUAN} | profile.pop("figures", {})
        self.tell(Profile, 0, segment=segment, as_of=self.at(0, 0), figures=figures, **profile)

    @staticmethod
    def at(day: float, hour: float = 12) -> int:
        return int((FIRST_DAY + day) * DAY_MS + (hour - 8) * HOUR_MS)

    def tell(self, record: type[Any], day: float, hour: float = 12, **fields: Any) -> None:
        self.told += 1
        at = self.at(day, hour)
        common = {"account_id": "a", "event_id": f"e{self.told}", "occurred_at": at, "record_time": at, "clock": at}
        step = self.account.apply(record(**common, **fields))
        assert step.verdict == "accepted"
        self.trace = step.trace

    def send(self, day: float, yuan: int, purpose: str, party: str = "p", direction: str = "out", hour: float = 12) -> None:
        self.tell(Transfer, day, hour, amount_minor=100 * yuan, direction=direction, counterparty_id=party, purpose=purpose)

    def receive(self, day: float, yuan: int, purpose: str, party: str = "p", hour: float = 12) -> None:
        self.send(day, yuan, purpose, party, "in", hour)

    def buy(self, day: float, yuan: int, category: str, **fields: Any) -> None:
        self.tell(Purchase, day, amount_minor=100 * yuan, category=category, merchant_id="m", funded_by="own", **fields)

    def pay(self, day: float, yuan: int, due_day: int, due: int = 100) -> None:
        due_at = self.at(due_day)
        self.tell(Repayment, day, amount_minor=100 * yuan, loan_id="l", due_at=due_at, amount_due_minor=100 * due)

    def value(self, feature: str) -> int | None:
        return self.account.features()[[each.name for each in POLICY.features].index(feature)]

    def points(self, feature: str) -> int:
        assert self.trace is not None
        segment = next(each for each in POLICY.segments if each.name == self.trace.segment)
        return self.trace.points[[c.feature for c in segment.scorecard].index(feature)]


def test_nothing_is_won_by_what_never_fell_due() -> None:
    for segment in ("individual", "enterprise"):
        customer = Customer(segment)
        for feature in ("missed_instalments", "longest_delay", "partial_instalments", "arrears_recovered", "on_time_share"):
            assert (customer.value(feature), customer.points(feature)) == (None, 0), feature
        customer.pay(10, 100, due_day=10)
        customer.buy(20, 10, "groceries")
        assert (customer.value("missed_instalments"), customer.points("missed_instalments")) == (0, 15)


def test_an_idle_line_wins_nothing() -> None:
    for segment, feature in (("individual", "utilisation"), ("enterprise", "business_utilisation")):
        customer = Customer(segment, exposure_minor=0)
        customer.account.line = customer.account.line.__class__(1_000_000, "basic", frozenset(), "open")
        customer.buy(1, 10, "groceries")
        assert (customer.value(feature), customer.points(feature)) == (0, 0)


def test_ten_draws_in_a_day_weigh_in_both_segments() -> None:
    for segment in ("individual", "enterprise"):
        customer = Customer(segment)
        for n in range(10):
            customer.receive(1, 100, "draw", hour=9 + n / 10)
        assert customer.points("draws_24h") <= -200


def test_a_salary_that_goes_back_is_none() -> None:
    customer = Customer()
    customer.receive(10, 9_000, "salary", "friend")
    assert (customer.value("salary_average"), customer.value("salary_months")) == (900_000, 1)
    customer.send(14, 9_000, "person", "friend")
    assert (customer.value("salary_average"), customer.value("salary_months")) == (None, 0)


def test_a_salary_is_regular_in_time() -> None:
    customer = Customer()
    for day in (0, 30, 61, 91):
        customer.receive(day, 9_000, "salary", "employer")
    assert customer.value("salary_punctuality") == 100
    customer.receive(110, 9_000, "salary", "employer")
    assert customer.value("salary_punctuality") == 75


def test_own_money_is_no_receipt_and_no_counterparty() -> None:
    customer = Customer("enterprise")
    customer.receive(1, 5_000, "own", "me")
    customer.receive(1, 5_000, "other", "buyer")
    assert (customer.value("average_receipt"), customer.value("counterparties_5w"), customer.value("payers_9w")) == (500_000, 1, 1)
    assert customer.value("payer_concentration") == 100


def test_scenes_count_from_thirty_yuan_on_and_not_what_was_refunded() -> None:
    customer = Customer()
    customer.buy(1, 20, "groceries")
    customer.buy(2, 10, "dining")  # the same scene
    customer.buy(2, 29, "utilities")
    customer.send(2, 500, "wealth", "fund")
    assert customer.value("scenes_5w") == 2
    customer.tell(
        Purchase, 3, amount_minor=1_000, category="dining", merchant_id="m", funded_by="own", reverses_at=customer.at(2), reverses_full=True
    )
    assert customer.value("scenes_5w") == 1


def test_a_loan_that_pays_a_loan() -> None:
    customer = Customer()
    customer.receive(5, 1_000, "loan", "lender")
    customer.pay(8, 60, due_day=8)
    customer.pay(9, 40, due_day=8)
    assert customer.value("repaid_from_loans") == 60


def test_the_signs_of_a_hijacked_account_weigh_together() -> None:
    customer = Customer(figures={"device_changed_at": FIRST_DAY + 98, "contact_changed_at": FIRST_DAY + 98})
    customer.send(10, 100, "person", "sister")
    for n in range(9):
        customer.send(100, 3_000, "person", f"mule {n}", hour=2 + n / 10)
    expected = {
        "outflow_to_income_24h": 337,
        "night_outflow_share_48h": 100,
        "awakenings_2d": 1,
        "days_since_device_change": 2,
        "days_since_contact_change": 2,
    }
    assert {feature: customer.value(feature) for feature in expected} == expected
    new_payees = customer.value("new_payees_2d")
    assert new_payees is not None
    assert new_payees >= 8
    assert sum(customer.points(feature) for feature in (*expected, "new_payees_2d")) == -140


def test_not_able_is_told_apart_from_not_willing() -> None:
    about = {feature.name: feature.about for feature in POLICY.features}
    assert {about[name] for name in ("partial_instalments", "salary_months", "debt_service_to_income")} == {"ability"}
    assert {about[name] for name in ("missed_instalments", "longest_delay", "arrears_recovered")} == {"willingness"}
