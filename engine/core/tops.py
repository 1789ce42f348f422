"""Top words: whom most of the money comes from or goes to, in a few cells (docs/policy.md §3).

Theory of operation. Exact sums by counterparty would grow without bound. The summary of Misra and Gries (1982), weighted, keeps ``TOPS_MAX``
words: an amount of a word that is not held, when all places are taken, is set off against all held amounts alike. What is held of a word is
never more than its true amount and less by at most all amounts ÷ (TOPS_MAX + 1). Amounts halve with every half-life, so that it is of late.
"""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import AMOUNT_MAX, DAY_MS, TOPS_MAX, Top
from engine.core.tables import Ints, Me
from engine.core.windows import saturate

WORD_MASK = 0xFFFFFFFF
SHIFT_MAX = 62


@compiled
def halve(row: Ints, cell: int, times: int) -> None:
    """Let all amounts halve so many times."""
    times = min(times, SHIFT_MAX)
    row[cell + Top.TOTAL] >>= times
    for place in range(cell + Top.FIRST, cell + Top.FIRST + 2 * TOPS_MAX, 2):
        row[place + 1] >>= times


@compiled
def place_of(row: Ints, cell: int, word: int) -> int:
    """Place of the word, else of the first empty pair, else -1."""
    empty = -1
    for place in range(cell + Top.FIRST, cell + Top.FIRST + 2 * TOPS_MAX, 2):
        if row[place + 1] > 0 and row[place] == word:
            return place
        if row[place + 1] == 0 and empty < 0:
            empty = place
    return empty


@compiled
def largest_of(row: Ints, cell: int) -> int:
    """The largest amount held."""
    largest = 0
    for place in range(cell + Top.FIRST, cell + Top.FIRST + 2 * TOPS_MAX, 2):
        largest = max(largest, row[place + 1])
    return largest


@compiled
def set_off(row: Ints, cell: int, amount: int) -> int:
    """Lower all held amounts by ``amount`` or by the smallest of them. Returns what is left of ``amount``."""
    smallest = amount
    for place in range(cell + Top.FIRST, cell + Top.FIRST + 2 * TOPS_MAX, 2):
        smallest = min(smallest, row[place + 1])
    for place in range(cell + Top.FIRST, cell + Top.FIRST + 2 * TOPS_MAX, 2):
        row[place + 1] -= smallest
    return amount - smallest


@compiled
def add_top(t: Ints, measure: int, row: Ints, fingerprint: int, amount: int, at_ms: int, sign: int) -> None:
    """Add an amount of a word (``sign`` -1: take it back)."""
    cell, word = t[measure + Me.BASE], fingerprint & WORD_MASK
    period = (at_ms + t[measure + Me.OFFSET]) // DAY_MS // t[measure + Me.DAYS]
    if period > row[cell + Top.PERIOD]:
        halve(row, cell, period - row[cell + Top.PERIOD])
        row[cell + Top.PERIOD] = period
    amount = saturate(amount) >> min(row[cell + Top.PERIOD] - period, SHIFT_MAX)
    if amount <= 0:
        return
    place = place_of(row, cell, word)
    held = place >= 0 and row[place + 1] > 0
    if sign < 0:
        row[cell + Top.TOTAL] = max(0, row[cell + Top.TOTAL] - amount)
        if held:
            row[place + 1] = max(0, row[place + 1] - amount)
        return
    row[cell + Top.TOTAL] = min(AMOUNT_MAX, row[cell + Top.TOTAL] + amount)
    if place < 0:
        amount = set_off(row, cell, amount)
        place = place_of(row, cell, word)
    if amount > 0:
        row[place] = word
        row[place + 1] = min(AMOUNT_MAX, row[place + 1] + amount)
