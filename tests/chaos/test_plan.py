"""A seed's faults: always the same, enough of each kind, and none where it cannot be."""

from __future__ import annotations

import pytest

from tests.chaos.plan import KINDS, SLOTS, WORKERS, Fault, plan
from tests.chaos.run import Options

MINUTES_20 = 1_200.0


def test_a_seed_gives_the_same_faults() -> None:
    assert plan(7, MINUTES_20, 5) == plan(7, MINUTES_20, 5)
    assert plan(7, MINUTES_20, 5) != plan(8, MINUTES_20, 5)


@pytest.mark.parametrize("seed", range(40))
def test_twenty_minutes_have_everything(seed: int) -> None:
    faults = plan(seed, MINUTES_20, Options.every_s)
    assert len(faults) >= 150
    assert {fault.kind for fault in faults} == set(KINDS)
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    stops = [fault.for_s for fault in faults if fault.kind == "worker stopped"]
    assert 5 <= min(stops) < max(stops) <= 40
    members = [len(held) for held in memberships(faults)]
    assert (min(members), max(members)) == (1, SLOTS)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_befalls_whom_it_cannot(seed: int) -> None:
    """A worker that has left, or that another fault of its process holds."""
    members = set(range(WORKERS))
    busy_until = dict.fromkeys(range(SLOTS), 0.0)
    for fault in plan(seed, MINUTES_20, Options.every_s):
        worker = fault.worker
        if worker is None:
            continue
        if fault.kind == "worker joins":
            assert worker not in members
            members.add(worker)
        else:
            assert worker in members
        if fault.kind == "worker leaves":
            members.discard(worker)
        if fault.kind.startswith("worker"):
            assert fault.at_s >= busy_until[worker]
            busy_until[worker] = fault.at_s + fault.for_s


def memberships(faults: list[Fault]) -> list[set[int]]:
    members = set(range(WORKERS))
    found = [set(members)]
    for fault in faults:
        assert fault.worker is not None or "worker" not in fault.kind
        if fault.kind == "worker joins":
            members |= {fault.worker or 0}
        elif fault.kind == "worker leaves":
            members -= {fault.worker or 0}
        found.append(set(members))
    return found
