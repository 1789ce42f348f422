"""The compiler of the hot path: numba, with a cache on disk that knows what it was compiled from.

numba's own cache looks only at the file of the function it compiles, not at the files of the functions and constants that one uses; after a
change there it would run old machine code. So the cache directory is named by a digest of every module of the packages that hold compiled code.
And numba takes a file that lies elsewhere, or has another time, for another one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import numba
from numba import config, types
from numba.core.registry import CPUDispatcher

P = ParamSpec("P")
R = TypeVar("R")

_ENGINE: Final = Path(__file__).resolve().parent.parent


def _sources() -> list[Path]:
    """The modules of the packages that hold compiled code."""
    modules = sorted(_ENGINE.rglob("*.py"))
    packages = {module.parent for module in modules if b"@compiled" in module.read_bytes()}
    return [module for module in modules if module.parent in packages]


def _own_directory() -> Path:
    digest = hashlib.sha256(numba.__version__.encode())
    for source in _sources():
        digest.update(source.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "credit-limit-engine" / f"kernels-{digest.hexdigest()[:16]}"


# Measured: the kernel's loops wrap around rings, so vectorising them costs a fifth of its speed and half of its time to compile.
for _name, _value in (("NUMBA_OPT", "1"), ("NUMBA_LOOP_VECTORIZE", "0"), ("NUMBA_CACHE_DIR", str(_own_directory()))):
    os.environ.setdefault(_name, _value)
config.reload_config()  # type: ignore[no-untyped-call]


def cache_mark() -> Path:
    """A file in the cache directory that is there when everything of these very files has been compiled: who sees to that makes it."""
    files = hashlib.sha256("".join(f"{source}\0{source.stat().st_mtime_ns}\0" for source in _sources()).encode())
    return Path(config.CACHE_DIR) / f"complete-{files.hexdigest()[:16]}"  # type: ignore[attr-defined]


def general(kind: Any) -> Any:
    """The type of a value of which numba knows that it is a constant or a member of an enumeration."""
    return types.int64 if isinstance(kind, types.IntEnumMember) else types.unliteral(kind)  # type: ignore[no-untyped-call]


class Kernel(CPUDispatcher):
    """A compiled function that is compiled once for the types that it is called with by other compiled ones: numba would do so once more for each
    constant and each enumeration. Measured: 48 functions of 220, and a third of the time."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """See numba's ``Dispatcher``."""
        return super().get_call_template(tuple(map(general, args)), {name: general(kind) for name, kind in dict(kws).items()})


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` at its first call for the types of that call; machine code is kept on disk.

    No Python objects inside, and no allocation: without numba's runtime (``_nrt``) arrays are views that nobody counts references of,
    which is most of what a small function on arrays would otherwise do.
    """
    kernel = Kernel(function, targetoptions={"nopython": True, "error_model": "numpy", "_nrt": False, "nogil": True})
    kernel.enable_caching()
    return kernel
