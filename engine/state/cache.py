"""A worker's cache of a shard's accounts: rows in one matrix, bounded, write-through.

Theory of operation. The cache never holds anything that is not in the shard's journal or about to be: the kernel changes rows in place, the
batch that did so writes them to the journal at once, and after any doubt ``forget`` empties the cache. So a row may be dropped at any time
without writing it anywhere. When room is needed, the accounts that were used the longest ago go; those of the batch at hand never do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.core.rows import blank_row
from engine.core.tables import Ints
from engine.core.windows import rebuild_rows
from engine.policy.compile import CompiledPolicy
from engine.state.codec import RowCodec


class AccountCache:
    """At most ``capacity`` accounts as ``rows`` (capacity, width) int64 under one policy."""

    def __init__(self, policy: CompiledPolicy, capacity: int) -> None:
        self.capacity = capacity
        self.rows: Ints = np.zeros((capacity, policy.layout.width), np.int64)
        self._program = policy.program
        self._blank = blank_row(policy.layout)
        self._codec = RowCodec(policy.layout)
        self._slots: dict[bytes, int] = {}
        self._held: list[bytes | None] = [None] * capacity
        self._used = np.zeros(capacity, np.int64)  # batch in which the slot was used last; 0: free
        self._batch = 0

    def __len__(self) -> int:
        return len(self._slots)

    def forget(self) -> None:
        """Forget every account."""
        self._slots.clear()
        self._held = [None] * self.capacity
        self._used[:] = 0

    def drop(self, accounts: Sequence[bytes]) -> None:
        """Forget those of these accounts that are held."""
        for slot in [self._slots.pop(account) for account in accounts if account in self._slots]:
            self._held[slot] = None
            self._used[slot] = 0

    def missing(self, accounts: Sequence[bytes]) -> list[bytes]:
        """Begin a batch of these accounts (each once, at most ``capacity``): those that must be admitted before ``slots``."""
        if len(accounts) > self.capacity:
            raise ValueError(f"a batch of {len(accounts)} accounts does not fit a cache of {self.capacity}")
        self._batch += 1
        held = self._slots
        self._used[[held[account] for account in accounts if account in held]] = self._batch
        return [account for account in accounts if account not in held]

    def admit(self, accounts: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Take accounts of the batch in by their encoded states; None is an account without history. Raises StateFormatError."""
        slots = self._room(len(accounts))
        self.rows[slots] = self._blank
        known = [i for i, value in enumerate(values) if value is not None]
        if known:
            self._codec.decode(
                [accounts[i] for i in known],
                [value for value in values if value is not None],
                self.rows,
                slots[known],
            )
            rebuild_rows(self._program, self.rows, slots[known])
        for account, slot in zip(accounts, slots.tolist(), strict=True):
            self._slots[account] = slot
            self._held[slot] = account
        self._used[slots] = self._batch

    def slots(self, accounts: Sequence[bytes]) -> Ints:
        """(n,) the rows of accounts that are held."""
        held = self._slots
        return np.array([held[account] for account in accounts], np.int64)

    def encoded(self, slots: Ints) -> list[bytes | None]:
        """The encoded states of some rows; None of one that was forgotten and leaves nothing."""
        return [value or None for value in self._codec.encode(self.rows, slots)]

    def _room(self, count: int) -> Ints:
        """``count`` slots, freed where necessary."""
        slots: Ints = np.sort(np.argpartition(self._used, count - 1)[:count]) if count else np.zeros(0, np.int64)
        for slot in slots.tolist():
            account = self._held[slot]
            if account is not None:
                del self._slots[account]
                self._held[slot] = None
        return slots
