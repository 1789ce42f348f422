"""One shard's accounts together, in the order in which they are evaluated: what they share, and what it goes through besides their records
(docs/policy.md §9b, §9c, §10)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

from engine.policy import document as doc
from tests.oracle.account import OracleAccount, Step
from tests.oracle.measures import WordBit
from tests.oracle.portfolio import Portfolio
from tests.oracle.records import Record


@dataclass(frozen=True)
class Sweep:
    """Time goes by for every account, up to the shard's clock."""

    clock: int


@dataclass(frozen=True)
class Switch:
    """Another appetite for a segment, in force since a policy day, and how many decreases are expected of it on all shards."""

    segment: str
    mode: str
    day: int
    expected_decreases: int


@dataclass(frozen=True)
class Release:
    """The breaker of a segment, or of all, lets go."""

    segment: str | None


Happening = Record | Sweep | Switch | Release


def in_sweep_order(account_ids: Iterable[str]) -> list[str]:
    """The order in which a sweep from the first bucket on goes through accounts."""
    return sorted(account_ids, key=lambda account_id: (crc32(account_id.encode()) % 256, account_id.encode()))


class OracleShard:
    """The fold of one shard's records, sweeps and control records; ``word_bit`` as an account's."""

    def __init__(self, policy: doc.Policy, word_bit: WordBit, shard: int = 0, partitions: int = 1) -> None:
        self.policy = policy
        self.word_bit = word_bit
        self.portfolio = Portfolio(shard, partitions)
        self.appetites: dict[str, tuple[str, int]] = {}
        self.accounts: dict[str, OracleAccount] = {}

    def follow(self, policy: doc.Policy) -> None:
        """Another promoted version is in force from here on."""
        self.policy = policy
        self.portfolio.follow(policy)
        for account in self.accounts.values():
            account.follow(policy)

    def account(self, account_id: str) -> OracleAccount:
        """An account, a new one where there is none."""
        if account_id not in self.accounts:
            self.accounts[account_id] = OracleAccount(self.policy, self.word_bit, self.appetites, self.portfolio)
        return self.accounts[account_id]

    def take(self, happening: Happening) -> list[tuple[str, Step]]:
        """What comes of it, account by account."""
        match happening:
            case Sweep(clock):
                return [(account_id, self.accounts[account_id].tick(clock)) for account_id in in_sweep_order(self.accounts)]
            case Switch(segment, mode, day, expected_decreases):
                self.appetites[segment] = mode, day
                self.portfolio.expect(segment, expected_decreases)
                return []
            case Release(segment):
                self.portfolio.release(segment)
                return []
        return [(happening.account_id, self.account(happening.account_id).apply(happening))]
