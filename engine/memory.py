"""What the worker tells the C library's allocator: to give back what batches have used.

glibc maps a large block by itself only until one of that size was freed; from then on, up to 32 MB, it cuts such blocks from its heaps, of which
each thread may get one. A batch is some large arrays for a moment, between small objects that stay: so the heaps fill with holes that fit
nothing. But a block that is mapped by itself is cleared page by page each time: with a threshold of 256 KB that was an eighth of a worker's time.

What is left grows with the largest batch so far: measured beside other work, 9 MB in 40 minutes. So now and then the pages of what is free
inside the heaps are given back as well.
"""

from __future__ import annotations

import ctypes
from typing import Final

OPTIONS: Final = {  # by mallopt's own numbers
    -3: 1024 * 1024,  # M_MMAP_THRESHOLD: a block of at least this size is mapped by itself
    -1: 32 * 1024 * 1024,  # M_TRIM_THRESHOLD: the end of a heap is given back where it has more than this free
    -8: 2,  # M_ARENA_MAX: heaps for all threads
}


def give_memory_back() -> bool:
    """Set the allocator so; False where it is none that takes such settings."""
    mallopt = _function("mallopt")
    return mallopt is not None and all(mallopt(option, value) for option, value in OPTIONS.items())


def trim_heaps() -> None:
    """Give back the pages of what is free inside the heaps, where the allocator can: some milliseconds."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    try:
        found: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return found
