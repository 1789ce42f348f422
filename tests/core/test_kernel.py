"""The kernel does what the oracle does: on generated policies and logs, record by record, and however the log is cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.decide import EMISSIONS_MAX
from engine.core.layout import DAY_MS, MISSING, Col, Out
from engine.core.rows import blank_row, make_blank
from engine.core.tables import Ints
from engine.core.windows import rebuild
from engine.policy.document import Policy
from engine.policy.source import load_policy
from tests.core.bridge import Kernel, assert_same_state, comparable, comparable_emission, word_bit
from tests.generate import braked_policy, cases, seeded_log, seeded_policy, seeded_shard
from tests.oracle.account import Step
from tests.oracle.records import Record
from tests.oracle.shard import Happening, OracleShard, Release, Sweep, Switch
from tests.oracle.time_rules import day_of
from tests.state.rows import mark_all

SEEDS = range(100)
POLICIES = Path(__file__).parents[2] / "policies"
RECORDS = 150
Told = tuple[str, dict[str, Any]]


def oracle_steps(policy: Policy, log: Sequence[Record]) -> tuple[list[Step], OracleShard]:
    """What the oracle says of each record, and the shard in the end."""
    shard = OracleShard(policy, word_bit)
    return [step for record in log for _, step in shard.take(record)], shard


def assert_same(policy: Policy, log: Sequence[Record]) -> None:
    """Record by record: verdict, emissions, trace; the states in the end."""
    steps, shard = oracle_steps(policy, log)
    kernel = Kernel(policy, log)
    for i, step in enumerate(steps):
        emissions = [kernel.emission(decision) for decision in kernel.take(i, i + 1)]
        assert kernel.verdict(i) == step.verdict, log[i]
        told, expected = ([comparable_emission(e, policy) for e in side] for side in (emissions, step.emissions))
        assert told == expected, log[i]
        if step.trace is not None:
            assert comparable(kernel.trace(kernel.decisions[0]), policy) == comparable(step.trace, policy), log[i]
    assert_same_state(kernel, shard)


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


def told_by_kernel(kernel: Kernel, decisions: Sequence[Ints], policy: Policy) -> list[Told]:
    """Decisions for comparison, with the accounts that they are about."""
    return [(kernel.accounts[d[Out.SLOT]], comparable_emission(kernel.emission(d), policy)) for d in decisions]


def told_by_oracle(shard: OracleShard, happening: Happening) -> list[Told]:
    """What the oracle says of what happens, likewise."""
    return [(name, comparable_emission(e, shard.policy)) for name, step in shard.take(happening) for e in step.emissions]


def do(kernel: Kernel, happening: Happening, place: int) -> list[Ints]:
    """Let the kernel go through what happens: a record is the one at a place of its log."""
    match happening:
        case Sweep(clock):
            return kernel.sweep(clock)
        case Switch(segment, mode, day, expected_decreases):
            kernel.set_appetite(segment, mode, day)
            kernel.expect(segment, expected_decreases)
            return []
        case Release(segment):
            kernel.release(segment)
            return []
    return kernel.take(place, place + 1)


@pytest.mark.parametrize("seed", range(0, 100, 5))
def test_time_goes_by_without_records(seed: int) -> None:
    """A sweep between any two records, and for a third of a year behind the last one."""
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    random, kernel, shard = Random(seed), Kernel(policy, log), OracleShard(policy, word_bit)
    days = (*range(40), *range(40, 120, 8))
    clocks = [record.clock if random.random() < 0.1 else None for record in log] + [log[-1].clock + day * DAY_MS for day in days]
    for i, clock in enumerate(clocks):
        if i < len(log):
            assert told_by_kernel(kernel, kernel.take(i, i + 1), policy) == told_by_oracle(shard, log[i])
        if clock is not None:
            assert told_by_kernel(kernel, kernel.sweep(clock), policy) == told_by_oracle(shard, Sweep(clock))
    assert_same_state(kernel, shard)


@pytest.mark.parametrize("seed", range(40))
def test_the_appetite_changes_between_records(seed: int) -> None:
    """For one segment or another, with a sweep behind each change and at the days on which it goes further."""
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    random, kernel, shard = Random(seed), Kernel(policy, log), OracleShard(policy, word_bit)
    for i, record in enumerate(log):
        assert told_by_kernel(kernel, kernel.take(i, i + 1), policy) == told_by_oracle(shard, record)
        if random.random() < 0.1:
            segment, mode = random.choice(policy.segments).name, random.choice(("contraction", "contraction", "expansion", "neutral"))
            switch = Switch(segment, mode, day_of(policy, record.clock), expected_decreases=0)
            assert do(kernel, switch, i) == told_by_oracle(shard, switch) == []
            for days in (0, 3, 20) if i == len(log) - 1 else (0,):
                clock = record.clock + days * DAY_MS
                assert told_by_kernel(kernel, kernel.sweep(clock), policy) == told_by_oracle(shard, Sweep(clock))
    assert_same_state(kernel, shard)


@pytest.mark.parametrize("seed", range(60, 150))
def test_the_portfolios_brakes(seed: int) -> None:
    """With days without records, other appetites and releases between the records, on the only shard, or on one of two or three."""
    policy = braked_policy(seed)
    happenings = seeded_shard(policy, seed, 130)
    partitions = 1 + seed % 3
    number = seed // 3 % partitions
    kernel = Kernel(policy, [each for each in happenings if not isinstance(each, Sweep | Switch | Release)])
    kernel.set_brakes(number, partitions)
    shard, place = OracleShard(policy, word_bit, number, partitions), 0
    for happening in happenings:
        assert told_by_kernel(kernel, do(kernel, happening, place), policy) == told_by_oracle(shard, happening), happening
        assert kernel.kept() == {segment.name: shard.portfolio.kept[segment.name] for segment in policy.segments}
        place += not isinstance(happening, Sweep | Switch | Release)
    assert_same_state(kernel, shard)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_account_that_a_sweep_says_nothing_about_need_not_be_written(seed: int) -> None:
    """Its next record, or the next sweep, moves its clock just as well; only brakes count it again."""
    braked = seeded_policy(seed)
    policy = braked.model_copy(update={"segments": tuple(s.model_copy(update={"brakes": None}) for s in braked.segments)})
    log = seeded_log(policy, seed, RECORDS)
    random, every, few = Random(seed), Kernel(policy, log), Kernel(policy, log)
    for i, record in enumerate(log):
        told, expected = ([side.emission(d) for d in side.take(i, i + 1)] for side in (few, every))
        assert told == expected
        if random.random() < 0.2:
            decisions = few.sweep(record.clock)
            assert [few.emission(d) for d in decisions] == [every.emission(d) for d in every.sweep(record.clock, writes_all=True)]


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
    assert cut.kept() == whole.kept()
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


@pytest.mark.parametrize("seed", range(0, 100, 10))
def test_what_a_row_holds_is_in_its_index_and_goes_by_it(seed: int) -> None:
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    kernel = Kernel(policy, log)
    kernel.take(0, len(log))
    layout = kernel.policy.layout
    for row in kernel.rows:
        marked = row.copy()
        mark_all(marked, layout.measures)
        assert np.array_equal(marked, row)
        make_blank(kernel.policy.program, row)
        assert np.array_equal(row, blank_row(layout))


def test_accounts_do_not_touch_each_other() -> None:
    """Each account alone gives what it gives among the others, where they have no brakes in common."""
    for seed in range(20):
        policy = without_brakes(seeded_policy(seed))
        log = seeded_log(policy, seed, RECORDS)
        together = Kernel(policy, log)
        decisions = together.take(0, len(log), room=1024)
        for account_id in together.accounts:
            own = [record for record in log if record.account_id == account_id]
            alone = Kernel(policy, own)
            expected = [together.emission(d) for d in decisions if together.accounts[d[Out.SLOT]] == account_id]
            assert [alone.emission(d) for d in alone.take(0, len(own), room=1024)] == expected
            assert alone.state(account_id) == together.state(account_id)


def without_brakes(policy: Policy) -> Policy:
    """A policy with no brakes in any segment."""
    return policy.model_copy(update={"segments": tuple(segment.model_copy(update={"brakes": None}) for segment in policy.segments)})
