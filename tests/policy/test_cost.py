"""The cost of credit: published examples to the printed digit, and what holds of every loan."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from textwrap import indent
from typing import Any, Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from engine.policy.actuarial import Payment, effective_rate, nominal_rate
from engine.policy.cost import Cost, Terms, cost_of, example_cost, payments_by_year
from engine.policy.document import RateExample, RateTier
from tests.policy.texts import SECTIONS, policy_of

EXAMPLES: Final[dict[str, Any]] = YAML(typ="safe", pure=True).load(Path(__file__).with_name("cost_examples.yaml").read_text("utf-8"))
YEAR: Final = Terms(yearly_rate_bp=1200, accrual="monthly", plan="equal_instalments", term_months=12)


def examples(section: str) -> pytest.MarkDecorator:
    cases = EXAMPLES[section]
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


def payments_of(case: dict[str, Any], period: Fraction) -> list[Payment]:
    odd = Fraction(case.get("odd", 0))
    return [Payment(amount, (first + k) * period, odd) for amount, first, count in case["payments"] for k in range(count)]


def printed(case: dict[str, Any]) -> tuple[int, int]:
    """The printed figure as a whole number, and how many of its unit make 1."""
    whole, _, decimals = case["rate"].partition(".")
    return int(whole + decimals), 100 * 10 ** len(decimals)


@examples("effective")
def test_published_effective_rates(case: dict[str, Any]) -> None:
    rate, parts = printed(case)
    assert effective_rate(case["advance"], payments_of(case, Fraction(case["period"])), parts) == rate


@examples("nominal")
def test_published_nominal_rates(case: dict[str, Any]) -> None:
    rate, parts = printed(case)
    assert nominal_rate(case["advance"], payments_of(case, Fraction(1)), Fraction(case["periods_per_year"]), parts) == rate


@examples("terms")
def test_published_terms(case: dict[str, Any]) -> None:
    terms = Terms(
        yearly_rate_bp=case["yearly_rate_bp"],
        accrual="monthly",
        plan=case["plan"],
        term_months=240,
        upfront_fee_bp=200,
        instalment_fee_minor=case.get("instalment_fee_minor", 0),
    )
    cost = cost_of(20_000_000, terms)
    assert cost.instalments[0].amount_minor == case["first"]
    assert (cost.apr_effective_bp, 10_000) == printed(case)


def present_value(payments: list[Payment], rate: Decimal) -> Decimal:
    """The equation's right side as it is written, one power after the other."""
    with localcontext(prec=60):
        years = ((payment.amount_minor, Decimal(payment.after.numerator) / payment.after.denominator) for payment in payments)
        return sum((amount / (1 + rate) ** after for amount, after in years), Decimal(0))


def fee_of(draw: int, terms: Terms) -> int:
    return terms.upfront_fee_minor + (draw * terms.upfront_fee_bp + 5_000) // 10_000


DRAWS: Final = st.integers(100_000, 10**12)
PLANS: Final = st.sampled_from(["equal_instalments", "equal_principal", "interest_monthly", "single_payment"])
BY_MONTHS: Final = st.builds(
    Terms,
    yearly_rate_bp=st.integers(0, 6_000),
    accrual=st.sampled_from(["monthly", "daily_365", "daily_360"]),
    plan=PLANS,
    term_months=st.integers(1, 60),
    upfront_fee_bp=st.integers(0, 1_000),
    upfront_fee_minor=st.integers(0, 5_000),
    instalment_fee_minor=st.integers(0, 2_000),
)
BY_DAYS: Final = st.builds(
    Terms,
    yearly_rate_bp=st.integers(0, 6_000),
    accrual=st.sampled_from(["daily_365", "daily_360"]),
    plan=st.just("single_payment"),
    term_days=st.integers(30, 800),
    upfront_fee_bp=st.integers(0, 1_000),
    instalment_fee_minor=st.integers(0, 2_000),
)
TERMS: Final = BY_MONTHS | BY_DAYS


@given(DRAWS, TERMS)
def test_instalments_return_the_draw_and_its_cost(draw: int, terms: Terms) -> None:
    cost = cost_of(draw, terms)
    assert sum(instalment.principal_minor for instalment in cost.instalments) == draw
    assert all(min(instalment) >= 0 for instalment in cost.instalments)
    assert len(cost.instalments) == (1 if terms.plan == "single_payment" else terms.term_months)
    assert cost.total_payable_minor == draw + cost.total_cost_minor
    assert cost.total_payable_minor == fee_of(draw, terms) + sum(instalment.amount_minor for instalment in cost.instalments)


@given(DRAWS, TERMS)
def test_the_payments_at_the_rate_are_worth_what_the_customer_received(draw: int, terms: Terms) -> None:
    cost = cost_of(draw, terms)
    received, payments = draw - fee_of(draw, terms), payments_by_year(cost.instalments, terms)
    parts = 10**20
    fine = effective_rate(received, payments, parts)
    assert abs(present_value(payments, Decimal(fine) / parts) - received) < 1
    half = Decimal("0.00005")
    printed_rate = Decimal(cost.apr_effective_bp) / 10_000
    assert present_value(payments, printed_rate + half) < received <= present_value(payments, max(printed_rate - half, Decimal(0)))


@given(DRAWS, TERMS)
def test_without_interest_and_fees_both_rates_are_0(draw: int, terms: Terms) -> None:
    free = replace(terms, yearly_rate_bp=0, upfront_fee_bp=0, upfront_fee_minor=0, instalment_fee_minor=0)
    cost = cost_of(draw, free)
    assert (cost.apr_effective_bp, cost.apr_nominal_bp, cost.total_cost_minor) == (0, 0, 0)


@given(DRAWS, TERMS, st.sampled_from(["upfront_fee_bp", "upfront_fee_minor", "instalment_fee_minor"]), st.integers(1, 2_000))
def test_a_higher_fee_lowers_no_rate(draw: int, terms: Terms, fee: str, more: int) -> None:
    before, after = cost_of(draw, terms), cost_of(draw, replace(terms, **{fee: getattr(terms, fee) + more}))
    assert after.apr_effective_bp >= before.apr_effective_bp
    assert after.apr_nominal_bp >= before.apr_nominal_bp
    assert after.total_cost_minor >= before.total_cost_minor


@given(st.integers(10**7, 10**12), TERMS, st.integers(10, 2_000))
def test_a_higher_yearly_rate_raises_both_rates(draw: int, terms: Terms, more: int) -> None:
    """By 10 basis points at least: less may drown in the rounding of instalments to whole units."""
    before, after = cost_of(draw, terms), cost_of(draw, replace(terms, yearly_rate_bp=terms.yearly_rate_bp + more))
    assert after.apr_effective_bp > before.apr_effective_bp
    assert after.apr_nominal_bp > before.apr_nominal_bp


@given(st.integers(10**8, 10**12), BY_MONTHS)
def test_without_fees_the_nominal_rate_is_the_yearly_rate(draw: int, terms: Terms) -> None:
    """Months and (365/12)/365 are the twelfth that appendix J counts; interest per day on 360 days costs 365/360 of it."""
    terms = replace(terms, upfront_fee_bp=0, upfront_fee_minor=0, instalment_fee_minor=0)
    assume(terms.plan != "single_payment" or (terms.term_months or 0) <= 12)
    expected = Fraction(terms.yearly_rate_bp) * (Fraction(365, 360) if terms.accrual == "daily_360" else 1)
    assert abs(cost_of(draw, terms).apr_nominal_bp - expected) <= 1


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_half_is_rounded_up(draw: int, rate: int) -> None:
    """20,000 x draw repaid after a year with (2 rate + 1) x draw of interest costs exactly rate and a half basis points, by either equation."""
    paid = 20_000 * draw + (2 * rate + 1) * draw
    assert effective_rate(20_000 * draw, [Payment(paid, Fraction(1))]) == rate + 1
    assert effective_rate(20_000 * draw, [Payment(paid - 1, Fraction(1))]) == rate
    assert nominal_rate(20_000 * draw, [Payment(paid, Fraction(1))], Fraction(1)) == rate + 1


def test_an_exact_half_in_steps_of_a_month_is_rounded_up() -> None:
    """The twelfth root has no end; its twelfth power must be a half all the same."""
    for rate in range(100):
        payments = [Payment(0, Fraction(1, 12)), Payment(20_001 + 2 * rate, Fraction(1))]
        assert effective_rate(20_000, payments) == rate + 1


def test_a_year_of_equal_instalments() -> None:
    cost = cost_of(1_200_000, YEAR)
    assert cost.instalments[0] == (94_619, 12_000, 0)
    assert cost.instalments[-1] == (105_558, 1_056, 0)
    assert cost == Cost(1268, 1200, 1_279_423, 79_423, cost.instalments)


@pytest.mark.parametrize(
    ("terms", "interest", "nominal", "effective"),
    [
        # Half a year is the unit-period: 2 x 6 %, and 1.06^2 - 1.
        (Terms(1200, "monthly", "single_payment", term_months=6), 6_000, 1200, 1236),
        # A year and an odd half: (1 + i)(1 + i / 2) = 1.18, and 1.18^(2/3) - 1.
        (Terms(1200, "monthly", "single_payment", term_months=18), 18_000, 1155, 1167),
        # 5 in 10,000 a day: 365/30 x 1.5 %, and 1.015^(365/30) - 1.
        (Terms(1800, "daily_360", "single_payment", term_days=30), 1_500, 1825, 1986),
        # A year and 35 odd days: (1 + i)(1 + 35/365 i) = 1.10959, and 1.10959^(365/400) - 1.
        (Terms(1000, "daily_365", "single_payment", term_days=400), 10_959, 991, 995),
        # One instalment is a single payment.
        (Terms(1200, "daily_365", "equal_instalments", term_months=1), 1_000, 1200, 1268),
    ],
)
def test_one_payment(terms: Terms, interest: int, nominal: int, effective: int) -> None:
    cost = cost_of(100_000, terms)
    assert cost == Cost(effective, nominal, 100_000 + interest, interest, cost.instalments)


@pytest.mark.parametrize(
    ("draw", "changes", "says"),
    [
        (0, {}, "draw_minor must be from 1"),
        (100_000, {"term_months": 0}, "term_months must be from 1 to 600, not 0"),
        (100_000, {"yearly_rate_bp": -1}, "yearly_rate_bp must be from 0"),
        (100_000, {"term_days": 30}, "give exactly one of term_months and term_days"),
        (100_000, {"term_months": None}, "give exactly one of term_months and term_days"),
        (100_000, {"term_months": None, "term_days": 30}, "give term_months"),
        (100_000, {"upfront_fee_bp": 10_000}, "lower upfront_fee_bp or upfront_fee_minor"),
        (5, {"yearly_rate_bp": 0}, "take a larger draw or a shorter term"),
        (8, {"yearly_rate_bp": 0}, "take a larger draw or a shorter term"),
        (11, {"yearly_rate_bp": 0}, "take a larger draw or a shorter term"),
        (11, {"plan": "equal_principal"}, "take a larger draw or a shorter term"),
        (100_000, {"term_months": 1, "instalment_fee_minor": 10**9}, "lower the interest or the fees, or take a longer term"),
    ],
)
def test_what_to_change(draw: int, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        cost_of(draw, replace(YEAR, **changes))


def test_payments_that_no_rate_explains() -> None:
    with pytest.raises(ValueError, match="do not return the advance"):
        effective_rate(100, [Payment(99, Fraction(1))])
    with pytest.raises(ValueError, match="at least 1 minor unit"):
        effective_rate(0, [Payment(99, Fraction(1))])
    with pytest.raises(ValueError, match="subtract from the advance"):
        effective_rate(100, [Payment(5, Fraction(0)), Payment(100, Fraction(1))])
    with pytest.raises(ValueError, match="every payment is at least 0"):
        effective_rate(100, [Payment(-5, Fraction(1)), Payment(110, Fraction(2))])
    with pytest.raises(ValueError, match="put what is left into odd"):
        nominal_rate(100, [Payment(110, Fraction(3, 2))], Fraction(1))
    with pytest.raises(ValueError, match="put it into the years"):
        effective_rate(100, [Payment(110, Fraction(1), Fraction(1, 2))])
    with pytest.raises(ValueError, match="there must be some"):
        nominal_rate(100, [Payment(110, Fraction(1))], Fraction(0))


def test_the_rates_of_the_document_are_a_policys() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cost.md").read_text("utf-8")
    rates = text.partition("```yaml\n")[2].partition("```")[0]
    policy = policy_of(SECTIONS["segments"] + "\n" + indent(rates, " " * 4))
    assert policy.segments[0].rates is not None
    assert [tier.name for tier in policy.segments[0].rates.tiers] == ["standard", "good", "best"]


def test_the_example_of_a_policy() -> None:
    example = RateExample(draw_minor=1_200_000, term_months=12, plan="equal_instalments", accrual="monthly")
    assert example_cost(example, RateTier(name="a", yearly_rate_bp=1200)) == cost_of(1_200_000, YEAR)
