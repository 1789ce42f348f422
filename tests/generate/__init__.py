"""Random policies over the whole language, and random logs for them.

Two modes. The *small* one is made of Hypothesis strategies that shrink: ``policies()``, ``logs(policy)``, ``cases()``.
The *seeded* one is large and quick: ``seeded_policy(seed)``, ``seeded_log(policy, seed, n)``; it prints its seeds,
which pytest shows when a test fails.
"""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from engine.policy.document import Policy
from tests.generate.logs import random_log
from tests.generate.policies import braked, random_policy
from tests.generate.shards import random_shard
from tests.oracle.records import Record
from tests.oracle.shard import Happening

__all__ = ["braked_policy", "cases", "logs", "policies", "seeded_log", "seeded_policy", "seeded_shard"]

SMALL_FEATURES = 4
SMALL_RECORDS = 25


def policies() -> st.SearchStrategy[Policy]:
    """Small valid policies that shrink."""
    return st.builds(random_policy, st.randoms(use_true_random=False), st.integers(1, SMALL_FEATURES))


def logs(policy: Policy) -> st.SearchStrategy[list[Record]]:
    """Short logs of one to three accounts that shrink."""
    randoms = st.randoms(use_true_random=False)
    return st.builds(random_log, st.just(policy), randoms, st.integers(1, SMALL_RECORDS))


def cases() -> st.SearchStrategy[tuple[Policy, list[Record]]]:
    """A small policy and a short log for it."""
    return policies().flatmap(lambda policy: st.tuples(st.just(policy), logs(policy)))


def seeded_policy(seed: int) -> Policy:
    """A large policy, the same for the same seed."""
    print(f"seeded_policy({seed})")
    random = Random(f"policy {seed}")
    return random_policy(random, random.randint(6, 24))


def braked_policy(seed: int) -> Policy:
    """The large policy of a seed, with brakes in every segment."""
    return braked(seeded_policy(seed))


def seeded_log(policy: Policy, seed: int, n: int) -> list[Record]:
    """A log of ``n`` records, the same for the same policy and seed."""
    print(f"seeded_log(policy, {seed}, {n})")
    return random_log(policy, Random(f"log {seed}"), n)


def seeded_shard(policy: Policy, seed: int, n: int) -> list[Happening]:
    """A seeded log of ``n`` records and what its shard goes through besides."""
    print(f"seeded_shard(policy, {seed}, {n})")
    return list(random_shard(policy, Random(f"shard {seed}"), seeded_log(policy, seed, n)))
