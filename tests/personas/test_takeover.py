"""A hijacked account is frozen before the fifth transfer of the theft; hardly anybody else ever is, above all not the one who moves house.

The signals of the default policy were set on seeds 0 to 199 of every persona. Figures of ``python -m tests.personas.test_takeover 1000 1200``
(seeds that nobody looked at before), lives of 360 days:

- hijacked: 195 of 200 (97.5 %) frozen in time: after 2 transfers 9, after 3 150, after 4 36; the other 5 after the fifth;
- hijacked shops, whose signals were set on seeds 0 to 39: 199 of 200 (99.5 %) in time, 193 of them after at most 3 transfers; the other
  one, emptied in one draw by day and on the shop's own device, never;
- all others: 1 of 3,000 (0.03 %) ever frozen for it, one of the 200 who move house.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import pytest

from scripts.personas import DAY_MS, HOUR_MS, PERSONAS, Item, life
from tests.personas.lives import START_MS, decided, log_of

DAYS: Final = 360
SEEDS: Final = range(1000, 1020)
HIJACKED: Final = ("hijacked", "hijacked_shop")
OTHERS: Final = tuple(persona for persona in PERSONAS if persona not in HIJACKED)
IN_TIME: Final = 4  # transfers that a thief may get through


def is_theft(item: Item) -> bool:
    """Whether money goes to a mule."""
    return "-mule" in item.value.get("counterparty_id", "")


def stolen_before_freeze(items: list[Item], changes: list[dict[str, Any]]) -> int | None:
    """How many transfers of a theft had happened when drawing was frozen for takeover; None: it never was."""
    frozen_by = next((change["cause"]["id"] for change in takeovers(changes)), None)
    if frozen_by is None:
        return None
    place = next(i for i, item in enumerate(items) if item.value.get("event_id") == frozen_by)
    return sum(map(is_theft, items[: place + 1]))


def takeovers(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The freezes for takeover."""
    return [c for c in changes if c["kind"] == "freeze" and c["reasons"][0]["code"] == "takeover"]


def of_hijacked(persona: str, seeds: Iterable[int], days: int = DAYS) -> Counter[int | None]:
    """Of hijacked accounts: how many were frozen after how many transfers of the theft (0: at the draws before it, or too early)."""
    lives = {f"{persona}-{seed}": life(persona, f"{persona}-{seed}", seed, START_MS, days) for seed in seeds}
    changes = decided(log_of(sorted(item for items in lives.values() for item in items))).changes
    return Counter(stolen_before_freeze(items, changes[account]) for account, items in lives.items())


def of_others(personas: Iterable[str], seeds: Iterable[int], days: int = DAYS) -> Counter[str]:
    """Accounts of each persona that were ever frozen for takeover."""
    frozen: Counter[str] = Counter()
    for persona in personas:
        lives = (life(persona, f"{persona}-{seed}", seed, START_MS, days) for seed in seeds)
        changes = decided(log_of(sorted(item for items in lives for item in items))).changes
        frozen[persona] += sum(bool(takeovers(of_one)) for of_one in changes.values())
    return frozen


def share_in_time(frozen: Counter[int | None]) -> float:
    """Share of the hijacked accounts that were frozen in time."""
    return sum(count for stolen, count in frozen.items() if stolen is not None and stolen <= IN_TIME) / frozen.total()


@pytest.mark.parametrize("persona", HIJACKED)
def test_a_hijacked_account_is_frozen_before_the_fifth_transfer(persona: str) -> None:
    frozen = of_hijacked(persona, SEEDS)
    assert share_in_time(frozen) >= 0.95, frozen


def test_no_two_thefts_are_alike() -> None:
    """Else the figures above would say little: the lives must differ in what the signals look at."""
    lives = [life("hijacked", f"hijacked-{seed}", seed, START_MS, DAYS) for seed in SEEDS]
    firsts = [next(item.at_ms - START_MS for item in items if is_theft(item)) for items in lives]
    on_new_device = [any("device_changed_at" in item.value for item in items) for items in lives]
    assert min(at_ms // HOUR_MS % 24 for at_ms in firsts) < 6 < max(at_ms // HOUR_MS % 24 for at_ms in firsts)
    assert len({at_ms // DAY_MS for at_ms in firsts}) > len(SEEDS) // 2
    assert 0 < sum(on_new_device) < len(lives)


def test_nobody_else_is_frozen() -> None:
    assert of_others(OTHERS, range(1000, 1004)).total() == 0


def test_who_moves_house_is_not_frozen() -> None:
    assert of_others(["mover"], SEEDS).total() == 0


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:])
    for persona in HIJACKED:
        frozen = of_hijacked(persona, range(first, last))
        print(f"{persona}, by transfers before the freeze:", dict(frozen), f"in time: {share_in_time(frozen):.1%}")
    print("others frozen:", {persona: of_others([persona], range(first, last))[persona] for persona in OTHERS})
