"""The pace of a sweep, on a clock moved by hand; and how far the accounts are when sweeps take each other's place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise, repeat
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.state.keys import BUCKETS
from engine.stream.sweep import (
    BATCH_TIMES,
    LATE_S,
    PORTION_S,
    REST_TIMES,
    SLICE_ACCOUNTS_LEAST,
    SLICE_ACCOUNTS_MAX,
    SLICE_BUCKETS_MAX,
    SLICE_S,
    Pace,
    Portion,
    Rest,
    Sweep,
)

START_S = 1_000.0


def turns(pace: Pace, seconds: Iterable[float], found: Callable[[int], int] = lambda most: most) -> list[tuple[float, int]]:
    """The slices of a shard whose turns take so long each: when, and how many accounts; ``found`` are there of those that it may have."""
    now, slices = START_S, []
    pace.begin(now)
    for turn in seconds:
        if pace.due_in(now) == 0:
            accounts = found(pace.accounts(now))
            pace.take(accounts, now)
            slices.append((now, accounts))
        now += turn
    return slices


def idly(pace: Pace, seconds: float) -> list[tuple[float, int]]:
    """The slices of a shard that has nothing else to do and waits until the next one is due, over so many seconds."""
    now, slices = START_S, []
    pace.begin(now)
    while now < START_S + seconds:
        assert pace.due_in(now) == 0
        slices.append((now, pace.accounts(now)))
        pace.take(slices[-1][1], now)
        now += pace.due_in(now) + 1e-6
    return slices


@pytest.mark.parametrize("per_second", [0.1, 1, 3.7, 4, 110, 999.5, 8_000, 50_000])
def test_the_pace_is_kept_by_even_slices(per_second: float) -> None:
    slices = idly(Pace(per_second), 100 / min(per_second, 1))
    seconds = slices[-1][0] - slices[0][0]
    assert sum(accounts for _, accounts in slices[1:]) / seconds == pytest.approx(per_second, rel=0.01)
    assert max(accounts for _, accounts in slices) <= max(1, min(SLICE_ACCOUNTS_MAX, per_second * SLICE_S))
    assert all(b - a > 0.9 * min(SLICE_S, SLICE_ACCOUNTS_MAX / per_second) for (a, _), (b, _) in pairwise(slices))


@given(
    st.floats(0.5, 300),
    st.lists(st.floats(0.001, LATE_S - SLICE_S), min_size=1, max_size=300),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 2**32),
)
def test_turns_of_any_length_keep_the_pace(per_second: float, seconds: list[float], empty: float, seed: int) -> None:
    """Whatever batches take, the accounts swept are those that fell due by the last slice; slices that find few or none change nothing."""
    random = Random(seed)
    slices = turns(Pace(per_second), seconds, lambda most: 0 if random.random() < empty else most)
    so_far, most = 0, max(1.0, per_second * SLICE_S)
    for now, accounts in slices:
        so_far += accounts
        assert so_far <= (now - START_S) * per_second + most + 1e-6
        if not empty:
            assert so_far > (now - START_S) * per_second + most - 1 - 1e-6


def test_batches_of_a_second_between_the_slices() -> None:
    slices = turns(Pace(200), repeat(1.0, 100))
    assert [accounts for _, accounts in slices] == [50] + [200] * 99


def test_slices_cut_small_come_more_often() -> None:
    """A slice whose journal record was too heavy has fewer accounts; the others stay due."""
    slices = turns(Pace(1_000), repeat(0.01, 6_000), lambda most: min(most, 60))
    assert sum(accounts for _, accounts in slices) == pytest.approx(60_000, rel=0.01)


@pytest.mark.parametrize("per_second", [2, 100, 50_000])
def test_after_idle_time_there_is_one_slice(per_second: float) -> None:
    pace = Pace(per_second)
    turns(pace, [3_600])
    now = START_S + 3_600
    pace.begin(now)
    assert pace.accounts(now) == pytest.approx(max(1, min(SLICE_ACCOUNTS_MAX, per_second * SLICE_S)), abs=1)
    pace.take(pace.accounts(now), now)
    assert pace.due_in(now) == pytest.approx(max(1 / per_second, min(SLICE_S, SLICE_ACCOUNTS_MAX / per_second)), abs=1.1 / per_second)


def test_what_is_late_is_made_up_for_within_bounds() -> None:
    pace = Pace(100)
    assert [accounts for _, accounts in turns(pace, [60, 0.01, 0.01])] == [25, 100 * (SLICE_S + LATE_S)]
    pace.begin(START_S)  # nothing that was taken is given back
    assert pace.due_in(START_S + 60.02) > 0


def test_without_a_pace_all_are_due() -> None:
    slices = turns(Pace(None), repeat(0.001, 10))
    assert [accounts for _, accounts in slices] == [SLICE_ACCOUNTS_MAX] * 10


def test_a_day_that_takes_the_place_of_a_control_record_goes_on_with_its_work() -> None:
    sweep = Sweep(7).begun(7, "c-1", 3).moved(100, b"a")
    assert (sweep.left, sweep.unfollowed) == (BUCKETS - 100, BUCKETS - 100)
    day = sweep.begun(8, "day:1970-01-09")
    assert (day.bucket, day.left, day.unfollowed) == (100, BUCKETS, BUCKETS - 100)
    assert day.moved(BUCKETS - 100, b"").unfollowed == 0
    assert day.moved(BUCKETS, b"").unfollowed == 0
    assert day.moved(9, b"x").begun(8, "c-2", 4).unfollowed == BUCKETS
    assert Sweep.decode(day.encode()) == day


def test_records_have_their_turn_behind_a_round_for_nine_times_as_long() -> None:
    rest, now, swept_s = Rest(), START_S, 0.0
    for _ in range(100_000):
        if rest.is_over(now):
            rest.take(1, now, now + 0.01)
            swept_s, now = swept_s + 0.01, now + 0.01
        now += 0.01  # a batch
    assert swept_s > 0.01 * 10 * BUCKETS
    assert swept_s / (now - START_S) == pytest.approx(1 / (2 + REST_TIMES), rel=0.05)


@given(st.floats(1e-6, 1e-4), st.floats(0.001, 0.03), st.floats(0.0, 0.3), st.integers(1, 2_000))
def test_a_slice_takes_about_twice_as_long_as_a_batch(account_s: float, commit_s: float, batch_s: float, in_a_bucket: int) -> None:
    """Whatever an account and a commit take: twice as long as a batch, or as a slice may where none waits, within the bounds and what buckets
    hold."""
    portion = Portion()
    for _ in range(40):
        there = portion.buckets * in_a_bucket
        accounts, is_full = min(there, portion.accounts), there >= portion.accounts
        took_s, buckets = commit_s + accounts * account_s, portion.buckets
        portion.learn(accounts, took_s, batch_s, is_full=is_full)
    most_s = max(BATCH_TIMES * batch_s, PORTION_S)
    assert took_s < 1.1 * most_s or accounts <= SLICE_ACCOUNTS_LEAST
    assert took_s > 0.4 * most_s or accounts >= SLICE_ACCOUNTS_MAX / 2 or buckets >= SLICE_BUCKETS_MAX / 2


def test_a_slice_that_says_too_much_is_cut() -> None:
    portion = Portion()
    portion.refuse(800)
    assert portion.accounts == 200
    portion.learn(200, 0.01, 0.0, is_full=True)
    assert portion.accounts == 400


def test_a_round_that_is_not_done_has_no_rest() -> None:
    rest = Rest()
    rest.take(BUCKETS - 1, START_S, START_S + 5)
    assert rest.is_over(START_S + 5)
    rest.take(1, START_S + 100, START_S + 101)
    assert not rest.is_over(START_S + 101 + 6 * REST_TIMES - 0.1)
    assert rest.is_over(START_S + 101 + 6 * REST_TIMES)
