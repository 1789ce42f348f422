"""The compiler of the hot path: numba, with a cache on disk that knows what it was compiled from.

Theory of operation. numba's own cache looks only at the file of the function it compiles, not at the files of the functions and constants that
one uses; after a change there it would run old machine code. So the cache directory is named by a digest of every module of the packages that
hold compiled code. And numba takes a file that lies elsewhere, or has another time, for another one.

numba optimises each function, makes machine code of it, and does both again within each of its callers, and of their callers. Here a function
has two forms. As compiled code calls it (``Callee``) it is only lowered to LLVM's language. As Python calls it (``Kernel``) it is linked with
all that it calls, at any depth, and only then optimised and made machine code, which is kept on disk. Measured: of 250 functions a worker
calls 24 from Python, and compiling takes 35 CPU-seconds instead of 55 and 58. What numba rewrites for whole arrays (``no_rewrites``) is not asked
for, since there are none; 7 % less.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import numba
from numba import config, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, Flags
from numba.core.registry import CPUDispatcher

P = ParamSpec("P")
R = TypeVar("R")

_ENGINE: Final = Path(__file__).resolve().parent.parent


def _sources() -> list[Path]:
    """The modules of the packages that hold compiled code."""
    modules = sorted(_ENGINE.rglob("*.py"))
    packages = {module.parent for module in modules if b"@compiled" in module.read_bytes()}
    return [module for module in modules if module.parent in packages]


def own_directory() -> Path:
    """Where the machine code of the modules lies as they are now."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in _sources():
        digest.update(source.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "credit-limit-engine" / f"kernels-{digest.hexdigest()[:16]}"


# Measured: the kernel's loops wrap around rings, so vectorising them costs a fifth of its speed and half of its time to compile.
for _name, _value in (("NUMBA_OPT", "1"), ("NUMBA_LOOP_VECTORIZE", "0"), ("NUMBA_CACHE_DIR", str(own_directory()))):
    os.environ.setdefault(_name, _value)
config.reload_config()  # type: ignore[no-untyped-call]


def cache_mark() -> Path:
    """A file in the cache directory that is there when everything of these very files has been compiled: who sees to that makes it."""
    files = hashlib.sha256("".join(f"{source}\0{source.stat().st_mtime_ns}\0" for source in _sources()).encode())
    return Path(config.CACHE_DIR) / f"complete-{files.hexdigest()[:16]}"  # type: ignore[attr-defined]


def general(kind: Any) -> Any:
    """The type of a value of which numba knows that it is a constant or a member of an enumeration."""
    return types.int64 if isinstance(kind, types.IntEnumMember) else types.unliteral(kind)  # type: ignore[no-untyped-call]


class SettledFlags(Flags):
    """Flags of the compiler that change no more. For each call whose types it looks up numba hashes them and compares them with those of other
    calls, all forty: which is a fifth of the time that compiling takes."""

    __slots__ = ("_hash",)

    def __init__(self, flags: Flags) -> None:
        super().__init__(flags)  # type: ignore[no-untyped-call]
        self._hash = hash(repr(flags))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Flags) and self._values == other._values)

    def copy(self) -> SettledFlags:
        """See ``Flags``: nobody changes it."""
        return self


@cache
def settled(flags: SettledFlags) -> SettledFlags:
    """The one of these flags that is compared with itself."""
    return flags


class LoweredLibrary(JITCodeLibrary):
    """The code of a function that compiled code calls, as its callers take it in."""

    def finalize(self) -> None:
        """Leave it as it is."""
        self._finalized = True


class WholeLibrary(JITCodeLibrary):
    """The code of a function that Python calls, and of all that it calls."""

    def finalize(self) -> None:
        """Link, optimise, and make machine code."""
        found: dict[Any, None] = {}
        to_link = list(self._linking_libraries)
        while to_link:
            library = to_link.pop()
            if library not in found:
                found[library] = None
                to_link += library._linking_libraries
        self._linking_libraries = list(found)
        super().finalize()  # type: ignore[no-untyped-call]


class LoweringCompiler(Compiler):
    """Goes as far as ``LoweredLibrary``."""

    def __init__(self, typing_context: Any, target_context: Any, _: Any, args: Any, return_type: Any, flags: Any, local_types: Any) -> None:
        flags.no_rewrites = flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        library = LoweredLibrary(target_context.codegen(), "callee")  # type: ignore[no-untyped-call]
        super().__init__(typing_context, target_context, library, args, return_type, settled(SettledFlags(flags)), local_types)  # type: ignore[no-untyped-call]


class WholeCompiler(Compiler):
    """Goes all the way, with a ``WholeLibrary``."""

    def __init__(self, typing_context: Any, target_context: Any, _: Any, args: Any, return_type: Any, flags: Any, local_types: Any) -> None:
        flags.no_rewrites = True
        library = WholeLibrary(target_context.codegen(), "kernel")  # type: ignore[no-untyped-call]
        library.enable_object_caching()  # type: ignore[no-untyped-call]
        super().__init__(typing_context, target_context, library, args, return_type, settled(SettledFlags(flags)), local_types)  # type: ignore[no-untyped-call]


class Callee(CPUDispatcher):
    """A function as other compiled ones call it, lowered once for the types that they call it with: numba would do so once more for each
    constant and each enumeration. Measured: 48 functions of 220, and a third of the time."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """See numba's ``Dispatcher``."""
        return super().get_call_template(tuple(map(general, args)), {name: general(kind) for name, kind in dict(kws).items()})

    def add_overload(self, cres: Any) -> None:
        """Tell numba of a form that has no machine code, and so no address that it would be known by."""
        args = tuple(cres.signature.args)
        known_by = self, args
        self.targetctx.insert_user_function(known_by, cres.fndesc, [cres.library])  # type: ignore[no-untyped-call]
        self.overloads[args] = cres._replace(entry_point=known_by)


class Kernel(CPUDispatcher):
    """A function as Python calls it, and for compiled code its ``Callee``."""

    def __init__(self, function: Callable[..., Any], targetoptions: dict[str, Any]) -> None:
        super().__init__(function, targetoptions=targetoptions, pipeline_class=WholeCompiler)
        self._callee = Callee(function, targetoptions=targetoptions, pipeline_class=LoweringCompiler)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """See numba's ``Dispatcher``: what compiled code is to call."""
        return self._callee.get_call_template(args, kws)

    def get_overload(self, sig: Any) -> Any:
        """See numba's ``Dispatcher``: what compiled code calls."""
        return self._callee.get_overload(sig)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` at its first call for the types of that call; machine code is kept on disk.

    No Python objects inside, and no allocation: without numba's runtime (``_nrt``) arrays are views that nobody counts references of,
    which is most of what a small function on arrays would otherwise do.
    """
    kernel = Kernel(function, targetoptions={"nopython": True, "error_model": "numpy", "_nrt": False, "nogil": True})
    kernel.enable_caching()
    return kernel
