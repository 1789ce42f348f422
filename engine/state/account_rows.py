"""Rows of accounts under one policy, and the way between them and encoded states."""

from __future__ import annotations

import numpy as np

from engine.core.packed import Packed
from engine.core.rows import make_blanks
from engine.core.tables import Ints
from engine.core.windows import rebuild_rows
from engine.policy.compile import CompiledPolicy
from engine.state.codec import RowCodec


class AccountRows:
    """``rows`` (count, width) int64, each an account or zeros."""

    def __init__(self, policy: CompiledPolicy, count: int) -> None:
        self.rows: Ints = np.zeros((count, policy.layout.width), np.int64)
        self._program = policy.program
        self._codec = RowCodec(policy.layout)

    def read(self, slots: Ints, accounts: Packed, values: Packed) -> None:
        """Make ``rows[slots]`` these accounts; one without a value has no history. Raises StateFormatError."""
        make_blanks(self._program, self.rows, slots)
        self._codec.decode(accounts, values, self.rows, slots)
        rebuild_rows(self._program, self.rows, slots[values.is_present()])

    def encoded(self, slots: Ints) -> Packed:
        """The encoded states of ``rows[slots]``; absent where one was forgotten and leaves nothing."""
        return self._codec.encode(self.rows, slots).without_empty()


def row_of(policy: CompiledPolicy, account: bytes, value: bytes) -> Ints:
    """(width,) one account's row. Raises StateFormatError."""
    one = AccountRows(policy, 1)
    one.read(np.zeros(1, np.int64), Packed.of([account]), Packed.of([value]))
    row: Ints = one.rows[0]
    return row
