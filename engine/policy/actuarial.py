"""The actuarial annual rate of one advance and the payments that return it, in the two ways in which law asks for it.

Theory of operation. Both rates solve an equation of value: the payments, discounted to the day of the advance, equal the advance.

- *Effective* (Directive 2008/48/EC, annex I; Directive (EU) 2023/2225, annex III): advance = sum of payment / (1 + X)^s, with s in years. X is
  the rate.
- *Nominal* (12 CFR part 1026, appendix J, (b)(8)): advance = sum of payment / ((1 + f i) (1 + i)^t), with t whole unit-periods and an odd
  fraction f of one before them. The rate is i times the unit-periods in a year.

There is one advance and it comes first, so the discounted payments fall strictly as the rate rises and the solution is unique. The result is
a whole number of parts of one (basis points: 10,000 parts). It is not found and then rounded: bisection runs over the whole numbers k and asks
whether the rate is at least k - 1/2 parts, which is rounding half up by definition. Each answer is the sign of a difference computed with
50 decimal digits; a difference below 10^-20 of a minor unit counts as none, so that an exact half is a half. There is no binary floating point,
and the digits do not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from math import lcm
from typing import Final, NamedTuple

BASIS_POINTS: Final = 10_000
RATE_MAX: Final = 100_000  # ten million percent a year

_ARITHMETIC: Final = Context(
    prec=50, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999, traps=[InvalidOperation, DivisionByZero, Overflow]
)
_NOTHING: Final = Decimal("1e-20")


class Payment(NamedTuple):
    """What the customer pays, ``after`` so many years or unit-periods, and an ``odd`` fraction of a unit-period before them."""

    amount_minor: int
    after: Fraction
    odd: Fraction = Fraction(0)


def effective_rate(advance_minor: int, payments: Sequence[Payment], parts: int = BASIS_POINTS) -> int:
    """The yearly rate with yearly compounding, in ``parts`` of one, rounded half up. ``after`` is in years, ``odd`` stays 0.

    Raises ValueError where no rate from 0 to ``RATE_MAX`` solves the equation.
    """
    if any(payment.odd for payment in payments):
        raise ValueError("an odd fraction belongs to unit-periods: put it into the years")
    whole = lcm(*(payment.after.denominator for payment in payments))

    def value(rate: Decimal) -> Decimal:
        discount = (-(1 + rate).ln() / whole).exp()
        return _discounted(((int(payment.after * whole), Decimal(payment.amount_minor)) for payment in payments), discount)

    return _solved(advance_minor, payments, value, parts, Fraction(1))


def nominal_rate(advance_minor: int, payments: Sequence[Payment], periods_per_year: Fraction, parts: int = BASIS_POINTS) -> int:
    """The rate of a unit-period times the unit-periods of a year, in ``parts`` of one, rounded half up. ``after`` is in whole unit-periods.

    Raises ValueError where no rate from 0 to ``RATE_MAX`` solves the equation.
    """
    if periods_per_year <= 0:
        raise ValueError(f"there are {periods_per_year} unit-periods in a year: there must be some")
    if any(payment.after.denominator != 1 for payment in payments):
        raise ValueError("payments come after whole unit-periods: put what is left into odd")

    def value(rate: Decimal) -> Decimal:
        amounts = ((int(payment.after), payment.amount_minor / (1 + _decimal(payment.odd) * rate)) for payment in payments)
        return _discounted(amounts, 1 / (1 + rate))

    return _solved(advance_minor, payments, value, parts, periods_per_year)


def _solved(advance_minor: int, payments: Sequence[Payment], value: Callable[[Decimal], Decimal], parts: int, periods: Fraction) -> int:
    """The yearly rate in ``parts`` of one; ``value`` discounts the payments at the rate of one of the ``periods`` of a year."""
    _check(advance_minor, payments)

    def reached(k: int) -> bool:
        return value(_decimal((k - Fraction(1, 2)) / (parts * periods))) >= advance_minor - _NOTHING

    with localcontext(_ARITHMETIC):
        low, high = 0, 1
        while reached(high):
            if high > RATE_MAX * parts:
                raise ValueError(f"the rate is above {100 * RATE_MAX:,} % a year: lower the interest or the fees, or take a longer term")
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if reached(middle) else (low, middle)
    return low


def _check(advance_minor: int, payments: Sequence[Payment]) -> None:
    if advance_minor < 1:
        raise ValueError(f"the customer receives {advance_minor}: the advance must be at least 1 minor unit")
    for payment in payments:
        if payment.amount_minor < 0:
            raise ValueError(f"a payment of {payment.amount_minor} is none: there is one advance, and every payment is at least 0")
        if payment.after < 0 or payment.odd < 0 or payment.after + payment.odd == 0:
            raise ValueError("a payment comes after the advance: subtract from the advance what is paid with it")
    paid = sum(payment.amount_minor for payment in payments)
    if paid < advance_minor:
        raise ValueError(f"payments of {paid} do not return the advance of {advance_minor}: no rate of at least 0 solves that")


def _discounted(amounts: Iterable[tuple[int, Decimal]], discount: Decimal) -> Decimal:
    """The sum of amount x discount^steps, from the latest amount to the first."""
    powers: dict[int, Decimal] = {}
    value, at = Decimal(0), 0
    for steps, amount in sorted(amounts, reverse=True):
        gap = at - steps if value else 0
        if gap not in powers:
            powers[gap] = discount**gap
        value, at = value * powers[gap] + amount, steps
    return value * discount**at


def _decimal(number: Fraction) -> Decimal:
    return Decimal(number.numerator) / number.denominator
