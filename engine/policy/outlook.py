"""What would still hold the limit if the target band rose: the cap that leaves no room above it, and the guards of an increase.

Read off the decision's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from engine.core.layout import CAPS_AT, MISSING, Bound, Col, Guard, Out, after
from engine.policy import document as doc
from engine.policy.explain import RULE_TEXTS

# ``requested`` is not among them: it bounds a first grant only.
_CAPS: Final = (Bound.PRODUCT_CAP, Bound.INCOME_CAP, Bound.RELATED_CAP, Bound.APPETITE, Bound.LEGAL_CAP, Bound.CEILING)

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


def holds_after(policy: doc.Policy, segment: doc.Segment, decision: Sequence[int], today: int) -> list[Hold]:
    """What would hold a higher limit after a grant, increase or decrease decided on policy day ``today``: the least cap, if it leaves no
    room above the target band's limit, then the guards of an increase in their order."""
    cap = min(_CAPS, key=lambda cap: decision[CAPS_AT + cap])
    found = [Hold(cap.name.lower(), None)] if decision[CAPS_AT + cap] <= decision[CAPS_AT + Bound.BAND] else []
    cured_on = None if decision[Out.CURED_ON] == MISSING else decision[Out.CURED_ON]
    in_force = {Guard.BLOCKED: decision[after(Col.BLOCKS)] != 0, Guard.IN_ARREARS: decision[Out.BUCKET] > 0}
    for guard in (Guard.BLOCKED, Guard.IN_ARREARS, Guard.IN_CURE, Guard.COOL_DOWN_UP):
        until = guard_until(guard, policy, segment, last_change=today, cured_on=cured_on)
        if in_force.get(guard) or (until is not None and until > today):
            found.append(Hold(guard.name.lower(), until))
    return found


def guard_until(guard: Guard, policy: doc.Policy, segment: doc.Segment, *, last_change: int | None, cured_on: int | None) -> int | None:
    """The first policy day on which a guard that ends by itself holds no more (docs/policy.md §9.8); None for any other, or without the day
    that it counts from."""
    if guard == Guard.COOL_DOWN_UP and last_change is not None:
        return last_change + segment.cool_down.up_days
    if guard == Guard.IN_CURE and cured_on is not None:
        return cured_on + policy.arrears.cure_days
    return None
