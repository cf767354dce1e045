"""Each image's nearest neighbours by each re-ranked distance, their running lists and their file.

What re-ranking needs of the (Q + G) x (Q + G) distances, so that no stage holds those.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.runtime.errors import InputError

RANKED = ("global", "dmli", "global_dmli")  # the distances that are re-ranked
NO_IMAGE = np.iinfo(np.int64).max  # the key of an empty place
COLUMNS_AT_ONCE = (
    1024  # of a block: few enough that the keys of those that are near take little room
)


@dataclass(frozen=True)
class Neighbours:
    """Of N = Q + G images, queries first: the K nearest [N, K], ascending by (distance, index),
    and the largest [N].
    """

    indices: np.ndarray
    distances: np.ndarray
    largest: np.ndarray


class NearestLists:
    """Running lists of each image's K nearest images, and its largest distance, while blocks of
    distances come by.

    A distance and its image are one int64 key, the bits of the float (which order as the float
    does, from 0 up) above the image's index, so that a partition of keys orders by (distance,
    index). What is farther than the K-th nearest so far is never made a key: of a large block that
    is nearly all.
    """

    def __init__(self, images: int, nearest: int) -> None:
        self.keys = np.full((images, nearest), NO_IMAGE, np.int64)
        self.largest = np.zeros(images, np.float32)

    def add(self, rows: slice, distances: np.ndarray, first: int) -> None:
        """Take in distances [R, M] of the images `rows` to the images `first` ... `first + M -
        1`.
        """
        self.largest[rows] = np.maximum(self.largest[rows], distances.max(1))
        limits = self._limits(rows, distances)
        for start in range(0, distances.shape[1], COLUMNS_AT_ONCE):
            part = distances[:, start : start + COLUMNS_AT_ONCE]
            near = np.flatnonzero(
                np.ascontiguousarray(part <= limits[:, None])
            )  # 1-D is 9 x faster than `nonzero`
            row, column = np.divmod(near, part.shape[1])
            bits = part[row, column].astype(np.float32).view(np.int32).astype(np.int64)
            self._insert(rows, row, (bits << 32) | (column + (first + start)))

    def _limits(self, rows: slice, distances: np.ndarray) -> np.ndarray:
        """What each row's K-th nearest is no farther than [R]: by its list, or by the block where
        that is short.
        """
        farthest, nearest = self.keys[rows].max(1), self.keys.shape[1]
        full = farthest != NO_IMAGE
        if full.all():
            return _distances(farthest)
        block = np.full(len(full), np.inf, np.float32)
        if distances.shape[1] >= nearest:
            values = np.array(distances, np.float32, order="C")
            values.partition(nearest - 1, axis=1)
            block = values[:, nearest - 1]
        return np.where(full, _distances(farthest), block)

    def _insert(self, rows: slice, row: np.ndarray, new: np.ndarray) -> None:
        """Take in keys [P] for the rows [P] of the slice, in ascending order."""
        lists, nearest = self.keys[rows], self.keys.shape[1]
        counts = np.bincount(row, minlength=len(lists))
        keys = np.full((len(lists), nearest + counts.max(initial=0)), NO_IMAGE)
        keys[:, :nearest] = lists
        keys[row, nearest + np.arange(len(row)) - (np.cumsum(counts) - counts)[row]] = new
        self.keys[rows] = np.partition(keys, nearest - 1, axis=1)[:, :nearest]

    def shifted(self, first: int, images: int) -> "NearestLists":
        """A copy for a set of `images` images in which these ones are the last, from index `first`
        on.
        """
        copy = NearestLists(images, self.keys.shape[1])
        empty = self.keys == NO_IMAGE
        copy.keys[first:] = np.where(empty, self.keys, self.keys + first)
        copy.largest[first:] = self.largest
        return copy

    def neighbours(self) -> Neighbours:
        """The lists in order, cut to the images that there are."""
        keys = np.sort(self.keys, axis=1)[:, : len(self.keys)]
        return Neighbours(keys & 0xFFFFFFFF, _distances(keys), self.largest)


def _distances(keys: np.ndarray) -> np.ndarray:
    return (keys >> 32).astype(np.int32).view(np.float32)


def write(file: Path, neighbours: dict[str, Neighbours]) -> None:
    """Write neighbours.npz: `<distance>_indices`, `<distance>_distances` and `<distance>_largest`
    of each distance.
    """
    arrays = {
        f"{name}_{field}": array
        for name, one in neighbours.items()
        for field, array in vars(one).items()
    }
    np.savez(file, **arrays)


def read(file: str | Path) -> dict[str, Neighbours]:
    """Read neighbours.npz. Raises InputError when it is missing or broken."""
    fields = ("indices", "distances", "largest")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {
                name: Neighbours(*(arrays[f"{name}_{field}"] for field in fields))
                for name in RANKED
            }
    except (
        OSError,
        KeyError,
        ValueError,
        EOFError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(
            f"{file} holds no neighbours: {error}. Run the distances stage first."
        ) from None
    for name, one in found.items():
        _check(one, f"{name} of {file}")
    return found


def _check(one: Neighbours, where: str) -> None:
    """Raise InputError unless the arrays are [N, K], [N, K] and [N], of images 0 ... N - 1 and
    finite distances.
    """
    images = len(one.largest) if one.largest.ndim == 1 else -1
    is_shaped = (
        one.indices.ndim == 2
        and one.indices.shape == one.distances.shape
        and len(one.indices) == images
    )
    is_typed = (
        one.indices.dtype.kind == "i" and one.distances.dtype.kind == one.largest.dtype.kind == "f"
    )
    if not is_shaped or not is_typed:
        raise InputError(
            f"the neighbours by {where} are indices {one.indices.dtype} {one.indices.shape}, "
            f"distances {one.distances.dtype} {one.distances.shape}, largest {one.largest.dtype} "
            f"{one.largest.shape}; wanted whole numbers [N, K], numbers [N, K] and [N]. Run the "
            "distances stage anew."
        )
    if not (
        ((one.indices >= 0) & (one.indices < images)).all() and np.isfinite(one.distances).all()
    ):
        raise InputError(
            f"the neighbours by {where} name images that are not there, or distances that are no "
            "numbers."
        )
    if not np.isfinite(one.largest).all():
        raise InputError(
            f"the largest distances by {where} are not all numbers. Run the distances stage anew."
        )
