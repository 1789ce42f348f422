"""Outcomes by group: how many of a group's accounts had a grant, an increase and so on in a period, against those of a reference group.

Groups come from a file that nothing but this module reads; what is told are groups, never accounts, and of a group that is too small only
its size. The ratio of two rates is compared with four fifths, a screen and no more: see docs/monitoring.md.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal

from engine.monitor.announced import Outcome

HEADER: Final = ["account_id", "group"]
GROUP_MIN: Final = 30
FOUR_FIFTHS: Final = Fraction(4, 5)
OUTCOMES: Final[tuple[Outcome, ...]] = ("grants", "increases", "offers", "decreases", "increase_withheld")
FAVOURABLE: Final[frozenset[Outcome]] = frozenset({"grants", "increases", "offers"})
NAME_LENGTH_MAX: Final = 64  # of an account, as the contracts have it; of a group, so that a report can be read


class GroupsError(ValueError):
    """Everything that is wrong with a file of groups: (line, what), ascending; line 0: the file as a whole."""

    def __init__(self, mistakes: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(what for _, what in mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of each account, and the line that says so."""

    of: Mapping[str, str]
    lines: Mapping[str, int]

    @property
    def sizes(self) -> Counter[str]:
        """Accounts by group."""
        return Counter(self.of.values())


def parse_groups(lines: Iterable[str]) -> Groups:
    """Read CSV with the header ``account_id,group``. Raises GroupsError with every mistake; accounts are named by their lines alone."""
    reader = csv.reader(lines, strict=True)
    of: dict[str, str] = {}
    at: dict[str, int] = {}
    mistakes: list[tuple[int, str]] = []
    try:
        header = next(reader, None)
        if header != HEADER:
            raise GroupsError([(1, f"the first line must be {','.join(HEADER)}")])
        for row in reader:
            if not row:
                continue
            line, mistake = reader.line_num, _mistake(row)
            if mistake is not None:
                mistakes.append((line, mistake))
                continue
            account, group = row
            if account in of:
                what = "is there already" if of[account] == group else "is in another group"
                mistakes.append((line, f"the account {what} (line {at[account]}): an account is in one group, once"))
                continue
            of[account], at[account] = group, line
    except csv.Error as error:
        mistakes.append((reader.line_num, f"not CSV: {error}"))
    if not mistakes and not of:
        mistakes.append((0, "there is no account in it"))
    if mistakes:
        raise GroupsError(mistakes)
    return Groups(of, at)


def _mistake(row: list[str]) -> str | None:
    if len(row) != len(HEADER):
        return f"{len(row)} field{'' if len(row) == 1 else 's'} instead of account_id,group"
    for name, word in zip(HEADER, row, strict=True):
        if not word:
            return f"{name} is empty"
        if word != word.strip() or len(word) > NAME_LENGTH_MAX:
            return f"{name} begins or ends with a space, or has more than {NAME_LENGTH_MAX} characters"
    return None


@dataclass(slots=True)
class Outcomes:
    """What was announced in a period: how often by account and outcome."""

    counts: dict[Outcome, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    accounts: set[str] = field(default_factory=set)

    def add(self, account: str, outcome: Outcome | None) -> None:
        """Count a record of an account."""
        self.accounts.add(account)
        if outcome is not None:
            self.counts[outcome][account] += 1


@dataclass(frozen=True, slots=True)
class Rate:
    """An outcome of a group: ``count`` records, of ``accounts`` of its accounts; ``rate`` is the share of these.

    ``ratio`` is the rate over that of the reference group (None: of that group itself, or there is nothing to divide by). ``marked``: a
    favourable outcome's ratio is below 4/5, or an adverse outcome's above 5/4.
    """

    outcome: Outcome
    count: int
    accounts: int
    rate: float
    ratio: float | None
    marked: bool


@dataclass(frozen=True, slots=True)
class GroupRates:
    """A group, its accounts in the file, and its rates (None: too small to judge, and nothing of it is told)."""

    group: str
    accounts: int
    role: Literal["reference", "compared", "too_small"]
    rates: tuple[Rate, ...] | None


def reference_of(groups: Groups, named: str | None) -> str:
    """The group that others are compared with: the named one, else the largest, of equal ones the first by name. Raises ValueError if it is
    not in the file."""
    sizes = groups.sizes
    if named is None:
        return min(sizes, key=lambda group: (-sizes[group], group))
    if named not in sizes:
        raise ValueError(f"{named!r} is not a group of the file; there are {', '.join(sorted(sizes)[:20])}")
    return named


def rates_by_group(groups: Groups, outcomes: Outcomes, reference: str, least: int = GROUP_MIN) -> list[GroupRates]:
    """The rates of each group, the reference first, then by name."""
    sizes = groups.sizes
    counts: dict[Outcome, Counter[str]] = {outcome: Counter() for outcome in OUTCOMES}
    accounts: dict[Outcome, Counter[str]] = {outcome: Counter() for outcome in OUTCOMES}
    for outcome in OUTCOMES:
        for account, count in outcomes.counts.get(outcome, Counter()).items():
            group = groups.of.get(account)
            if group is not None:
                counts[outcome][group] += count
                accounts[outcome][group] += 1
    found = []
    for group in sorted(sizes, key=lambda group: (group != reference, group)):
        if sizes[group] < least:
            found.append(GroupRates(group, sizes[group], "too_small", None))
            continue
        is_reference = group == reference
        rates = []
        for outcome in OUTCOMES:
            rate = Fraction(accounts[outcome][group], sizes[group])
            by = Fraction(accounts[outcome][reference], sizes[reference])
            ratio = None if is_reference or not by or sizes[reference] < least else rate / by
            rates.append(
                Rate(
                    outcome, counts[outcome][group], accounts[outcome][group], float(rate), None if ratio is None else float(ratio),
                    ratio is not None and is_marked(outcome, ratio),
                )
            )  # fmt: skip
        found.append(GroupRates(group, sizes[group], "reference" if is_reference else "compared", tuple(rates)))
    return found


def is_marked(outcome: Outcome, ratio: Fraction) -> bool:
    """Whether a ratio is worth a look: four fifths for what is good for the customer, turned round for what is not."""
    return ratio < FOUR_FIFTHS if outcome in FAVOURABLE else ratio > 1 / FOUR_FIFTHS


def not_seen(groups: Groups, outcomes: Outcomes) -> list[int]:
    """The lines of the accounts of which nothing was read."""
    return sorted(line for account, line in groups.lines.items() if account not in outcomes.accounts)


def without_group(groups: Groups, outcomes: Outcomes) -> int:
    """How many accounts of which something was read are in no group."""
    return len(outcomes.accounts - groups.of.keys())
