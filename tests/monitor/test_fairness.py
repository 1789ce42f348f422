"""Groups: what is wrong with a file of them, and the rates and ratios by hand."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.monitor.announced import Outcome
from engine.monitor.fairness import (
    OUTCOMES,
    GroupRates,
    Groups,
    GroupsError,
    Outcomes,
    is_marked,
    not_seen,
    parse_groups,
    rates_by_group,
    reference_of,
    without_group,
)


def groups(**sizes: int) -> Groups:
    """Groups of these sizes, with accounts ``a-0``, ``a-1`` and so on."""
    lines = [f"{name}-{number},{name}\n" for name, size in sizes.items() for number in range(size)]
    return parse_groups(["account_id,group\n", *lines])


def outcomes(*told: tuple[str, Outcome]) -> Outcomes:
    found = Outcomes()
    for account, outcome in told:
        found.add(account, outcome)
    return found


def test_a_file_is_read() -> None:
    held = parse_groups(["account_id,group\r\n", "acc-1,north\r\n", "\r\n", '"acc,2","south, far"\r\n'])
    assert held.of == {"acc-1": "north", "acc,2": "south, far"}
    assert held.lines == {"acc-1": 2, "acc,2": 4}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "the first line must be account_id,group"),
        ("account_id;group\n", 1, "the first line must be account_id,group"),
        ("acc-1,north\n", 1, "the first line must be account_id,group"),
        ("account_id,group\n", 0, "there is no account in it"),
        ("account_id,group\nacc-1\n", 2, "1 field instead of account_id,group"),
        ("account_id,group\nacc-1,north,x\n", 2, "3 fields instead of account_id,group"),
        ("account_id,group\nacc-1,\n", 2, "group is empty"),
        ("account_id,group\n,north\n", 2, "account_id is empty"),
        ("account_id,group\nacc-1, north\n", 2, "group begins or ends with a space, or has more than 64 characters"),
        (f"account_id,group\n{'a' * 65},north\n", 2, "account_id begins or ends with a space, or has more than 64 characters"),
        ("account_id,group\nacc-1,n\nacc-1,s\n", 3, "the account is in another group (line 2): an account is in one group, once"),
        ("account_id,group\nacc-1,n\nacc-1,n\n", 3, "the account is there already (line 2): an account is in one group, once"),
        ('account_id,group\nacc-1,"n\n', 2, "not CSV: unexpected end of data"),
    ],
)
def test_mistakes_are_told_by_line_and_without_the_account(text: str, line: int, what: str) -> None:
    with pytest.raises(GroupsError) as found:
        parse_groups(text.splitlines(keepends=True))
    assert found.value.mistakes == [(line, what)]
    assert "acc-1" not in str(found.value)


def test_all_mistakes_at_once() -> None:
    with pytest.raises(GroupsError) as found:
        parse_groups(["account_id,group\n", "acc-1\n", "acc-2,n\n", "acc-2,s\n", ",n\n"])
    assert [line for line, _ in found.value.mistakes] == [2, 4, 5]


def test_by_hand() -> None:
    # 40 of north's 100 accounts had an increase (two of them twice), 15 of south's 50: 0.30 / 0.40 = 0.75, below four fifths.
    told: list[tuple[str, Outcome]] = [(f"north-{n}", "increases") for n in [*range(40), 0, 1]]
    told += [(f"south-{n}", "increases") for n in range(15)]
    told += [(f"north-{n}", "decreases") for n in range(10)] + [(f"south-{n}", "decreases") for n in range(6)]
    north, south = rates_by_group(groups(north=100, south=50), outcomes(*told), "north")
    assert [(rate.outcome, rate.count, rate.accounts, rate.rate) for rate in north.rates or ()][1] == ("increases", 42, 40, 0.4)
    assert all(rate.ratio is None and not rate.marked for rate in north.rates or ())
    by_outcome = {rate.outcome: rate for rate in south.rates or ()}
    assert (by_outcome["increases"].ratio, by_outcome["increases"].marked) == (0.75, True)
    assert (by_outcome["decreases"].ratio, by_outcome["decreases"].marked) == (1.2, False), "0.12 / 0.10 is not above 5/4"
    assert (by_outcome["grants"].ratio, by_outcome["grants"].marked) == (None, False), "nothing to divide by"
    assert (north.role, south.role) == ("reference", "compared")


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_exactly_four_fifths_is_not_marked(outcome: Outcome) -> None:
    is_good = outcome in ("grants", "increases", "offers")
    at, beyond = (Fraction(4, 5), Fraction(7_999, 10_000)) if is_good else (Fraction(5, 4), Fraction(12_501, 10_000))
    assert not is_marked(outcome, at)
    assert is_marked(outcome, beyond)
    assert not is_marked(outcome, 1 / beyond), "the other way round the group is the better off"


def test_the_reference_is_the_largest_or_the_named_one() -> None:
    held = groups(b=40, a=40, c=39)
    assert reference_of(held, None) == "a"
    assert reference_of(held, "c") == "c"
    with pytest.raises(ValueError, match=r"^'d' is not a group of the file; there are a, b, c$"):
        reference_of(held, "d")


def test_of_a_small_group_nothing_is_told() -> None:
    held = groups(north=30, south=29)
    found = rates_by_group(held, outcomes(("south-1", "increases"), ("north-1", "increases")), "north")
    assert found[1] == GroupRates("south", 29, "too_small", None)
    by_small = rates_by_group(held, outcomes(("south-1", "increases"), ("north-1", "increases")), "south")
    assert by_small[0].rates is None
    assert all(rate.ratio is None for rate in by_small[1].rates or ())


def test_what_the_file_and_the_records_do_not_share() -> None:
    held = groups(north=3)
    found = Outcomes()
    found.add("north-1", None)
    found.add("stranger", "grants")
    assert not_seen(held, found) == [2, 4]
    assert without_group(held, found) == 1


told = st.lists(
    st.tuples(st.sampled_from([f"{g}-{n}" for g in "ab" for n in range(8)] + ["stranger"]), st.sampled_from(OUTCOMES)), max_size=80
)


@given(told, st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(records: list[tuple[str, Outcome]], random: Random) -> None:
    held = groups(a=8, b=8)
    shuffled = random.sample(records, len(records))
    assert rates_by_group(held, outcomes(*records), "a", 1) == rates_by_group(held, outcomes(*shuffled), "a", 1)


@given(told)
def test_rates_are_shares_of_accounts(records: list[tuple[str, Outcome]]) -> None:
    for group in rates_by_group(groups(a=8, b=8), outcomes(*records), "a", 1):
        for rate in group.rates or ():
            mine = [account for account, outcome in records if outcome == rate.outcome and account.startswith(group.group + "-")]
            assert (rate.count, rate.accounts) == (len(mine), len(set(mine)))
            assert rate.rate == rate.accounts / 8 <= 1
