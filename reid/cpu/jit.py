"""Loops over rows, compiled by Numba and run in threads that share no writes, so that bytes do not
depend on the number of threads.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import numba

from reid.cpu.code_cache import CodeCache

# sums may be regrouped, always in the same way, to run on vectors
REGROUPED = frozenset({"contract", "reassoc"})
Function = TypeVar("Function", bound=Callable)
Result = TypeVar("Result")


def compiled(function: Function, liberties: frozenset[str] = REGROUPED) -> Function:
    """Compile a function at its first call, to run without Python's lock, and cache its code.

    `liberties` are LLVM's fast-math flags: what the compiler may do with floats. The cache
    (`code_cache`) lies beside the source, else in the user's cache folder; where neither can be
    written there is none. It does not notice changes in other files, so compiled functions call
    only those of their file.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": sorted(liberties)}
    dispatcher = numba.njit(**{**options, "fastmath": set(liberties)})(function)
    with suppress(RuntimeError, OSError):  # there is no place for a cache
        dispatcher._cache = CodeCache(function, options)
    return dispatcher


def in_threads(work: Callable[[slice], Result], rows: int, at_once: int) -> Iterator[Result]:
    """Call `work` on slices of `at_once` rows, in `threads()` threads -> its results, in order."""
    slices = [slice(start, min(start + at_once, rows)) for start in range(0, rows, at_once)]
    with ThreadPoolExecutor(threads()) as pool:
        yield from pool.map(work, slices)


def threads() -> int:
    """OMP_NUM_THREADS, as for torch and BLAS, else the number of cores."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return max(int(setting), 1) if setting.isdecimal() else os.cpu_count() or 1
