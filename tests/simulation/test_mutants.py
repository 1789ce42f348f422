"""Each guard of the protocol is needed: without it the simulation finds a violation, within so many seeds."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from hashlib import sha1
from typing import Final
from unittest import mock

import pytest

from engine.local.redis_server import RedisServer
from engine.state import redis_store
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.valkey import RealServer
from tests.simulation.world import run

GUARD: Final = "if applied >= sequence or (voided == 0 and applied ~= sequence - 1) then"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_missing_guard_is_noticed(mutant: Mutant) -> None:
    for seed in range(mutant.within):
        violation = run(seed, mutation=mutant.patch, deaths=mutant.deaths).violation
        if violation:
            print(f"{mutant.name}: {seed + 1} seeds: {violation}")
            return
    pytest.fail(f"not noticed within {mutant.within} seeds")


@pytest.fixture
def real(valkey: RedisServer) -> Iterator[RealServer]:
    server = RealServer(valkey.settings)
    yield server
    server.close()


def test_the_script_without_its_check_is_noticed(real: RealServer) -> None:
    unchecked = copy(redis_store.APPLY)
    unchecked.text = redis_store.APPLY.text.replace(GUARD, "if false then")
    assert unchecked.text != redis_store.APPLY.text
    unchecked.digest = sha1(unchecked.text.encode()).hexdigest()
    for seed in range(20):
        real.come_back_with({})
        if run(seed, real, mutation=lambda: mock.patch.object(redis_store, "APPLY", unchecked)).violation:
            return
    pytest.fail("not noticed within 20 seeds")
