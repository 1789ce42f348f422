"""What would still hold the limit if the target band rose: the cap that leaves no room above it, and the guards of an increase.

Read off the decision's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from engine.core.layout import CAPS_AT, MISSING, Bound, Col, Out, after
from engine.policy import document as doc
from engine.policy.explain import RULE_TEXTS

# ``requested`` is not among them: it bounds a first grant only.
_CAPS: Final = (Bound.PRODUCT_CAP, Bound.INCOME_CAP, Bound.RELATED_CAP, Bound.APPETITE, Bound.LEGAL_CAP, Bound.CEILING)
_CAPS_AT: Final = [int(CAPS_AT + cap) for cap in _CAPS]
_BAND_CAP, _BUCKET, _CURED_ON, _BLOCKS = int(CAPS_AT + Bound.BAND), int(Out.BUCKET), int(Out.CURED_ON), after(Col.BLOCKS)

HOLD_TEXTS: Final[dict[str, dict[str, str]]] = {
    **{cap.name.lower(): RULE_TEXTS[cap.name.lower()] for cap in _CAPS},
    "blocked": {"zh": "用款限制解除后，额度才能提高", "en": "The limit can rise once drawing is no longer blocked."},
    "in_arrears": {"zh": "还清逾期账单后，额度才能提高", "en": "The limit can rise once nothing is past due."},
    "in_cure": {
        "zh": "逾期还清后，额度最早可于 {day} 提高",
        "en": "After arrears the limit can rise from {day} at the earliest.",
    },
    "cool_down_up": {"zh": "额度最早可于 {day} 再次提高", "en": "The limit can rise again from {day} at the earliest."},
}


class Hold(NamedTuple):
    """A cap or guard by name, and the first policy day on which it holds no more; None where it does not end by itself."""

    code: str
    until_day: int | None


_CAP_HOLDS: Final = [Hold(cap.name.lower(), None) for cap in _CAPS]


def holds_after(policy: doc.Policy, segment: doc.Segment, decision: Sequence[int], today: int) -> list[Hold]:
    """What would hold a higher limit after a grant, increase or decrease decided on policy day ``today``: the least cap, if it leaves no
    room above the target band's limit, then the guards of an increase in their order (docs/policy.md §9.8). The cure counts from the day on
    which the arrears ended, the cool-down from today."""
    caps = [decision[place] for place in _CAPS_AT]
    least, cured_on = min(caps), decision[_CURED_ON]
    found = [_CAP_HOLDS[caps.index(least)]] if least <= decision[_BAND_CAP] else []
    if decision[_BLOCKS] != 0:
        found.append(Hold("blocked", None))
    if decision[_BUCKET] > 0:
        found.append(Hold("in_arrears", None))
    if cured_on != MISSING and (until := cured_on + policy.arrears.cure_days) > today:
        found.append(Hold("in_cure", until))
    if (until := today + segment.cool_down.up_days) > today:
        found.append(Hold("cool_down_up", until))
    return found
