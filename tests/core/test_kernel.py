"""The kernel does what the oracle does: on generated policies and logs, record by record, and however the log is cut into batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.decide import EMISSIONS_MAX
from engine.core.layout import DAY_MS, MISSING, Col, Out
from engine.core.tables import Ints
from engine.core.windows import rebuild
from engine.policy.document import Policy
from engine.policy.source import load_policy
from tests.core.bridge import Kernel, comparable, comparable_emission, oracle_state, word_bit
from tests.generate import cases, seeded_log, seeded_policy
from tests.oracle.account import OracleAccount, Step
from tests.oracle.decide import Emission
from tests.oracle.portfolio import Portfolio
from tests.oracle.records import Record

SEEDS = range(100)
POLICIES = Path(__file__).parents[2] / "policies"
RECORDS = 150


def oracle_steps(policy: Policy, log: Sequence[Record]) -> tuple[list[Step], dict[str, OracleAccount]]:
    """What the oracle says of each record, and the accounts in the end."""
    accounts: dict[str, OracleAccount] = {}
    steps, portfolio = [], Portfolio()
    for record in log:
        if record.account_id not in accounts:
            accounts[record.account_id] = OracleAccount(policy, word_bit, portfolio=portfolio)
        steps.append(accounts[record.account_id].apply(record))
    return steps, accounts


def assert_same(policy: Policy, log: Sequence[Record]) -> None:
    """Record by record: verdict, emissions, trace; the states in the end."""
    steps, accounts = oracle_steps(policy, log)
    kernel = Kernel(policy, log)
    for i, step in enumerate(steps):
        emissions = [kernel.emission(decision) for decision in kernel.take(i, i + 1)]
        assert kernel.verdict(i) == step.verdict, log[i]
        told, expected = ([comparable_emission(e, policy) for e in side] for side in (emissions, step.emissions))
        assert told == expected, log[i]
        if step.trace is not None:
            assert comparable(kernel.trace(kernel.decisions[0]), policy) == comparable(step.trace, policy), log[i]
    for account_id, account in accounts.items():
        assert kernel.state(account_id) == oracle_state(account)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_small_cases(case: tuple[Policy, list[Record]]) -> None:
    assert_same(*case)


@pytest.mark.parametrize("seed", SEEDS)
def test_large_seeded_cases(seed: int) -> None:
    policy = seeded_policy(seed)
    assert_same(policy, seeded_log(policy, seed, RECORDS))


@pytest.mark.parametrize("name", ["default", "minimal"])
def test_the_policies_that_come_with_the_engine(name: str) -> None:
    policy = load_policy(POLICIES / f"{name}.yaml", date(2026, 3, 1))
    for seed in range(10):
        assert_same(policy, seeded_log(policy, seed, RECORDS))


def swept_steps(accounts: Mapping[str, OracleAccount], clock: int) -> list[tuple[str, Emission]]:
    """What the oracle says of each account as time goes by, in the order of their ids."""
    return [(account_id, e) for account_id in sorted(accounts) for e in accounts[account_id].tick(clock).emissions]


@pytest.mark.parametrize("seed", range(0, 100, 5))
def test_time_goes_by_without_records(seed: int) -> None:
    """A sweep between any two records, and for a third of a year behind the last one."""
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    random, kernel, portfolio = Random(seed), Kernel(policy, log), Portfolio()
    accounts: dict[str, OracleAccount] = {}
    days = (*range(40), *range(40, 120, 8))
    clocks = [record.clock if random.random() < 0.1 else None for record in log] + [log[-1].clock + day * DAY_MS for day in days]
    for i, clock in enumerate(clocks):
        if i < len(log):
            account = accounts.setdefault(log[i].account_id, OracleAccount(policy, word_bit, portfolio=portfolio))
            expected = account.apply(log[i]).emissions
            assert [comparable_emission(kernel.emission(d), policy) for d in kernel.take(i, i + 1)] == [
                comparable_emission(e, policy) for e in expected
            ]
        if clock is not None:
            told = [(kernel.accounts[d[Out.SLOT]], comparable_emission(kernel.emission(d), policy)) for d in kernel.sweep(clock)]
            assert told == [(account_id, comparable_emission(e, policy)) for account_id, e in swept_steps(accounts, clock)]
    for account_id, account in accounts.items():
        assert kernel.state(account_id) == oracle_state(account)


@pytest.mark.parametrize("seed", range(40))
def test_the_appetite_changes_between_records(seed: int) -> None:
    """For one segment or another, with a sweep behind each change and at the days on which it goes further."""
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    random, kernel, portfolio = Random(seed), Kernel(policy, log), Portfolio()
    appetites: dict[str, tuple[str, int]] = {}
    accounts: dict[str, OracleAccount] = {}
    for i, record in enumerate(log):
        account = accounts.setdefault(record.account_id, OracleAccount(policy, word_bit, appetites, portfolio))
        expected = [comparable_emission(e, policy) for e in account.apply(record).emissions]
        assert [comparable_emission(kernel.emission(d), policy) for d in kernel.take(i, i + 1)] == expected
        if random.random() < 0.1:
            segment, mode = random.choice(policy.segments).name, random.choice(("contraction", "contraction", "expansion", "neutral"))
            appetites[segment] = mode, day_of(policy, record.clock)
            kernel.set_appetite(segment, *appetites[segment])
            for days in (0, 3, 20) if i == len(log) - 1 else (0,):
                clock = record.clock + days * DAY_MS
                told = [(kernel.accounts[d[Out.SLOT]], comparable_emission(kernel.emission(d), policy)) for d in kernel.sweep(clock)]
                assert told == [(account_id, comparable_emission(e, policy)) for account_id, e in swept_steps(accounts, clock)]
    for account_id, account in accounts.items():
        assert kernel.state(account_id) == oracle_state(account)


def day_of(policy: Policy, clock: int) -> int:
    return (clock + policy.utc_offset_minutes * 60_000) // DAY_MS


@pytest.mark.parametrize("seed", SEEDS)
def test_an_account_that_a_sweep_says_nothing_about_need_not_be_written(seed: int) -> None:
    """Its next record, or the next sweep, moves its clock just as well."""
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    random, every, few = Random(seed), Kernel(policy, log), Kernel(policy, log)
    for i, record in enumerate(log):
        told, expected = ([side.emission(d) for d in side.take(i, i + 1)] for side in (few, every))
        assert told == expected
        if random.random() < 0.2:
            before = few.rows.copy()
            decisions = few.sweep(record.clock)
            assert [few.emission(d) for d in decisions] == [every.emission(d) for d in every.sweep(record.clock)]
            silent = np.setdiff1d(np.arange(len(few.rows)), [d[Out.SLOT] for d in decisions])
            few.rows[silent] = before[silent]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 99), st.lists(st.integers(1, 40), min_size=1), st.sampled_from([EMISSIONS_MAX, EMISSIONS_MAX + 1, 64]))
def test_cuts_change_nothing(seed: int, lengths: list[int], room: int) -> None:
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    whole, cut = Kernel(policy, log), Kernel(policy, log)
    expected = whole.take(0, len(log), room=1024)
    taken: list[Ints] = []
    place = 0
    while place < len(log):
        end = min(len(log), place + lengths[len(taken) % len(lengths)])
        taken += cut.take(place, end, room)
        place = end
    assert [cut.emission(decision) for decision in taken] == [whole.emission(decision) for decision in expected]
    assert np.array_equal(cut.rows, whole.rows)
    assert np.array_equal(cut.verdicts, whole.verdicts)


@pytest.mark.parametrize("seed", range(0, 100, 5))
def test_windows_equal_what_their_tiles_say(seed: int) -> None:
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    kernel, random = Kernel(policy, log), Random(seed)
    place = 0
    while place < len(log):
        end = min(len(log), place + random.randrange(1, 20))
        kernel.take(place, end)
        place = end
        for row in kernel.rows:
            if row[Col.FIRST_AT] != MISSING:
                anew = row.copy()
                rebuild(kernel.policy.program, anew, anew[Col.CLOCK])
                assert np.array_equal(anew, row)


def test_accounts_do_not_touch_each_other() -> None:
    """Each account alone gives what it gives among the others."""
    for seed in range(20):
        policy = seeded_policy(seed)
        log = seeded_log(policy, seed, RECORDS)
        together = Kernel(policy, log)
        decisions = together.take(0, len(log), room=1024)
        for account_id in together.accounts:
            own = [record for record in log if record.account_id == account_id]
            alone = Kernel(policy, own)
            expected = [together.emission(d) for d in decisions if together.accounts[d[Out.SLOT]] == account_id]
            assert [alone.emission(d) for d in alone.take(0, len(own), room=1024)] == expected
            assert alone.state(account_id) == together.state(account_id)
