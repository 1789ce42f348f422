"""What the portfolio's brakes promise whatever happens to a shard's accounts, on generated policies and logs (docs/policy.md §9c)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy import document as doc
from engine.policy.document import Policy
from tests.generate import braked_policy, cases, seeded_shard
from tests.generate.policies import braked
from tests.generate.shards import random_shard
from tests.oracle.account import OracleAccount, Step
from tests.oracle.line import Emission, Trace
from tests.oracle.portfolio import share
from tests.oracle.records import Command, Record
from tests.oracle.shard import Happening, OracleShard, Release, Sweep, Switch
from tests.oracle.time_rules import day_of

RAISES = ("grant", "increase", "offer_accepted")
Ledger = Counter[tuple[str, int]]  # by segment and day of the shard's clock


class Watch:
    """A shard, and a ledger of its own of what was raised there."""

    def __init__(self, policy: Policy, shard: int = 0, partitions: int = 1) -> None:
        self.policy = policy
        self.segments: dict[str, doc.Segment] = {segment.name: segment for segment in policy.segments}
        self.shard = OracleShard(policy, lambda word: crc32(word.encode()) % 64, shard, partitions)
        self.raised: Ledger = Counter()
        self.tripped: set[str] = set()

    def share(self, total: int) -> int:
        return share(total, self.shard.portfolio.shard, self.shard.portfolio.partitions)

    def take(self, happening: Happening) -> None:
        """Go on, and hold what comes of it against the promises."""
        if isinstance(happening, Release):
            self.tripped -= {happening.segment} if happening.segment else self.tripped
        for account_id, step in self.shard.take(happening):
            if step.trace is None or step.trace.guard == "closed":
                continue
            assert not isinstance(happening, Release | Switch)
            day = day_of(self.policy, happening.clock)
            self.assert_within_budget(self.shard.accounts[account_id], step, step.trace, day, happening)
            self.assert_braked(step, step.trace)
            self.assert_counted(step.trace, day)
        assert self.tripped == {name for name, kept in self.shard.portfolio.kept.items() if kept.is_tripped}

    def assert_within_budget(self, account: OracleAccount, step: Step, trace: Trace, day: int, happening: Happening) -> None:
        """No more is raised than there is, and nothing is withheld for which there is room."""
        budget = self.brakes(trace).budget_minor
        assert budget is not None
        for emission in step.emissions:
            if emission.kind in RAISES and not is_overridden(emission):
                self.raised[trace.segment, day] += emission.new.limit - emission.previous.limit
        raised = self.raised[trace.segment, day]
        assert raised <= self.share(budget)
        if trace.guard == "budget_spent":
            assert trace.target is not None
            wanted = trace.target
            if any((emission.kind, emission.cause) == ("command_refused", "budget_spent") for emission in step.emissions):
                assert isinstance(happening, Command)
                wanted = asked_for(happening, account, wanted)
            assert raised + wanted - account.line.limit > self.share(budget)

    def assert_braked(self, step: Step, trace: Trace) -> None:
        """A tripped breaker lets nothing through that nobody commands; it trips where it says so."""
        for emission in step.emissions:
            if emission.kind == "decrease" or (emission.kind, emission.cause) == ("announce", "limit"):
                is_commanded = trace.forced or is_overridden(emission) or is_own(emission, self.segments[trace.segment])
                assert trace.segment not in self.tripped or is_commanded
        if says(step, "breaker_tripped"):
            assert trace.segment not in self.tripped
            assert trace.guard == "breaker"
            self.tripped.add(trace.segment)
        assert trace.guard != "breaker" or trace.segment in self.tripped

    def assert_counted(self, trace: Trace, day: int) -> None:
        """The counts are the ledger's, and no more was lowered than the breaker allows."""
        breaker = self.brakes(trace).breaker
        assert breaker is not None
        counted_on, raised, evaluated, lowered = trace.brakes
        assert (counted_on, raised) == (day, self.raised[trace.segment, day])
        assert lowered * 100 <= breaker.percent * max(evaluated, self.share(breaker.min_evaluations))

    def brakes(self, trace: Trace) -> doc.Brakes:
        found = self.segments[trace.segment].brakes
        assert found is not None
        return found


def asked_for(command: Command, account: OracleAccount, target: int) -> int:
    """The limit that a request or an acceptance comes to."""
    if command.kind == "accept_offer":
        assert account.line.offer is not None
        return account.line.offer[1]
    assert command.limit_minor is not None
    unit = account.segment.limits.round_to_minor
    return min(target, command.limit_minor // unit * unit)


def is_overridden(emission: Emission) -> bool:
    """Whether an override was in force."""
    override = emission.previous.override
    return override is not None and override[1] > emission.clock


def is_own(emission: Emission, segment: doc.Segment) -> bool:
    """Whether the customer's ceiling lies below the limit."""
    ceiling, unit = emission.previous.ceiling, segment.limits.round_to_minor
    return ceiling is not None and ceiling // unit * unit < emission.previous.limit


def says(step: Step, kind: str) -> bool:
    return any(emission.kind == kind for emission in step.emissions)


def watch(policy: Policy, happenings: Sequence[Happening], partitions: int) -> list[Watch]:
    """The accounts on so many shards, each of which goes through all but the others' records."""
    watches = [Watch(policy, shard, partitions) for shard in range(partitions)]
    for happening in happenings:
        for shard, each in enumerate(watches):
            if isinstance(happening, Sweep | Switch | Release) or crc32(happening.account_id.encode()) % partitions == shard:
                each.take(happening)
    return watches


def assert_within_the_whole(policy: Policy, watches: Sequence[Watch]) -> None:
    """What all shards raised together is within the budget, day by day."""
    raised: Ledger = Counter()
    for each in watches:
        raised.update(each.raised)
    budgets: dict[str, int | None] = {
        segment.name: segment.brakes.budget_minor for segment in policy.segments if segment.brakes is not None
    }
    for (segment, _), total in raised.items():
        budget = budgets[segment]
        assert budget is not None
        assert total <= budget


@pytest.mark.parametrize("partitions", [1, 2, 3])
@pytest.mark.parametrize("seed", range(60, 75))
def test_large_seeded_shards(seed: int, partitions: int) -> None:
    policy = braked_policy(seed)
    assert_within_the_whole(policy, watch(policy, seeded_shard(policy, seed, 130), partitions))


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 999), st.integers(1, 3))
def test_small_shards(case: tuple[Policy, list[Record]], seed: int, partitions: int) -> None:
    policy, log = braked(case[0]), case[1]
    if log:
        assert_within_the_whole(policy, watch(policy, list(random_shard(policy, Random(seed), log)), partitions))
