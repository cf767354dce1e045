"""Each image's nearest neighbours by each re-ranked distance, their running lists and their file.

What re-ranking needs of the (Q + G) x (Q + G) distances, so that no stage holds those.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.errors import InputError

RANKED = ("global", "dmli", "global_dmli")  # the distances that are re-ranked


@dataclass(frozen=True)
class Neighbours:
    """Of N = Q + G images, queries first: the K nearest [N, K], ascending by (distance, index), and the largest [N]."""

    indices: np.ndarray
    distances: np.ndarray
    largest: np.ndarray


class NearestLists:
    """Running lists of each image's K nearest images, and its largest distance, while blocks of distances come by.

    A distance and its image are one int64 key, the bits of the float (which order as the float does, from 0 up) above
    the image's index, so that a partition of keys orders by (distance, index).
    """

    def __init__(self, images: int, nearest: int) -> None:
        self.keys = np.full((images, nearest), np.iinfo(np.int64).max, np.int64)
        self.largest = np.zeros(images, np.float32)

    def add(self, rows: slice, distances: np.ndarray, first: int) -> None:
        """Take in distances [R, M] of the images `rows` to the images `first` ... `first + M - 1`."""
        bits = np.ascontiguousarray(distances, np.float32).view(np.int32).astype(np.int64)
        keys = np.concatenate([self.keys[rows], (bits << 32) | np.arange(first, first + distances.shape[1])], axis=1)
        nearest = self.keys.shape[1]
        self.keys[rows] = np.partition(keys, nearest - 1, axis=1)[:, :nearest]
        self.largest[rows] = np.maximum(self.largest[rows], distances.max(1))

    def shifted(self, first: int, images: int) -> "NearestLists":
        """A copy for a set of `images` images in which these ones are the last, from index `first` on."""
        copy = NearestLists(images, self.keys.shape[1])
        empty = self.keys == np.iinfo(np.int64).max
        copy.keys[first:] = np.where(empty, self.keys, self.keys + first)
        copy.largest[first:] = self.largest
        return copy

    def neighbours(self) -> Neighbours:
        """The lists in order, cut to the images that there are."""
        keys = np.sort(self.keys, axis=1)[:, : len(self.keys)]
        distances = (keys >> 32).astype(np.int32).view(np.float32)
        return Neighbours(keys & 0xFFFFFFFF, distances, self.largest)


def write(file: Path, neighbours: dict[str, Neighbours]) -> None:
    """Write neighbours.npz: `<distance>_indices`, `<distance>_distances` and `<distance>_largest` of each distance."""
    arrays = {f"{name}_{field}": array for name, one in neighbours.items() for field, array in vars(one).items()}
    np.savez(file, **arrays)


def read(file: str | Path) -> dict[str, Neighbours]:
    """Read neighbours.npz. Raises InputError when it is missing or broken."""
    fields = ("indices", "distances", "largest")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: Neighbours(*(arrays[f"{name}_{field}"] for field in fields)) for name in RANKED}
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise InputError(f"{file} holds no neighbours: {error}. Run the distances stage first.") from None
