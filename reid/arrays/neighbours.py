"""Each image's nearest neighbours by each re-ranked distance, and their file, neighbours.npz.

They stand for the (Q + G) x (Q + G) distances in re-ranking, so that no stage holds those.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.arrays.names import RERANKED
from reid.arrays.npy import open_plain, read_from
from reid.runtime.errors import InputError

FIELDS = ("indices", "distances", "largest")


@dataclass(frozen=True)
class Neighbours:
    """Of N = Q + G images, queries first: the K nearest and their distances [N, K], ascending by
    (distance, index), and the largest distance of each [N].
    """

    indices: np.ndarray
    distances: np.ndarray
    largest: np.ndarray


def write(file: Path, neighbours: dict[str, Neighbours]) -> None:
    """Write each distance's `<distance>_indices`, `<distance>_distances`, `<distance>_largest`."""
    arrays = {
        f"{name}_{field}": array
        for name, nearest in neighbours.items()
        for field, array in vars(nearest).items()
    }
    np.savez(file, **arrays)


def read(file: str | Path) -> dict[str, Neighbours]:
    """Read neighbours.npz -> the neighbours by distance. Raises InputError for a missing or
    broken file.
    """
    file = Path(file)
    try:
        with open_plain(file) as opened, zipfile.ZipFile(opened) as arrays:
            neighbours = {
                name: Neighbours(*(_read_member(arrays, f"{name}_{field}") for field in FIELDS))
                for name in RERANKED
            }
    except Exception as error:  # zipfile has many for files cut short or of another content
        raise InputError(
            f"{file} holds no neighbours: {str(error)[:300]}. Run the distances stage first."
        ) from None
    for name, nearest in neighbours.items():
        _check_types(nearest, f"{name} of {file}")
        _check_numbers(nearest, f"{name} of {file}")
    return neighbours


def _read_member(arrays: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read one array of numbers. Raises ValueError for other content, and where it is compressed,
    since nothing then says how large it is.
    """
    member = arrays.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed, wanted as numpy.savez stores it")
    with arrays.open(member) as opened:
        return read_from(opened, member.file_size, np.number)


def _check_types(nearest: Neighbours, where: str) -> None:
    """Raise InputError unless the arrays are int [N, K], float [N, K] and float [N]."""
    indices, distances, largest = nearest.indices, nearest.distances, nearest.largest
    is_shaped = indices.ndim == 2 and indices.shape == distances.shape
    is_shaped = is_shaped and largest.shape == indices.shape[:1]
    kinds = "".join(array.dtype.kind for array in (indices, distances, largest))
    if not is_shaped or kinds != "iff":
        raise InputError(
            f"the neighbours by {where} are indices {indices.dtype} {indices.shape}, distances "
            f"{distances.dtype} {distances.shape}, largest {largest.dtype} {largest.shape}; wanted "
            "whole numbers [N, K], numbers [N, K] and [N]. Run the distances stage anew."
        )


def _check_numbers(nearest: Neighbours, where: str) -> None:
    """Raise InputError unless indices are of images 0 ... N - 1 and distances are finite."""
    is_image = (nearest.indices >= 0) & (nearest.indices < len(nearest.largest))
    if not (is_image.all() and np.isfinite(nearest.distances).all()):
        raise InputError(
            f"the neighbours by {where} name images that are not there, or distances that are no "
            "numbers."
        )
    if not np.isfinite(nearest.largest).all():
        raise InputError(
            f"the largest distances by {where} are not all numbers. Run the distances stage anew."
        )
