"""Distance matrices between queries and gallery and their files: `<protocol>/<distance>.npy`, [Q,
G] float32.
"""

from pathlib import Path

import numpy as np

from reid.arrays import npy
from reid.arrays.neighbours import RANKED
from reid.arrays.npy import ArrayFile
from reid.runtime.errors import InputError

PROTOCOLS = {
    "full": "query",
    "partial": "query_partial",
}  # protocol: the split its queries come from


def protocols_in(folder: str | Path) -> list[str]:
    """The protocols whose distances a folder holds. Raises InputError when there is none."""
    found = [protocol for protocol in PROTOCOLS if (Path(folder) / protocol).is_dir()]
    if not found:
        raise InputError(
            f"{folder} holds neither `full` nor `partial`: wanted a folder that the distances "
            "stage wrote."
        )
    return found


def create(folder: Path, names: tuple[str, ...], shape: tuple[int, int]) -> dict[str, ArrayFile]:
    """Make files for distances [Q, G] in a new folder -> the files, to be filled by slices, by
    name.

    By writing: the system takes ten times as long for each page of a memory-mapped file that is
    new, and a full disk kills the process there instead of raising OSError.
    """
    folder.mkdir(parents=True)
    files = {name: ArrayFile(folder / f"{name}.npy", shape) for name in names}
    for one in files.values():
        np.lib.format.open_memmap(one.file, "w+", np.float32, shape)
    return files


def read(file: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """Memory-map distances [Q, G]. Raises InputError if missing or broken, or misshapen."""
    try:
        matrix = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(
            f"{file} is missing: wanted distances of {shape}. Run the stage that writes it."
        ) from None
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{file} cannot be read as an array: {error}. Run the stage that writes it anew."
        ) from None
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind != "f":
        raise InputError(
            f"{file} holds {getattr(matrix, 'dtype', 'several arrays')}, wanted distances, float32."
        )
    if matrix.shape != shape:
        raise InputError(
            f"{file} has shape {matrix.shape}, wanted {shape}, queries x gallery of the features. "
            "The two belong to different runs; run the stage that writes it anew."
        )
    return matrix


class Sum:
    """The sum of two matrices [Q, G], made of the rows that are asked for and never as a whole."""

    def __init__(self, one: np.ndarray, other: np.ndarray) -> None:
        self.parts, self.shape, self.ndim = (one, other), one.shape, one.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        one, other = self.parts
        return one[rows] + other[rows]


Matrix = np.ndarray | Sum


def release(matrix: Matrix) -> None:
    """Give back the memory of a mapped matrix's pages; the next access finds them in the system's
    cache, or reads.
    """
    for part in matrix.parts if isinstance(matrix, Sum) else (matrix,):
        npy.release(part)


def read_all(folder: Path, shape: tuple[int, int]) -> dict[str, Matrix]:
    """The distances of one protocol, {global, local, dmli, global_dmli} [Q, G], to be read by
    rows.
    """
    matrices = {name: read(folder / f"{name}.npy", shape) for name in ("global", "local", "dmli")}
    return {**matrices, "global_dmli": Sum(matrices["global"], matrices["dmli"])}


def read_columns(distances: Path, reranked: Path, shape: tuple[int, int]) -> dict[str, Matrix]:
    """The tables' seven columns of one protocol, each [Q, G], in the tables' order."""
    return {
        **read_all(distances, shape),
        **{f"{name}_rk": read(reranked / f"{name}.npy", shape) for name in RANKED},
    }
