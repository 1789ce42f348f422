"""What a processor counts of the bits of a word in one instruction, for compiled code alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from engine.core.jit import compiled

ZERO: Final = np.uint64(0)
ONE: Final = np.uint64(1)
_NO: Any = ir.Constant(ir.IntType(1), 0)  # of a word without bits the count is defined, too


def _instruction(emit: Callable[[Any, Any], Any]) -> Callable[[np.uint64], int]:
    """A function of compiled code that is one instruction of LLVM's."""

    def typed(_context: Any, _word: Any) -> Any:
        return types.int64(types.uint64), lambda _, builder, __, words: emit(builder, words[0])

    return cast(Callable[[np.uint64], int], intrinsic(typed))


_ones = _instruction(lambda builder, word: builder.ctpop(word))
_zeros_above = _instruction(lambda builder, word: builder.ctlz(word, _NO))
_zeros_below = _instruction(lambda builder, word: builder.cttz(word, _NO))


@compiled
def bits_set(word: int) -> int:
    """How many of the 64 bits of a word are set."""
    return _ones(np.uint64(word))


@compiled
def bits_of(word: np.uint64) -> int:
    """How many bits a value has: 0 of 0, 64 at most."""
    return 64 - _zeros_above(word)


@compiled
def lowest_bit(word: np.uint64) -> int:
    """The number of the lowest bit that is set; 64 if none is."""
    return _zeros_below(word)
