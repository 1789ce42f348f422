"""What is generated is valid, the same for the same seed, and reaches every corner of the language."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import get_args
from zlib import crc32

from hypothesis import given, settings

from engine.policy.document import Measure, Policy
from tests.generate import braked_policy, cases, seeded_log, seeded_policy, seeded_shard
from tests.generate.logs import CAUSES
from tests.generate.policies import FEATURE_KINDS
from tests.oracle import guards
from tests.oracle.account import OracleAccount, Step
from tests.oracle.line import Change, Guard, Kind
from tests.oracle.records import Command, Record
from tests.oracle.shard import Happening, OracleShard, Release
from tests.oracle.time_rules import dead_letter

SEEDS = range(50)
REFUSED = (
    *(
        "no_profile",
        "not_open",
        "already_in_force",
        "not_in_force",
        "ends_in_the_past",
        "ends_too_late",
        "above_legal_cap",
        "above_ceiling",
    ),
    *("on_hold", "in_arrears", "in_cure", "second_person_needed", "offer_unknown", "not_raised", "offer_stale", "override"),
)
REFUSED_WITH_A_GUARD = ("blocked", "forbearance", "not_eligible", "over_indebted", "cool_down_up")
NEVER_TOLD = {"closed", "override", "hold", "quiet_hours", "consent_missing", "cool_down_down", "warming_up", "breaker"}


def told(policy: Policy, log: Sequence[Record]) -> dict[str, list[Step]]:
    """The steps of each account of a log."""
    shard = OracleShard(policy, word_bit)
    steps: dict[str, list[Step]] = {}
    for record in log:
        for account_id, step in shard.take(record):
            steps.setdefault(account_id, []).append(step)
    return steps


def word_bit(word: str) -> int:
    return crc32(word.encode()) % 64


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


def corners_of(seed: int) -> Iterator[str]:
    """What a generated policy has, and what a log under it comes to."""
    policy = seeded_policy(seed)
    yield from (f"measure {measure.kind}" for measure in policy.measures)
    yield from (f"feature {feature.kind}" for feature in policy.features)
    for step in (step for steps in told(policy, seeded_log(policy, seed, 200)).values() for step in steps):
        yield f"verdict {step.verdict}"
        yield from (f"emission {emission.kind}" for emission in step.emissions)
        yield from (f"{emission.kind} {emission.cause}" for emission in step.emissions)
        if step.trace is not None:
            yield from (f"guard {step.trace.guard}", f"bound {step.trace.bound_by}")


def missed(wanted: set[str], seeds: Iterable[int], reached: Callable[[int], Iterable[str]]) -> set[str]:
    """What none of the seeds reaches; the rest of them is left out when there is nothing more to reach."""
    left = set(wanted)
    for seed in seeds:
        left.difference_update(reached(seed))
        if not left:
            break
    return left


def test_every_corner_is_reached() -> None:
    corners = {
        "measure": get_args(Measure.model_fields["kind"].annotation),
        "feature": FEATURE_KINDS,
        "verdict": ("accepted", "duplicate", "stale", "no_profile", "forgotten", "nothing_held", "line_open"),
        "emission": get_args(Kind),
        "freeze": ("past_due", "over_cap", *CAUSES),
        "unfreeze": ("past_due", "over_cap", *CAUSES),
        "close": ("command", None),
        "announce": ("limit", "rate"),
        "announce_withdrawn": ("limit", "rate"),
        "command_refused": (*REFUSED, *REFUSED_WITH_A_GUARD),
        "increase_withheld": set(get_args(Guard)) - NEVER_TOLD - {"notice_running"},  # too rare for chance: see tests/scenarios
        "bound": ("band", "product_cap", "income_cap", "related_cap", "legal_cap", "requested", "ceiling", "override"),
        "bound ": ("step", "arrears", "exposure_floor"),
        "guard": get_args(Guard),
    }
    expected = {f"{corner.strip()} {name}" for corner, names in corners.items() for name in names}
    assert missed(expected, range(100), corners_of) == set()


def where_brakes_came_in(policy: Policy, happenings: Sequence[Happening]) -> Iterator[str]:
    """What the brakes of a shard withheld, and what went through."""
    shard = OracleShard(policy, word_bit)
    kept = shard.portfolio.kept
    is_released = False
    for happening in happenings:
        if isinstance(happening, Release):
            is_released = any(each.is_tripped for name, each in kept.items() if name == (happening.segment or name))
        before = {name: (each.is_tripped, each.expected) for name, each in kept.items()}
        for account_id, step in shard.take(happening):
            if step.trace is None:
                continue
            account, kinds = shard.accounts[account_id], [emission.kind for emission in step.emissions]
            was_tripped, expected = before.get(step.trace.segment, (False, 0))
            is_lowered = bool({"decrease", "announce"} & set(kinds))
            match step.trace.guard:
                case "budget_spent":
                    yield f"no budget for {raised(account, happening, step)}"
                case "breaker":
                    yield "pending" if account.line.pending else "withheld"
            if "breaker_tripped" in kinds:
                yield "tripped at an announcement" if account.segment.notices.decrease_days else "tripped at a decrease"
            if was_tripped and "decrease" in kinds:
                yield "forced" if step.trace.forced else "overridden" if account.override_limit is not None else "own"
            if is_lowered and is_released:
                yield "lowered behind a release"
            if expected and not kept[step.trace.segment].expected:
                yield "all that was expected"
            before = {name: (each.is_tripped, each.expected) for name, each in kept.items()}


def raised(account: OracleAccount, happening: Happening, step: Step) -> str:
    """What would have raised the limit."""
    if any((emission.kind, emission.cause) == ("command_refused", "budget_spent") for emission in step.emissions):
        assert isinstance(happening, Command)
        return happening.kind
    if account.line.standing == "open":
        return "an increase" if guards.has_consented(account) else "an offer of more"
    return "a grant" if guards.has_applied(account) else "a first offer"


def test_the_brakes_come_in_wherever_they_may() -> None:
    def reached(seed: int) -> Iterator[str]:
        policy = braked_policy(seed)
        return where_brakes_came_in(policy, seeded_shard(policy, seed, 130))

    rises = ("a grant", "an increase", "request_increase", "accept_offer", "a first offer", "an offer of more")
    trips = ("tripped at an announcement", "tripped at a decrease", "withheld", "pending", "lowered behind a release")
    passes = ("forced", "own", "overridden", "all that was expected")
    assert missed({*(f"no budget for {rise}" for rise in rises), *trips, *passes}, range(60, 150), reached) == set()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_changes_follow_one_another_without_a_gap(case: tuple[Policy, list[Record]]) -> None:
    for steps in told(*case).values():
        emissions = [emission for step in steps for emission in step.emissions]
        changes = [emission for emission in emissions if emission.kind in get_args(Change)]
        assert [change.sequence for change in changes] == list(range(1, len(changes) + 1))
        assert all(a.clock <= b.clock for a, b in pairwise(emissions))
        for emission in emissions:
            if emission.kind in get_args(Change):
                assert emission.previous != emission.new
                moves = (emission.previous.limit, emission.previous.band) != (emission.new.limit, emission.new.band)
                assert moves <= (emission.kind in ("grant", "increase", "decrease", "offer_accepted", "close"))
                assert emission.new.limit >= 0
            else:
                assert emission.previous == emission.new
