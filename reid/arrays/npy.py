"""Files of arrays, .npy: filled by several processes at once, checked, mapped and released."""

import io
import math
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from reid.runtime.errors import InputError

# kind of number, as numpy classes them: how an error calls it
KINDS = {np.integer: "whole numbers", np.floating: "real numbers", np.float32: "float32"}
NUMBERS_AT_ONCE = 4_194_304  # of a new file: 16 MB


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
        first = len(self.header()) + columns.start * item
        is_whole = columns.stop - columns.start == self.shape[1]
        descriptor = os.open(self.file, os.O_WRONLY)
        try:
            for number, part in enumerate([values] if is_whole else values, rows.start or 0):
                _write(descriptor, np.ascontiguousarray(part, np.float32), first + number * row)
        finally:
            os.close(descriptor)

    def header(self) -> bytes:
        """The file's header, computed: other processes may be writing to the file."""
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": "<f4", "fortran_order": False, "shape": self.shape}
        )
        return buffer.getvalue()


def _write(descriptor: int, values: np.ndarray, at: int) -> None:
    content = memoryview(values.reshape(-1).view(np.uint8))
    while content:
        written = os.pwrite(descriptor, content, at)
        content, at = content[written:], at + written


def create(file: Path, shape: tuple[int, ...]) -> ArrayFile:
    """Create a file of float32, NaN until it is filled, so that what is unfinished never passes.

    By writing: the system takes ten times as long for each new page of a memory-mapped file, and a
    full disk kills the process there instead of raising OSError.
    """
    array_file, count = ArrayFile(file, shape), math.prod(shape)
    block = np.full(min(count, NUMBERS_AT_ONCE), np.nan, "<f4")
    with file.open("xb") as opened:
        opened.write(array_file.header())
        for start in range(0, count, NUMBERS_AT_ONCE):
            opened.write(block[: count - start])
    return array_file


def read(file: Path, kind: type[np.generic], wanted: str, is_mapped: bool = True) -> np.ndarray:
    """Read one array of numbers of a kind (np.integer, np.floating, np.float32), or memory-map it.

    Raises InputError, which says what was `wanted`, for a missing or broken file or another kind.
    Nothing is read before the file is seen to be as long as its header says.
    """
    try:
        with open_plain(file) as opened:
            return read_from(opened, file.stat().st_size, kind, is_mapped)
    except FileNotFoundError:
        raise InputError(
            f"{file} is missing: wanted {wanted}. Run the stage that writes it."
        ) from None
    except WrongKindError as error:
        raise InputError(
            f"{file} holds {error}, wanted one array of {KINDS[kind]}: {wanted}. Save it with "
            "numpy.save as that."
        ) from None
    except (ValueError, OSError) as error:
        raise InputError(
            f"{file} cannot be read as an array: {error}. Run the stage that writes it anew."
        ) from None


def open_plain(file: Path) -> BinaryIO:
    """Open a file to read; ValueError for what is none, such as a pipe, which would never end."""
    if file.exists() and not file.is_file():
        raise ValueError("it is not a plain file")
    return file.open("rb")


class WrongKindError(ValueError):
    """An array of another kind than the wanted one; says which."""


def read_from(
    opened: BinaryIO, size: int, kind: type[np.generic], is_mapped: bool = False
) -> np.ndarray:
    """Read or map the array of a kind in an open file of `size` bytes. Raises ValueError for any
    other content, WrongKindError for numbers of another kind, and OSError.
    """
    shape, is_by_columns, dtype = _read_header(opened)
    if not _is_of_kind(dtype, kind):
        raise WrongKindError(dtype)
    wanted = opened.tell() + math.prod(shape) * dtype.itemsize
    if size != wanted:
        raise ValueError(f"it has {size} bytes, its header says {wanted}")
    if is_by_columns and sum(side > 1 for side in shape) > 1:
        raise ValueError("it is stored by columns, wanted by rows, as numpy.ascontiguousarray does")
    try:
        if is_mapped and math.prod(shape):
            return np.memmap(opened, dtype, "r", opened.tell(), shape)
        return np.ndarray(shape, dtype, bytearray(opened.read()))
    except OverflowError as error:
        raise ValueError(error) from None


def _read_header(opened: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The shape, whether it is stored by columns, and the type of numbers. Raises ValueError."""
    start = opened.read(2)
    opened.seek(0)
    if start == b"PK":
        raise WrongKindError("several arrays")
    try:
        version = np.lib.format.read_magic(opened)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        header = readers[version](opened)
    except Exception as error:  # numpy parses it as Python, which raises whatever it likes
        raise ValueError(f"its header is broken ({str(error)[:100]})") from None
    if min(header[0], default=0) < 0:
        raise ValueError(f"its header is broken (shape {str(header[0])[:100]})")
    return header


def _is_of_kind(dtype: np.dtype, kind: type[np.generic]) -> bool:
    """Whether numbers are of a kind; float32 in this machine's order of bytes alone."""
    return dtype == kind if kind is np.float32 else np.issubdtype(dtype, kind)


def release(array: np.ndarray) -> None:
    """Free the memory of a mapped array's pages; the next access reads them from cache or disk."""
    if isinstance(array, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        array._mmap.madvise(mmap.MADV_DONTNEED)
