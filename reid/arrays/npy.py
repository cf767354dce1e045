"""Files of arrays, .npy: filled by several processes at once, checked, mapped and released."""

import io
import math
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.runtime.errors import InputError

# kind of number, as numpy classes them: how an error calls it
KINDS = {np.integer: "whole numbers", np.floating: "real numbers", np.float32: "float32"}


@dataclass(frozen=True)
class ArrayFile:
    """An existing .npy file of float32, to which processes write rows, or rows and columns.

    Each write opens the file for writing alone and changes no other byte. Memory mapping writes
    whole pages, so that over NFS one host would put old bytes where another wrote new ones.
    """

    file: Path
    shape: tuple[int, ...]

    def __setitem__(self, at: slice | tuple[slice, slice], values: np.ndarray) -> None:
        """Write float32 values to the places `[rows]` or, of a matrix, `[rows, columns]`. Raises
        OSError.
        """
        rows, columns = at if isinstance(at, tuple) else (at, slice(0, self.shape[1]))
        row, item = 4 * math.prod(self.shape[1:]), 4 * math.prod(self.shape[2:])
        first = self._header() + columns.start * item
        is_whole = columns.stop - columns.start == self.shape[1]
        descriptor = os.open(self.file, os.O_WRONLY)
        try:
            for number, part in enumerate([values] if is_whole else values, rows.start or 0):
                _write(descriptor, np.ascontiguousarray(part, np.float32), first + number * row)
        finally:
            os.close(descriptor)

    def _header(self) -> int:
        """The header's length in bytes, computed: other processes may be writing to the file."""
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": "<f4", "fortran_order": False, "shape": self.shape}
        )
        return buffer.tell()


def _write(descriptor: int, values: np.ndarray, at: int) -> None:
    content = memoryview(values.reshape(-1).view(np.uint8))
    while content:
        written = os.pwrite(descriptor, content, at)
        content, at = content[written:], at + written


def read(file: Path, kind: type[np.generic], wanted: str, is_mapped: bool = True) -> np.ndarray:
    """Read one array of numbers of a kind (np.integer, np.floating, np.float32), or memory-map it.

    Raises InputError, which says what was `wanted`, for a missing or broken file or another kind.
    """
    mode = "r" if is_mapped else None
    try:
        array = np.load(file, mmap_mode=mode, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(
            f"{file} is missing: wanted {wanted}. Run the stage that writes it."
        ) from None
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{file} cannot be read as an array: {error}. Run the stage that writes it anew."
        ) from None
    if not isinstance(array, np.ndarray) or not _is_of_kind(array.dtype, kind):
        raise InputError(
            f"{file} holds {getattr(array, 'dtype', 'several arrays')}, wanted one array of "
            f"{KINDS[kind]}: {wanted}. Save it with numpy.save as that."
        )
    return array


def _is_of_kind(dtype: np.dtype, kind: type[np.generic]) -> bool:
    """Whether numbers are of a kind; float32 in this machine's order of bytes alone."""
    return dtype == kind if kind is np.float32 else np.issubdtype(dtype, kind)


def release(array: np.ndarray) -> None:
    """Free the memory of a mapped array's pages; the next access reads them from cache or disk."""
    if isinstance(array, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        array._mmap.madvise(mmap.MADV_DONTNEED)
