"""Arrays' files, .npy float32: filled by several processes at a time, each its own places; mapped,
and let go.
"""

import io
import math
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ArrayFile:
    """An array's file, made by another, to be written to by rows or by rows and columns; of one
    process or several.

    Bytes go to their places through a file that is opened for writing alone. Mapped memory goes by
    whole pages, so that over NFS one host would write old bytes where another wrote new ones.
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
        """Its length, without reading what others may be writing beside."""
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


def release(array: np.ndarray) -> None:
    """Give back the memory of a mapped array's pages; the next access finds them in the system's
    cache, or reads.
    """
    if isinstance(array, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        array._mmap.madvise(mmap.MADV_DONTNEED)
