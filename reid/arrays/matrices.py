"""Distance matrices between queries and gallery, and their files: `<protocol>/<distance>.npy`
[Q, G] float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.arrays import npy
from reid.arrays.names import DISTANCES, PROTOCOLS, RERANKED
from reid.arrays.npy import ArrayFile
from reid.runtime.errors import InputError


@dataclass(frozen=True)
class RowMatrix:
    """A matrix [Q, G] whose rows are computed when they are read, by an index or a slice.

    `sources` are the arrays that `rows` reads, so that their memory can be released.
    """

    shape: tuple[int, int]
    rows: Callable[[int | slice], np.ndarray]
    sources: tuple[np.ndarray, ...] = ()
    ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        return self.rows(rows)


Matrix = np.ndarray | RowMatrix


def row_sum(a: np.ndarray, b: np.ndarray) -> RowMatrix:
    """The sum of two matrices [Q, G], computed by rows."""
    return RowMatrix(a.shape, lambda rows: a[rows] + b[rows], (a, b))


def protocols_in(folder: str | Path) -> list[str]:
    """The protocols whose distances a folder holds. Raises InputError when there is none."""
    protocols = [protocol for protocol in PROTOCOLS if (Path(folder) / protocol).is_dir()]
    if not protocols:
        raise InputError(
            f"{folder} holds neither `full` nor `partial`: wanted a folder that the distances "
            "stage wrote."
        )
    return protocols


def open_files(
    folder: Path, names: tuple[str, ...], shape: tuple[int, int]
) -> dict[str, ArrayFile]:
    """A protocol's files of distances [Q, G], by name, to be filled by slices."""
    return {name: ArrayFile(folder / f"{name}.npy", shape) for name in names}


def create(folder: Path, names: tuple[str, ...], shape: tuple[int, int]) -> dict[str, ArrayFile]:
    """Create a folder with files for distances [Q, G], NaN until they are filled -> the files, as
    `open_files` does.
    """
    folder.mkdir(parents=True)
    return {name: npy.create(folder / f"{name}.npy", shape) for name in names}


def read(file: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """Memory-map distances [Q, G]. Raises InputError if missing, broken or of another shape."""
    matrix = npy.read(Path(file), np.floating, f"distances of {shape}")
    if matrix.shape != shape:
        raise InputError(
            f"{file} has shape {matrix.shape}, wanted {shape}, queries x gallery of the features. "
            "The two belong to different runs; run the stage that writes it anew."
        )
    return matrix


def rows_without_nan(matrix: Matrix, rows: int | slice) -> np.ndarray:
    """Some rows of a matrix [Q, G]. Raises InputError that names the first NaN among them."""
    values = np.asarray(matrix[rows])
    if values.size and not np.isfinite((values.min(), values.max())).all():
        first = rows if isinstance(rows, int) else rows.start or 0
        values = np.atleast_2d(values)
        row, column = np.argwhere(~np.isfinite(values))[0]
        got = "NaN" if np.isnan(values[row, column]) else "infinity"
        raise InputError(
            f"{_name(matrix)} of query {first + row} hold {got} at gallery image {column}: wanted "
            "numbers. Was the stage that writes them ended before it was done? Run it anew."
        )
    return values


def _name(matrix: Matrix) -> str:
    """What an error calls a matrix: its files, where it has any."""
    sources = matrix.sources if isinstance(matrix, RowMatrix) else (matrix,)
    files = [str(source.filename) for source in sources if isinstance(source, np.memmap)]
    return f"the distances{' in ' if files else ''}{' and '.join(files)}"


def release(matrix: Matrix) -> None:
    """Free the memory of a mapped matrix's pages; the next access reads them from cache or disk."""
    for source in matrix.sources if isinstance(matrix, RowMatrix) else (matrix,):
        npy.release(source)


def read_all(folder: Path, shape: tuple[int, int]) -> dict[str, Matrix]:
    """One protocol's distances {global, local, dmli, global_dmli} [Q, G], to be read by rows."""
    matrices = {name: read(folder / f"{name}.npy", shape) for name in DISTANCES}
    return {**matrices, "global_dmli": row_sum(matrices["global"], matrices["dmli"])}


def read_columns(distances: Path, reranked: Path, shape: tuple[int, int]) -> dict[str, Matrix]:
    """The tables' seven columns of one protocol, each [Q, G], in the order of `names.COLUMNS`."""
    return {
        **read_all(distances, shape),
        **{f"{name}_rk": read(reranked / f"{name}.npy", shape) for name in RERANKED},
    }
