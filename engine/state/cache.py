"""A worker's cache of a shard's accounts: rows in one matrix and encoded states behind them, both bounded, write-through.

Theory of operation. The cache never holds anything that is not in the shard's journal or about to be: the kernel changes rows in place, the
batch that did so writes them to the journal at once, and after any doubt ``forget`` empties the cache. So a row may be dropped at any time
without writing it anywhere. When room is needed, the accounts that were used the longest ago go; those of the batch at hand never do.

A row is what the kernel works on, and wide; what is written of it has a twentieth of its bytes. So of rows there are about as many as a batch
needs, and what was written is kept beside them (``engine.state.state_cache``) for a row's next time.

A batch begins with ``begin``; ``take`` gives each of its accounts a row, ``recall`` reads those whose states are kept, and ``missing`` says of
which the state must be brought by ``admit`` before the rows are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.core.packed import WORD, Packed
from engine.core.tables import Ints
from engine.policy.compile import CompiledPolicy
from engine.state.account_rows import AccountRows
from engine.state.index import ID_WORDS, UNKNOWN, ascending, find, put, remove, unused
from engine.state.state_cache import StateCache
from engine.state.states import States

NOBODY: Final = np.zeros((2, 0), np.int64)


class Room(NamedTuple):
    """How much is cached: so many accounts as rows, and the states that were written last in about so many bytes."""

    accounts: int
    state_bytes: int


class AccountCache(AccountRows):
    """At most ``room.accounts`` accounts as ``rows`` (capacity, width) int64 under one policy, and states behind them."""

    def __init__(self, policy: CompiledPolicy, room: Room) -> None:
        super().__init__(policy, room.accounts)
        self._states = StateCache(room.state_bytes)
        self.capacity = capacity = room.accounts
        self._table = np.zeros(1 << (2 * capacity).bit_length(), np.int64)
        self._hashes = np.zeros(capacity, np.uint64)
        self._ids = np.zeros((capacity, ID_WORDS), np.uint64)
        self._lengths = np.zeros(capacity, np.int64)
        self._is_admitted = np.zeros(capacity, np.bool_)
        self._used = np.zeros(capacity, np.int64)  # batch in which the slot was used last; 0: free
        self._batch = 0
        self._taken: list[Ints] = []  # the slots of the batch at hand
        self._missing: Ints | None = None  # those that hold no state yet, when somebody has asked
        self._queue = NOBODY  # slots in the order in which they may go, and in which batch each had been used last then
        self._first = 0  # the place in it before which all were used since

    def __len__(self) -> int:
        return int(np.count_nonzero(self._used))

    def forget(self) -> None:
        """Forget every account."""
        self._states.forget()
        self._table[:] = 0
        self._used[:] = 0
        self._taken, self._missing = [], None
        self._queue, self._first = NOBODY, 0

    def renew(self, accounts: Packed, values: Packed) -> None:
        """These accounts have other states now, which were written without their rows: these are free."""
        self._states.keep(accounts, values)
        for slot in self._find(accounts, np.ones(len(accounts), np.bool_))[0].tolist():
            if slot != UNKNOWN:
                remove(self._table, self._hashes, slot)
                self._used[slot] = 0
        self._queue, self._first = NOBODY, 0

    def begin(self) -> None:
        """Begin a batch: the accounts of the last one may go from here on."""
        self._batch += 1
        self._taken, self._missing = [], None

    def take(self, accounts: Packed, wanted: npt.NDArray[np.bool_]) -> Ints:
        """(n,) the rows of the wanted accounts of the batch, 0 of the others. Raises ValueError if the batch has more accounts than there are
        rows."""
        slots, unknown = self._find(accounts, wanted)
        self._used[slots[wanted & (slots != UNKNOWN)]] = self._batch
        if unknown:
            room = self._room(unknown)
            given = put(*self._arrays, accounts.words, accounts.begins, accounts.ends, wanted, slots, room)
            if given < 0:
                raise ValueError(f"the accounts of the batch do not fit a cache of {self.capacity}")
            self._used[room[:given]] = self._batch
            self._is_admitted[room[:given]] = False
        self._taken.append(slots[wanted])
        self._missing = None
        return slots

    def taken(self) -> Ints:
        """The rows of the batch, each once, ascending."""
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self._taken]))

    def recall(self) -> None:
        """Read the rows of the batch whose states are kept."""
        slots = self._to_admit()
        accounts = self._accounts(slots)
        values = self._states.recall(accounts)
        kept = values.is_present()
        self.read(slots[kept], accounts.at(kept), values.at(kept))
        self._is_admitted[slots[kept]] = True
        self._missing = slots[~kept]

    def missing(self) -> Packed:
        """The accounts of the batch that must be admitted, in the order in which they were taken."""
        return Packed.copied([self._accounts(self._to_admit())])

    def admit(self, values: Packed) -> None:
        """Take the encoded states of the accounts in that are ``missing``; one that is absent is an account without history. Raises
        StateFormatError."""
        slots = self._to_admit()
        self.read(slots, self._accounts(slots), values)
        self._is_admitted[slots] = True
        self._missing = None

    def slots(self, accounts: Sequence[bytes]) -> Ints:
        """(n,) the rows of accounts that are held."""
        return self._find(Packed.of(accounts), np.ones(len(accounts), np.bool_))[0]

    def written(self, slots: Ints) -> States:
        """The accounts in some rows, in any order, with their encoded states, which are kept."""
        slots = slots[ascending(self._ids[slots], self._lengths[slots])]
        states = States(Packed.copied([self._accounts(slots)]), self.encoded(slots))
        self._states.keep(states.ids, states.values)
        return states

    @property
    def _arrays(self) -> tuple[Ints, npt.NDArray[np.uint64], npt.NDArray[np.uint64], Ints]:
        return self._table, self._hashes, self._ids, self._lengths

    def _accounts(self, slots: Ints) -> Packed:
        """The accounts in some rows, as long as these hold them."""
        begins = slots * (WORD * ID_WORDS)
        return Packed(self._ids.view(np.uint8).reshape(-1), begins, begins + self._lengths[slots])

    def _find(self, accounts: Packed, wanted: npt.NDArray[np.bool_]) -> tuple[Ints, int]:
        """(n,) the rows of the wanted accounts, UNKNOWN of those that are not held, 0 of the others; and how many are not held."""
        slots = np.zeros(len(accounts), np.int64)
        return slots, find(*self._arrays, accounts.words, accounts.begins, accounts.ends, wanted, slots)

    def _to_admit(self) -> Ints:
        """The rows of the batch that hold no state yet, in the order in which they were taken."""
        if self._missing is None:
            slots = np.concatenate([np.zeros(0, np.int64), *(own[~self._is_admitted[own]] for own in self._taken)])
            _, first = np.unique(slots, return_index=True)
            self._missing = slots[np.sort(first)]
        return self._missing

    def _room(self, count: int) -> Ints:
        """At most ``count`` slots that the batch does not use, those first that were used the longest ago. The order of all is worked out once
        and then gone through: what was used since has its turn in the next one."""
        room = np.zeros(min(count, self.capacity), np.int64)
        self._first, found = unused(self._queue, self._first, self._used, room)
        if found < len(room):
            order = np.argsort(self._used, kind="stable")
            order = order[self._used[order] < self._batch]
            self._queue = np.stack((order, self._used[order]))
            self._first, found = unused(self._queue, 0, self._used, room)
        return room[:found]
