"""k-reciprocal encodings as sparse rows, and the compiled loops of re-ranking over them (see
`reid.reranking.rerank`).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from reid.jit import compiled, in_threads

IMAGES_AT_ONCE = 512


class Rows(NamedTuple):
    """A sparse matrix: row i has its `columns` (int32) and `values` (float32) from starts[i] up to
    starts[i + 1].
    """

    starts: ndarray
    columns: ndarray
    values: ndarray


def reciprocal(indices: ndarray, k: int) -> ndarray:
    """Neighbours [N, K] int32 -> which of an image's k + 1 nearest have it among theirs [N, k +
    1].
    """
    found = np.zeros((len(indices), min(k + 1, indices.shape[1])), np.bool_)
    list(
        in_threads(
            lambda rows: _mark(rows.start, rows.stop, indices, found), len(indices), IMAGES_AT_ONCE
        )
    )
    return found


def expanded_sets(indices: ndarray, distances: ndarray, k1: int) -> Rows:
    """Neighbours [N, K], int32 and float32 -> distances [N, N] to the members of each R*(i)
    (equation 5 of the paper).

    NaN where the list of image i does not hold the member. Candidates are those of the original
    R(i), not of the growing set.
    """
    close, closer = reciprocal(indices, k1), reciprocal(indices, int(np.round(k1 / 2)))

    def of(rows: slice) -> tuple[ndarray, ndarray, ndarray]:
        return _expand(rows.start, rows.stop, indices, distances, close, closer)

    return _joined(in_threads(of, len(indices), IMAGES_AT_ONCE))


def means(encoding: Rows, nearest: ndarray) -> Rows:
    """Encoding [N, N] and some images of each [N, k2] int32 -> the mean of their rows [N, N]."""
    return _joined(
        in_threads(
            lambda rows: _means(rows.start, rows.stop, nearest, encoding),
            len(nearest),
            IMAGES_AT_ONCE,
        )
    )


@compiled
def inverted_lists(encoding, first):
    """Encoding [N, N] -> rows [N, N - first]: for each column, the images that have it, numbered
    from `first` on.
    """
    images = len(encoding.starts) - 1
    starts = np.zeros(images + 1, np.int64)
    for p in range(encoding.starts[first], encoding.starts[images]):
        starts[encoding.columns[p] + 1] += 1
    starts = np.cumsum(starts)
    free = starts.copy()
    holders, values = np.empty(starts[images], np.int32), np.empty(starts[images], np.float32)
    for i in range(first, images):
        for p in range(encoding.starts[i], encoding.starts[i + 1]):
            place = free[encoding.columns[p]]
            holders[place], values[place] = i - first, encoding.values[p]
            free[encoding.columns[p]] += 1
    return Rows(starts, holders, values)


@compiled
def jaccard_distances(start, stop, encoding, holders, gallery):
    """Rows `start` to `stop` of the encoding and inverted lists of G gallery images -> Jaccard
    distances [R, G].

    `1 - m / (2 - m)`, m the sum of minima, along inverted lists (equation 10; rows have sum 1).
    """
    found = np.empty((stop - start, gallery), np.float32)
    minima = np.empty(gallery)
    for i in range(start, stop):
        minima[:] = 0
        for p in range(encoding.starts[i], encoding.starts[i + 1]):
            column, value = encoding.columns[p], encoding.values[p]
            for h in range(holders.starts[column], holders.starts[column + 1]):
                minima[holders.columns[h]] += min(value, holders.values[h])
        for g in range(gallery):
            common = np.float32(minima[g])
            found[i - start, g] = np.float32(1) - common / (np.float32(2) - common)
    return found


def _joined(parts: Iterable[tuple[ndarray, ndarray, ndarray]]) -> Rows:
    """Sizes, columns and values of some rows after another -> all rows."""
    sizes, columns, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Rows(np.concatenate([[0], np.cumsum(sizes)]), columns, values)


@compiled
def _mark(start, stop, indices, found):
    for i in range(start, stop):
        for r in range(found.shape[1]):
            for s in range(found.shape[1]):
                if indices[indices[i, r], s] == i:
                    found[i, r] = True
                    break


@compiled
def _expand(start, stop, indices, distances, close, closer):
    images = len(indices)
    room = (stop - start) * min(images, close.shape[1] * (closer.shape[1] + 1))
    sizes = np.empty(stop - start, np.int64)
    members, values = np.empty(room, np.int32), np.empty(room, np.float32)
    is_close, is_member = (
        np.full(images, -1, np.int32),
        np.full(images, -1, np.int32),
    )  # whose: needs no clearing
    place = np.zeros(images, np.int32)
    first = 0
    for i in range(start, stop):
        stop_close = _add(i, indices[i], close[i], is_member, members, first)
        for p in range(first, stop_close):
            is_close[members[p]] = i
        last = stop_close
        for p in range(first, stop_close):
            c = members[p]
            if _joins(i, indices[c], closer[c], is_close):
                last = _add(i, indices[c], closer[c], is_member, members, last)
        _look_up(indices[i], distances[i], members[first:last], place, values[first:last])
        sizes[i - start] = last - first
        first = last
    return sizes, members[:first].copy(), values[:first].copy()


@compiled
def _add(i, listed, is_reciprocal, is_member, members, last):
    """Add the reciprocal ones of a list to the members of image i that end at `last` -> where they
    end then.
    """
    for r in range(len(is_reciprocal)):
        if is_reciprocal[r] and is_member[listed[r]] != i:
            is_member[listed[r]] = i
            members[last] = listed[r]
            last += 1
    return last


@compiled
def _joins(i, listed, is_reciprocal, is_close):
    """Whether more than 2/3 of a candidate's own set are in R(i)."""
    size = overlap = 0
    for r in range(len(is_reciprocal)):
        if is_reciprocal[r]:
            size += 1
            overlap += is_close[listed[r]] == i
    return 3 * overlap > 2 * size


@compiled
def _look_up(listed, distances, members, place, values):
    for s in range(len(listed)):
        place[listed[s]] = s
    for p in range(len(members)):
        s = place[members[p]]  # of an image that is not listed it is another's
        values[p] = distances[s] if listed[s] == members[p] else np.nan


@compiled
def _means(start, stop, nearest, encoding):
    images, count = nearest.shape
    room = 0
    for i in range(start, stop):
        for j in nearest[i]:
            room += encoding.starts[j + 1] - encoding.starts[j]
    sizes = np.empty(stop - start, np.int64)
    columns, values = np.empty(room, np.int32), np.empty(room, np.float32)
    is_column, sums = np.full(images, -1, np.int32), np.empty(images)
    first = last = 0
    for i in range(start, stop):
        for j in nearest[i]:
            for p in range(encoding.starts[j], encoding.starts[j + 1]):
                column = encoding.columns[p]
                if is_column[column] != i:
                    is_column[column] = i
                    sums[column] = 0
                    columns[last] = column
                    last += 1
                sums[column] += encoding.values[p]
        for p in range(first, last):
            values[p] = sums[columns[p]] / count
        sizes[i - start] = last - first
        first = last
    return sizes, columns[:last].copy(), values[:last].copy()
