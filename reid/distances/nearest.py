"""Running lists of each image's nearest neighbours, while blocks of distances come by."""

import numpy as np

from reid.arrays.neighbours import Neighbours

EMPTY = np.iinfo(np.int64).max  # the key of a place without an image
COLUMNS_AT_ONCE = 1024  # of a block: the keys of the near ones then take little memory


class NearestLists:
    """Each of N images' K nearest so far, as keys [N, K], and its largest distance [N].

    A distance and its image are one int64 key, the bits of the float (which order as the float
    does, from 0 up) above the image's index, so that a partition of keys orders by (distance,
    index). Of what is farther than the K-th nearest so far no key is made: in a large block that
    is nearly all.
    """

    def __init__(self, images: int, nearest: int) -> None:
        self.keys = np.full((images, nearest), EMPTY, np.int64)
        self.largest = np.zeros(images, np.float32)

    def add(self, rows: slice, distances: np.ndarray, first: int) -> None:
        """Add distances [R, M] of the images `rows` to the images `first` ... `first + M - 1`."""
        self.largest[rows] = np.maximum(self.largest[rows], distances.max(1))
        limits = self._limits(rows, distances)
        for start in range(0, distances.shape[1], COLUMNS_AT_ONCE):
            part = distances[:, start : start + COLUMNS_AT_ONCE]
            # in 1-D: 9 x faster than `nonzero`
            near = np.flatnonzero(np.ascontiguousarray(part <= limits[:, None]))
            row, column = np.divmod(near, part.shape[1])
            bits = part[row, column].astype(np.float32).view(np.int32).astype(np.int64)
            self._insert(rows, row, (bits << 32) | (column + (first + start)))

    def _limits(self, rows: slice, distances: np.ndarray) -> np.ndarray:
        """An upper limit of each row's K-th nearest distance [R].

        By its list, or by the block of distances [R, M] where the list is not full.
        """
        farthest, nearest = self.keys[rows].max(1), self.keys.shape[1]
        is_full = farthest != EMPTY
        if is_full.all():
            return _distances(farthest)
        block = np.full(len(is_full), np.inf, np.float32)
        if distances.shape[1] >= nearest:
            values = np.array(distances, np.float32, order="C")
            values.partition(nearest - 1, axis=1)
            block = values[:, nearest - 1]
        return np.where(is_full, _distances(farthest), block)

    def _insert(self, rows: slice, row: np.ndarray, new: np.ndarray) -> None:
        """Add keys [P] to the lists of the rows [P] of the slice, which ascend."""
        lists, nearest = self.keys[rows], self.keys.shape[1]
        counts = np.bincount(row, minlength=len(lists))
        keys = np.full((len(lists), nearest + counts.max(initial=0)), EMPTY)
        keys[:, :nearest] = lists
        keys[row, nearest + np.arange(len(row)) - (np.cumsum(counts) - counts)[row]] = new
        self.keys[rows] = np.partition(keys, nearest - 1, axis=1)[:, :nearest]

    def merge(self, rows: slice, lists: list[np.ndarray]) -> None:
        """Replace the rows' lists by the nearest of several keys [R, K], of other pairs each."""
        nearest = self.keys.shape[1]
        keys = np.concatenate(lists, 1)
        self.keys[rows] = np.partition(keys, nearest - 1, axis=1)[:, :nearest]

    def shifted(self, first: int, images: int) -> "NearestLists":
        """A copy for `images` images, of which these are the last, from index `first` on."""
        copy = NearestLists(images, self.keys.shape[1])
        is_empty = self.keys == EMPTY
        copy.keys[first:] = np.where(is_empty, self.keys, self.keys + first)
        copy.largest[first:] = self.largest
        return copy

    def neighbours(self) -> Neighbours:
        """The lists in ascending order, at most N long."""
        keys = np.sort(self.keys, axis=1)[:, : len(self.keys)]
        return Neighbours(keys & 0xFFFFFFFF, _distances(keys), self.largest)


def _distances(keys: np.ndarray) -> np.ndarray:
    """The distances in keys, any shape."""
    return (keys >> 32).astype(np.int32).view(np.float32)
