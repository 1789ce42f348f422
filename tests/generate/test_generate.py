"""What is generated is valid, the same for the same seed, and reaches every corner of the language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import get_args
from zlib import crc32

from hypothesis import given, settings

from engine.policy.document import Measure, Policy
from tests.generate import cases, seeded_log, seeded_policy
from tests.generate.policies import FEATURE_KINDS
from tests.oracle.account import OracleAccount, Step
from tests.oracle.decide import Kind
from tests.oracle.records import Record
from tests.oracle.time_rules import dead_letter

SEEDS = range(50)


def told(policy: Policy, log: Sequence[Record]) -> dict[str, list[Step]]:
    """The steps of each account of a log."""
    accounts: dict[str, OracleAccount] = {}
    steps: dict[str, list[Step]] = {}
    for record in log:
        account = accounts.setdefault(record.account_id, OracleAccount(policy, lambda word: crc32(word.encode()) % 64))
        steps.setdefault(record.account_id, []).append(account.apply(record))
    return steps


def test_a_seed_says_all() -> None:
    policy = seeded_policy(3)
    assert seeded_policy(3) == policy
    assert seeded_log(policy, 4, 90) == seeded_log(policy, 4, 90)
    assert len(seeded_log(policy, 4, 90)) == 90


def test_every_record_is_in_time_and_in_order() -> None:
    for seed in SEEDS:
        policy = seeded_policy(seed)
        log = seeded_log(policy, seed, 60)
        assert not [record for record in log if dead_letter(policy, record)]
        assert all(a.record_time <= b.record_time and a.clock <= b.clock for a, b in pairwise(log))
        assert all(record.clock >= record.record_time for record in log)


def test_every_corner_is_reached() -> None:
    seen: Counter[str | None] = Counter()
    for seed in SEEDS:
        policy = seeded_policy(seed)
        seen.update(f"measure {measure.kind}" for measure in policy.measures)
        seen.update(f"feature {feature.kind}" for feature in policy.features)
        for step in (step for steps in told(policy, seeded_log(policy, seed, 200)).values() for step in steps):
            seen.update([f"verdict {step.verdict}"])
            seen.update(f"emission {emission.kind}" for emission in step.emissions)
            seen.update(f"cause {emission.cause}" for emission in step.emissions)
            if step.trace is not None:
                seen.update([f"guard {step.trace.guard}", f"bound {step.trace.bound_by}"])
    corners = {
        "measure": get_args(Measure.model_fields["kind"].annotation),
        "feature": FEATURE_KINDS,
        "verdict": ("accepted", "duplicate", "stale", "no_profile", "forgotten", "nothing_held", "line_open"),
        "emission": get_args(Kind),
        "cause": (
            "past_due",
            "over_cap",
            "not_open",
            "already_in_force",
            "not_in_force",
            "not_supported",
            "no_profile",
        ),
        "bound": ("band", "product_cap", "income_cap", "related_cap", "legal_cap", "requested"),
        "bound ": ("step", "arrears", "exposure_floor"),
        "guard": ("closed", "blocked", "in_arrears", "in_cure", "not_eligible", "consent_missing"),
        "guard ": ("cool_down_up", "cool_down_down", "warming_up"),
    }
    expected = {f"{corner.strip()} {name}" for corner, names in corners.items() for name in names}
    assert expected - set(seen) == set()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_changes_follow_one_another_without_a_gap(case: tuple[Policy, list[Record]]) -> None:
    for steps in told(*case).values():
        is_forgotten = any(step.verdict == "forgotten" for step in steps)
        emissions = [emission for step in steps for emission in step.emissions]
        changes = [emission for emission in emissions if not emission.kind.startswith("command_")]
        assert [change.sequence for change in changes] == list(range(1, len(changes) + 1))
        # After it was forgotten an account goes on counting, from the standing that a new one has
        assert is_forgotten or all(a.new == b.previous for a, b in pairwise(changes))
        assert all(a.clock <= b.clock for a, b in pairwise(emissions))
        for change in changes:
            moves = (change.previous.limit, change.previous.band) != (change.new.limit, change.new.band)
            assert moves or change.kind in ("freeze", "unfreeze", "close")
            assert change.new.limit >= 0
