"""What holds of the kernel under any policy and any log (docs/policy.md §8, §9, §9a); ``tests/oracle/test_oracle_properties.py`` asks the
oracle for more, record by record, and ``tests/core/test_kernel.py`` holds the two equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from engine.core.layout import DAY_MS, Out
from engine.policy.document import Policy
from engine.policy.verify_swings import days_between_turns, swing_problems, swings
from tests.core.bridge import Kernel, comparable_emission
from tests.generate import cases, seeded_log, seeded_policy
from tests.generate.swinging import policy_of, random_segment
from tests.generate.words import START
from tests.oracle.line import Emission, Line, Trace
from tests.oracle.records import Granted, Profile, Record
from tests.scenarios.scenario import come_of, difference, lender, read_rules

RECORDS: Final = 150
SEEDS: Final = range(15)
TOLD_AGAIN: Final = {"offer", "offer_expired", "over_borrowing", "increase_withheld", "standing_mismatch", "budget_spent"}
ANY_ORDER: Final = ("measures", "features", "segments", "scorecard", "eligibility", "signals", "over_borrowing")


# No path raises a limit above a legal cap, or for an account in arrears


def emissions_of(kernel: Kernel, log: Sequence[Record], random: Random) -> Iterator[Emission]:
    """What the kernel says of a log, with sweeps between the records now and then and for some months behind the last."""
    for i, record in enumerate(log):
        for decision in kernel.take(i, i + 1):
            yield kernel.emission(decision)
        if random.random() < 0.2:
            for decision in kernel.sweep(record.clock):
                yield kernel.emission(decision)
    for day in range(0, 200, 3):
        for decision in kernel.sweep(log[-1].clock + day * DAY_MS):
            yield kernel.emission(decision)


def in_force(line: Line) -> int:
    """The limit that draws are checked against, while the temporary one has not ended."""
    return line.limit if line.temporary is None else line.temporary[0]


def assert_sound(policy: Policy, emission: Emission) -> None:
    """Nothing lifts a limit, and nothing offers or lends one for a while, above the legal cap or past arrears."""
    old, new, trace = emission.previous, emission.new, emission.trace
    if trace is None:  # refused before anything was judged
        assert old == new
        return
    legal_cap = next(s.limits.legal_cap_minor for s in policy.segments if s.name == trace.segment)
    raises = [new.limit] if new.limit > old.limit else []
    raises += [in_force(new)] if new.temporary not in (None, old.temporary) and in_force(new) > new.limit else []
    raises += [new.offer[1]] if new.offer is not None and new.offer != old.offer else []
    assert all(limit <= legal_cap for limit in raises), emission
    assert not raises or trace.bucket == 0, emission
    if new.temporary != old.temporary and new.temporary is not None:
        assert new.temporary[0] <= legal_cap, emission


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_raised_above_the_law_or_in_arrears(seed: int) -> None:
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    for emission in emissions_of(Kernel(policy, log), log, Random(seed)):
        assert_sound(policy, emission)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_nor_in_a_small_case(case: tuple[Policy, list[Record]]) -> None:
    policy, log = case
    for emission in emissions_of(Kernel(policy, log), log, Random(0)) if log else ():
        assert_sound(policy, emission)


# Evaluating again, and constant inputs


def can_swing(policy: Policy) -> bool:
    """Whether a move of the limit may be the cause of the next one the other way, slowly or not."""
    return any(swings(policy, segment) for segment in policy.segments)


ACCEPTED: Final = [seed for seed in range(40) if not list(swing_problems(seeded_policy(seed)))]
SETTLING: Final = [seed for seed in range(40) if not can_swing(seeded_policy(seed))]


@pytest.mark.parametrize("seed", ACCEPTED)
def test_evaluating_again_at_the_same_moment_comes_to_an_end(seed: int) -> None:
    """Not the next one where a withdrawal took the place of the decision, nor before the steps of a limit without cool-down are all taken."""
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    kernel = Kernel(policy, log)
    for i, record in enumerate(log):
        kernel.take(i, i + 1)
        kinds: set[str] = set()
        for _ in range(60):
            kinds = {kernel.emission(decision).kind for decision in kernel.sweep(record.clock)}
            if not kinds:
                break
        assert not kinds, kinds


@pytest.mark.parametrize("seed", SETTLING)
def test_constant_inputs_come_to_rest(seed: int) -> None:
    """Ten years after the last record all windows are empty, all dates are past and all steps are taken: from then on nothing moves."""
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    kernel = Kernel(policy, log)
    kernel.take(0, len(log), room=1024)
    for day in range(0, 3650, 31):
        kernel.sweep(log[-1].clock + day * DAY_MS)
    for day in range(3651, 3651 + 365):
        kinds = {kernel.emission(decision).kind for decision in kernel.sweep(log[-1].clock + day * DAY_MS)}
        assert kinds <= TOLD_AGAIN, (day, kinds)


def with_the_same_profiles(log: Sequence[Record], days: int) -> list[Record]:
    """A log, and behind it each account's newest profile again, day by day."""
    profiles = sorted((record for record in log if isinstance(record, Profile)), key=lambda profile: profile.as_of)
    newest = {profile.account_id: replace(profile, corrects=False) for profile in profiles}
    again: list[Record] = []
    for day in range(1, days + 1):
        at = log[-1].clock + day * DAY_MS
        again += [replace(p, event_id=f"again-{day}", occurred_at=at, record_time=at, clock=at, as_of=at) for p in newest.values()]
    return [*log, *again]


@pytest.mark.parametrize("seed", SETTLING)
def test_a_limit_does_not_turn_while_its_inputs_stay(seed: int) -> None:
    """The same profile day by day for half a year: a move the other way is of another score or bucket, or of an override that began or ended."""
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, RECORDS)
    whole = with_the_same_profiles(log, 180)
    kernel = Kernel(policy, whole)
    kernel.take(0, len(log), room=1024)
    moves: defaultdict[int, list[Emission]] = defaultdict(list)
    for i in range(len(log), len(whole)):
        for decision in [*kernel.sweep(whole[i].clock), *kernel.take(i, i + 1)]:
            emission = kernel.emission(decision)
            if emission.new.limit != emission.previous.limit and emission.new.standing == "open":
                moves[int(decision[Out.SLOT])].append(emission)
    for one, other in (pair for of_account in moves.values() for pair in pairwise(of_account)):
        assert one.trace is not None
        assert other.trace is not None
        if (one.new.limit > one.previous.limit) != (other.new.limit > other.previous.limit):
            assert "override" in (one.trace.bound_by, other.trace.bound_by) or inputs(one.trace) != inputs(other.trace), (one, other)


def moves_in(kernel: Kernel, clocks: Iterable[int]) -> list[tuple[int, int]]:
    """The moves of a single account's limit while nothing but time goes by: the day, and by how much."""
    found = []
    for clock in clocks:
        for emission in map(kernel.emission, kernel.sweep(clock)):
            if emission.new.limit != emission.previous.limit:
                found.append((clock // DAY_MS, emission.new.limit - emission.previous.limit))
    return found


@st.composite
def lines_in_use(draw: st.DrawFn) -> tuple[Policy, list[Record]]:
    """A policy that looks at the limit and is accepted, and an account with a limit of which a part is in use."""
    random = draw(st.randoms(use_true_random=False))
    slow = {"up_days": draw(st.sampled_from([0, 0, 1, 3])), "down_days": draw(st.sampled_from([0, 0, 0, 4]))}
    notices = {"decrease_days": draw(st.sampled_from([0, 0, 0, 2])), "advisory_days": 366}
    policy = policy_of(**random_segment(random), cool_down=slow, notices=notices)
    assume(not list(swing_problems(policy)))
    band = draw(st.sampled_from(policy.segments[0].bands))
    profile = Profile(
        account_id="a",
        event_id="p",
        occurred_at=START,
        record_time=START,
        clock=START,
        as_of=START,
        exposure_minor=draw(st.integers(0, band.limit_minor + 20)),
        granted=Granted(band.limit_minor, band.name, START // DAY_MS - 100),
        figures={"status": "active"},
        attributes={"grade": draw(st.integers(0, 2))},
    )
    return policy, [profile]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(lines_in_use())
def test_a_limit_that_its_own_height_moves_comes_to_rest(case: tuple[Policy, list[Record]]) -> None:
    """By time alone. A limit goes through its bands one after another, each in steps, and waits at most the cool-downs and the notice before each
    move; where it may swing, an increase follows a decrease no sooner than they say."""
    policy, log = case
    segment = policy.segments[0]
    top, limits = segment.bands[-1].limit_minor, segment.limits
    step = min(limits.step_up_minor or top + 1, limits.step_down_minor or top + 1)
    moves_max = len(segment.bands) * (2 + top // step)
    days = moves_max * (1 + segment.cool_down.up_days + segment.cool_down.down_days + segment.notices.decrease_days)
    kernel = Kernel(policy, log)
    moves = [(START // DAY_MS, kernel.emission(d).new.limit - kernel.emission(d).previous.limit) for d in kernel.take(0, 1)]
    moves = [move for move in moves if move[1] != 0]
    moves += moves_in(kernel, [START] * moves_max)
    assert kernel.sweep(START) == []
    moves += moves_in(kernel, (START + day * DAY_MS for day in range(days)))
    if not can_swing(policy):
        assert len(moves) <= moves_max
        assert moves_in(kernel, (START + day * DAY_MS for day in range(days, days + 60))) == []
        assert kernel.sweep(START + (days + 59) * DAY_MS) == []
    turns = [later for (_, before), (later, after) in pairwise(moves) if before < 0 < after]
    assert all(later - earlier >= days_between_turns(segment) > 0 for earlier, later in pairwise(turns))


def inputs(trace: Trace) -> tuple[int, int]:
    """What moves a limit where no record comes."""
    return trace.score, trace.bucket


def test_every_scenario_comes_to_rest() -> None:
    """Through the whole engine: half a year behind its end a scenario's account moves no more, and goes on telling what stands."""
    scenarios = [replace(scenario, until=700) for rule in read_rules() for scenario in rule.scenarios]
    for scenario, lines in zip(scenarios, come_of(lender(), scenarios), strict=True):
        late = [line for line in lines if int(line["at"].partition(" ")[0]) >= 300 and line["kind"] not in TOLD_AGAIN]
        assert not late, (scenario.place, late)


# The order of what is declared


def shuffled(value: Any, random: Random, name: str = "") -> Any:
    """A policy's plain value with everything of no order in another order."""
    if isinstance(value, dict):
        return {key: shuffled(each, random, key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        items = [shuffled(each, random) for each in value]
        return random.sample(items, len(items)) if name in ANY_ORDER else items
    return value


def reordered(policy: Policy, seed: int) -> Policy:
    """The same policy, declared in another order."""
    return Policy.from_plain(shuffled(policy.model_dump(mode="json", by_alias=True, exclude_none=True), Random(seed)))


def by_name(emission: Emission, policy: Policy) -> dict[str, Any]:
    """An emission whose trace does not know in which order its characteristics stand."""
    told = comparable_emission(emission, policy)
    trace = told["trace"]
    if trace is not None:
        scorecard = next(s.scorecard for s in policy.segments if s.name == trace["segment"])
        rows = zip(scorecard, trace["bins"], trace["points"], strict=True)
        told["trace"] = {**trace, "bins": {row.feature: (place, points) for row, place, points in rows}, "points": sum(trace["points"])}
    return told


def assert_same_in_any_order(policy: Policy, log: Sequence[Record], seed: int) -> None:
    other = reordered(policy, seed)
    told = [by_name(e, policy) for e in emissions_of(Kernel(policy, log), log, Random(seed))]
    assert [by_name(e, other) for e in emissions_of(Kernel(other, log), log, Random(seed))] == told


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_declarations_changes_nothing(seed: int) -> None:
    policy = seeded_policy(seed)
    assert_same_in_any_order(policy, seeded_log(policy, seed, RECORDS), seed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.integers(0, 999))
def test_nor_does_it_in_a_small_case(case: tuple[Policy, list[Record]], seed: int) -> None:
    policy, log = case
    if log:
        assert_same_in_any_order(policy, log, seed)


@pytest.mark.parametrize("seed", range(5))
def test_every_scenario_comes_out_in_any_order(seed: int) -> None:
    scenarios = [scenario for rule in read_rules() for scenario in rule.scenarios]
    came = come_of(reordered(lender(), seed), scenarios)
    differences = [difference(scenario, lines) for scenario, lines in zip(scenarios, came, strict=True)]
    assert not [each for each in differences if each is not None]
