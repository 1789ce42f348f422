"""What a stated draw costs: its instalments in whole minor units and its annual rates, fees included. ``docs/cost.md`` is the specification.

Theory of operation. The draw is paid out on day 0, less the up-front fee; what is then paid, and when, is a plan:

- ``equal_instalments``: every month the same principal plus interest (an annuity);
- ``equal_principal``: every month the same principal, and the interest on what is still owed;
- ``interest_monthly``: every month the interest, with the last instalment the whole draw;
- ``single_payment``: draw and simple interest in one payment at the end.

Interest of a month is balance x yearly rate x the month's part of a year, rounded half up to a minor unit. No date is stated, so months are
equal: 365/12 days, and the part of a year is 1/12 (``monthly``), (365/12)/365 (``daily_365``) or (365/12)/360 (``daily_360``). A term in days,
which only a single payment may have, counts days/365 or days/360. An instalment also carries its fee. The last instalment takes what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from engine.policy.actuarial import BASIS_POINTS, Payment, effective_rate, nominal_rate
from engine.policy.document import AMOUNT_MAX, TERM_MONTHS_MAX, YEARLY_RATE_BP_MAX, Accrual, RateExample, RateTier, RepaymentPlan

TERM_DAYS_MAX: Final = 3660

_MONTH: Final[dict[Accrual, Fraction]] = {
    "monthly": Fraction(1, 12),
    "daily_365": Fraction(365, 12) / 365,
    "daily_360": Fraction(365, 12) / 360,
}
_DAYS_OF_YEAR: Final[dict[Accrual, int]] = {"daily_365": 365, "daily_360": 360}


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a draw. Exactly one of ``term_months`` and ``term_days`` is given; the two up-front fees add up."""

    yearly_rate_bp: int
    accrual: Accrual
    plan: RepaymentPlan
    term_months: int | None = None
    term_days: int | None = None
    upfront_fee_bp: int = 0
    upfront_fee_minor: int = 0
    instalment_fee_minor: int = 0


class Instalment(NamedTuple):
    """One payment: the k-th is due after k months, a single one at the end of the term."""

    principal_minor: int
    interest_minor: int
    fee_minor: int

    @property
    def amount_minor(self) -> int:
        """What the customer pays."""
        return self.principal_minor + self.interest_minor + self.fee_minor


@dataclass(frozen=True, slots=True)
class Cost:
    """What a draw costs. ``apr_effective_bp`` compounds yearly (EU), ``apr_nominal_bp`` is unit-period rate x unit-periods a year (US).

    ``total_cost_minor`` is interest and all fees; ``total_payable_minor`` is the draw and that cost.
    """

    apr_effective_bp: int
    apr_nominal_bp: int
    total_payable_minor: int
    total_cost_minor: int
    instalments: tuple[Instalment, ...]


def cost_of(draw_minor: int, terms: Terms) -> Cost:
    """The instalments of ``draw_minor`` on these terms and what they cost a year.

    Raises ValueError, with what to change, where the terms make no schedule or no rate up to ``actuarial.RATE_MAX``.
    """
    _check(draw_minor, terms)
    fee = terms.upfront_fee_minor + _half_up(Fraction(draw_minor * terms.upfront_fee_bp, BASIS_POINTS))
    if fee >= draw_minor:
        raise ValueError(f"the up-front fee of {fee} leaves nothing of the draw of {draw_minor}: lower upfront_fee_bp or upfront_fee_minor")
    instalments = schedule(draw_minor, terms)
    cost = fee + sum(instalment.interest_minor + instalment.fee_minor for instalment in instalments)
    in_unit_periods, periods_per_year = _unit_periods(instalments, terms)
    return Cost(
        apr_effective_bp=effective_rate(draw_minor - fee, payments_by_year(instalments, terms)),
        apr_nominal_bp=nominal_rate(draw_minor - fee, in_unit_periods, periods_per_year),
        total_payable_minor=draw_minor + cost,
        total_cost_minor=cost,
        instalments=instalments,
    )


def example_cost(example: RateExample, tier: RateTier) -> Cost:
    """What the representative example of a policy costs in one of its tiers. Raises ValueError as ``cost_of`` does."""
    return cost_of(example.draw_minor, Terms(yearly_rate_bp=tier.yearly_rate_bp, **example.model_dump(exclude={"draw_minor"})))


def schedule(draw_minor: int, terms: Terms) -> tuple[Instalment, ...]:
    """The instalments, whose principal adds up to the draw. Raises ValueError where the draw is too small for them."""
    _check(draw_minor, terms)
    months = terms.term_months or 1
    rate = Fraction(terms.yearly_rate_bp, BASIS_POINTS)
    if terms.plan == "single_payment":
        return (Instalment(draw_minor, _half_up(draw_minor * rate * _part_of_year(terms)), terms.instalment_fee_minor),)
    month = _MONTH[terms.accrual]
    planned = _planned(draw_minor, months, rate * month, terms.plan)
    instalments: list[Instalment] = []
    balance = draw_minor
    for k in range(1, months + 1):
        interest = _half_up(balance * rate * month)
        principal = planned - interest if terms.plan == "equal_instalments" else planned
        if k == months:
            principal = balance
        if balance == 0 or principal > balance:
            raise ValueError(_too_small(draw_minor, months))
        instalments.append(Instalment(principal, interest, terms.instalment_fee_minor))
        balance -= principal
    return tuple(instalments)


def payments_by_year(instalments: tuple[Instalment, ...], terms: Terms) -> list[Payment]:
    """What is paid after how many years: months are twelfths of a year, days are 365ths."""
    if terms.plan == "single_payment":
        after = Fraction(terms.term_days, 365) if terms.term_days is not None else Fraction(terms.term_months or 0, 12)
        return [Payment(instalments[0].amount_minor, after)]
    return [Payment(instalment.amount_minor, Fraction(k, 12)) for k, instalment in enumerate(instalments, 1)]


def _unit_periods(instalments: tuple[Instalment, ...], terms: Terms) -> tuple[list[Payment], Fraction]:
    """The payments in unit-periods, and the unit-periods of a year.

    Instalments make months the unit-period. A single payment makes it the term, or a year where the term is longer ((b)(4)(ii) of appendix J).
    """
    payments = payments_by_year(instalments, terms)
    if len(payments) > 1:
        return [payment._replace(after=payment.after * 12) for payment in payments], Fraction(12)
    years = payments[0].after
    if years < 1:
        return [payments[0]._replace(after=Fraction(1))], 1 / years
    whole = Fraction(int(years))
    return [payments[0]._replace(after=whole, odd=years - whole)], Fraction(1)


def _planned(draw_minor: int, months: int, monthly_rate: Fraction, plan: RepaymentPlan) -> int:
    """The whole instalment of an annuity, the principal of a month in another plan."""
    if plan == "interest_monthly":
        return 0
    planned = _annuity(draw_minor, months, monthly_rate) if plan == "equal_instalments" else draw_minor // months
    if planned == 0:
        raise ValueError(_too_small(draw_minor, months))
    return planned


def _annuity(draw_minor: int, months: int, monthly_rate: Fraction) -> int:
    """Draw x j / (1 - (1 + j)^-months), in whole numbers throughout, rounded half up."""
    if not monthly_rate:
        return _half_up(Fraction(draw_minor, months))
    growth = (1 + monthly_rate) ** months
    return _half_up(draw_minor * monthly_rate * growth / (growth - 1))


def _part_of_year(terms: Terms) -> Fraction:
    """The whole term, as interest counts it."""
    if terms.term_days is None:
        return _MONTH[terms.accrual] * (terms.term_months or 0)
    return Fraction(terms.term_days, _DAYS_OF_YEAR[terms.accrual])


def _check(draw_minor: int, terms: Terms) -> None:
    if (terms.term_months is None) == (terms.term_days is None):
        raise ValueError("a term is in months or in days: give exactly one of term_months and term_days")
    if terms.term_days is not None and (terms.plan != "single_payment" or terms.accrual not in _DAYS_OF_YEAR):
        raise ValueError("a term in days is for plan single_payment and accrual daily_360 or daily_365: give term_months")
    for name, value, least, most in (
        ("draw_minor", draw_minor, 1, AMOUNT_MAX),
        ("yearly_rate_bp", terms.yearly_rate_bp, 0, YEARLY_RATE_BP_MAX),
        ("term_months", terms.term_months, 1, TERM_MONTHS_MAX),
        ("term_days", terms.term_days, 1, TERM_DAYS_MAX),
        ("upfront_fee_bp", terms.upfront_fee_bp, 0, BASIS_POINTS),
        ("upfront_fee_minor", terms.upfront_fee_minor, 0, AMOUNT_MAX),
        ("instalment_fee_minor", terms.instalment_fee_minor, 0, AMOUNT_MAX),
    ):
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name} must be from {least} to {most}, not {value}")


def _too_small(draw_minor: int, months: int) -> str:
    return f"{draw_minor} minor units cannot be divided into {months} instalments: take a larger draw or a shorter term"


def _half_up(number: Fraction) -> int:
    return (number + Fraction(1, 2)).__floor__()
