"""What the numbers of a feature are, and how a customer reads them: money, percent, days, months, a date, or a plain number.

The unit follows from the feature's kind and from what it reads, so a policy does not say it: an amount is of the policy's currency, a ratio
is of its scale, and the name of a profile figure carries its unit (``_minor``, ``_percent``, ``days``, ``months``), also that of a
lender's own attribute.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final, Literal

from engine.policy import document as doc
from engine.policy.fields import DATE_FIGURES

Unit = Literal["money", "percent", "per_mille", "days", "months", "date", "number"]

# What a text of advice may hold in place of the value to reach, by the direction of the advice.
PLACEHOLDERS: Final = {"raise": "{at_least}", "lower": "{below}"}

_SCALES: Final[dict[int, Unit]] = {1: "number", 100: "percent", 1000: "per_mille"}
_WORDS: Final[dict[str, Unit]] = {"minor": "money", "percent": "percent", "days": "days", "months": "months"}
_EPOCH: Final = date(1970, 1, 1)
_LAST_DAY: Final = (date.max - _EPOCH).days

# Decimal places of currencies that do not have two (ISO 4217).
_PLACES: Final = {
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def unit_of(feature: doc.Feature, policy: doc.Policy) -> Unit:
    """The unit of a feature's values."""
    match feature:
        case doc.Total():
            return _unit_of_measure(feature.measure, policy)
        case doc.Average():
            return _unit_of_measure(feature.sum, policy)
        case doc.DaysSince() | doc.DaysPastDue() | doc.Tenure():
            return "days"
        case doc.ActiveMonths():
            return "months"
        case doc.Completeness():
            return "percent"
        case doc.Distinct():
            return "number"
        case doc.ProfileValue() if feature.per is None:
            return _unit_of_figure(feature.figure)
        case _:
            return _SCALES[feature.scale]


def _unit_of_measure(name: str, policy: doc.Policy) -> Unit:
    measure = next(m for m in policy.measures if m.name == name)
    if measure.kind == "count":
        return "number"
    return "days" if measure.of == "days_late" else "money"


def _unit_of_figure(figure: str) -> Unit:
    if figure in DATE_FIGURES:
        return "date"
    return next((_WORDS[word] for word in figure.split("_") if word in _WORDS), "number")


def spoken(value: int, unit: Unit, language: str, currency: str) -> str:
    """A value with its unit: ``5,000 yuan``, ``60.5%``, ``1 day``; in Chinese ``5,000 元``, ``1 天``."""
    match unit:
        case "money":
            return _money(value, language, currency)
        case "percent":
            return f"{value:,}%"
        case "per_mille":
            return f"{_decimal(value, 1)}%"
        case "days" | "months" if language == "zh":
            return f"{value:,} {'天' if unit == 'days' else '个月'}"
        case "days" | "months":
            return f"{value:,} {unit.removesuffix('s') if value == 1 else unit}"
        case "date" if 0 <= value <= _LAST_DAY:
            return date_of(value)
        case _:
            return f"{value:,}"


def date_of(day: int) -> str:
    """A policy day as its calendar date."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def _money(minor: int, language: str, currency: str) -> str:
    amount = _decimal(minor, _PLACES.get(currency, 2))
    if currency == "CNY":
        return f"{amount} {'元' if language == 'zh' else 'yuan'}"
    return f"{amount} {currency}" if language == "zh" else f"{currency} {amount}"


def _decimal(value: int, places: int) -> str:
    """``value`` over ten to the power of ``places``, without a fraction of zeros."""
    whole, fraction = divmod(abs(value), 10**places)
    text = f"{whole:,}" + (f".{fraction:0{places}}" if fraction else "")
    return f"-{text}" if value < 0 else text
