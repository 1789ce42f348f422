"""What holds of every account whatever happens to it, on generated policies and logs (docs/policy.md §8, §9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

import pytest
from hypothesis import given, settings

from engine.policy.document import Policy
from tests.generate import cases, seeded_log, seeded_policy
from tests.oracle.account import OracleAccount, Step
from tests.oracle.line import Emission, Line
from tests.oracle.records import Command, Profile, Record, Repayment
from tests.oracle.shard import OracleShard
from tests.oracle.time_rules import DAY_MS

RAISES = ("grant", "increase", "offer_accepted")
# What lets the next evaluation come out otherwise at the same moment: the limit that it is measured against, or that features look at,
# or the tier has moved; a withdrawal took the place of the decision.
MOVES = {*RAISES, "decrease", "temporary_end", "announce_withdrawn", "rate_change"}


def told(policy: Policy, log: Sequence[Record]) -> Iterator[tuple[OracleAccount, Record, Step]]:
    """Each record with what came of it, and the account behind it."""
    shard = OracleShard(policy, lambda word: crc32(word.encode()) % 64)
    for record in log:
        account = shard.account(record.account_id)
        yield account, record, account.apply(record)


def assert_legal(account: OracleAccount) -> None:
    """The line is one that the page allows."""
    line = account.line
    if line.standing != "open":
        assert (line.limit, line.band) == (0, None)
        assert not line.blocks & {"past_due", "over_cap"}
        offer = line.offer if line.standing == "none" and account.closed_on is None else None
        assert line == Line(0, None, line.blocks, line.standing, ceiling=line.ceiling, offer=offer)
        assert line.standing == "closed" or not line.blocks
    if line.offer is not None:
        number, limit, until = line.offer
        assert 1 <= number <= account.sequence
        assert limit > line.limit
        assert account.is_in_force(until)
    if line.pending is not None:
        assert line.pending[0] < line.limit
    if line.temporary is not None:
        assert account.is_in_force(line.temporary[1])
        assert line.ceiling is None or line.temporary[0] <= line.ceiling
    assert (line.pending_rate is None) or line.rate_tier is not None


def assert_sound(account: OracleAccount, emission: Emission) -> None:
    """Nothing is raised above the legal cap, nor for an account in arrears or in cure; whoever closes gives up the rest."""
    old, new, legal_cap = emission.previous, emission.new, account.segment.limits.legal_cap_minor
    assert emission.trace is not None
    is_in_arrears = emission.trace.bucket >= 1 or account.instalments.in_cure(account.today)
    if emission.kind in RAISES:
        assert old.limit < new.limit <= legal_cap
        assert not is_in_arrears
    if emission.kind == "offer":
        assert new.offer is not None
        assert new.limit < new.offer[1] <= legal_cap
        assert not is_in_arrears
    if emission.kind == "temporary_start":
        assert new.temporary is not None
        assert new.temporary[0] <= legal_cap
        assert new.temporary[0] <= new.limit or not is_in_arrears
    if emission.kind == "decrease":
        assert new.limit < old.limit
    if emission.kind == "close":
        assert new == Line(0, None, old.blocks - {"past_due", "over_cap"}, "closed", ceiling=old.ceiling)
    if emission.kind == "rate_change" and old.rate_tier is not None:
        assert new.pending_rate is None


def assert_settled(account: OracleAccount, record: Record, step: Step) -> None:
    """Evaluating again at the same moment says nothing, and leaves the account as it was.

    Not asked of a repayment (what it leaves past due is counted with the next record), where a command took the place of the decision, where
    a guard was lifted behind it, and of a profile that corrects: it alone is not held back by a cool-down.
    """
    corrects = isinstance(record, Profile) and record.corrects
    is_decided = isinstance(record, Command) and record.kind in ("request_increase", "accept_offer")
    is_over_cap_lifted = any((e.kind, e.cause) == ("unfreeze", "over_cap") for e in step.emissions)
    if isinstance(record, Repayment) or corrects or is_decided or is_over_cap_lifted or any(e.kind in MOVES for e in step.emissions):
        return
    before = account.state()
    assert account.tick(record.clock).emissions == []
    assert account.state() == before


def assert_all(policy: Policy, log: Sequence[Record]) -> None:
    for account, record, step in told(policy, log):
        if step.verdict != "accepted":
            continue
        assert_legal(account)
        for emission in step.emissions:
            assert_sound(account, emission)
        assert_settled(account, record, step)


@settings(max_examples=80, deadline=None)
@given(cases())
def test_small_cases(case: tuple[Policy, list[Record]]) -> None:
    assert_all(*case)


@pytest.mark.parametrize("seed", range(25))
def test_large_seeded_cases(seed: int) -> None:
    policy = seeded_policy(seed)
    assert_all(policy, seeded_log(policy, seed, 150))


@pytest.mark.parametrize("seed", range(10))
def test_time_alone_leaves_a_legal_account(seed: int) -> None:
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, 100)
    accounts = {record.account_id: account for account, record, _ in told(policy, log)}
    for day in range(60):
        for account in accounts.values():
            before = account.state()
            step = account.tick(log[-1].clock + day * DAY_MS)
            for emission in step.emissions:
                assert_sound(account, emission)
            if step.emissions:
                assert_legal(account)
            elif account.state()["bucket"] == before["bucket"]:
                assert account.state() == before
