"""Loops over rows, compiled by Numba, and run in threads that share no writes: bytes do not depend
on their number.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba

REGROUPED = frozenset(
    {"contract", "reassoc"}
)  # sums may be regrouped, always in the same way, to run on vectors
Function = TypeVar("Function", bound=Callable)
Found = TypeVar("Found")


def compiled(function: Function, liberties: frozenset[str] = REGROUPED) -> Function:
    """Compile a function at its first call, without Python's lock, and keep the machine code for
    later processes.

    `liberties` are those that the compiler may take with floats: LLVM's fast-math flags.

    It is kept beside the source, else in the user's cache folder, else, where neither can be
    written, not at all. Numba does not notice changes in other files, so compiled functions call
    only those of their own file.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(liberties)}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # there is no place to keep it
        return numba.njit(**options)(function)


def in_threads(work: Callable[[slice], Found], rows: int, at_once: int) -> Iterator[Found]:
    """`work` on `at_once` of the rows after another, in `threads()` threads -> what it returns, in
    the rows' order.
    """
    slices = [slice(start, min(start + at_once, rows)) for start in range(0, rows, at_once)]
    with ThreadPoolExecutor(threads()) as pool:
        yield from pool.map(work, slices)


def threads() -> int:
    """OMP_NUM_THREADS, as for torch and BLAS, else the number of cores."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(int(told), 1) if told.isdecimal() else os.cpu_count() or 1
