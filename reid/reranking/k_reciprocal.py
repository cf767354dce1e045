"""k-reciprocal encodings as sparse rows [N, N], and the compiled loops of re-ranking over them (see
`reid.reranking.rerank`).

Rows are SciPy's: row i has the columns `indices` (of images) and values `data` from indptr[i] up to
indptr[i + 1], in the order in which the expansion adds them, which is that of sums.
"""

from collections.abc import Iterable

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_array

from reid.cpu.jit import compiled, in_threads

IMAGES_AT_ONCE = 512


def reciprocal(indices: ndarray, k: int) -> ndarray:
    """Neighbours [N, K] int32 -> which of an image's k + 1 nearest have it among theirs [N, k +
    1].
    """
    is_reciprocal = np.zeros((len(indices), min(k + 1, indices.shape[1])), np.bool_)

    def mark(rows: slice) -> None:
        _mark(rows.start, rows.stop, indices, is_reciprocal)

    list(in_threads(mark, len(indices), IMAGES_AT_ONCE))
    return is_reciprocal


def expanded_sets(indices: ndarray, distances: ndarray, k1: int) -> csr_array:
    """Neighbours [N, K], int32 and float32 -> distances [N, N] to the members of each R*(i)
    (equation 5 of the paper).

    NaN where the list of image i does not hold the member. Candidates are those of the original
    R(i), not of the growing set.
    """
    close, closer = reciprocal(indices, k1), reciprocal(indices, int(np.round(k1 / 2)))

    def expand(rows: slice) -> tuple[ndarray, ndarray, ndarray]:
        return _expand(rows.start, rows.stop, indices, distances, close, closer)

    return _joined(in_threads(expand, len(indices), IMAGES_AT_ONCE))


def means(encoding: csr_array, nearest: ndarray) -> csr_array:
    """Encoding [N, N] and some images of each [N, k2] int32 -> the mean of their rows [N, N].

    Not a product of SciPy's: that has its columns in another order, in one thread, and the sums of
    Jaccard distances would differ in their last bits.
    """
    arrays = encoding.indptr, encoding.indices, encoding.data

    def mean(rows: slice) -> tuple[ndarray, ndarray, ndarray]:
        return _means(rows.start, rows.stop, nearest, *arrays)

    return _joined(in_threads(mean, len(nearest), IMAGES_AT_ONCE))


def inverted_lists(encoding: csr_array, first: int) -> csr_array:
    """Encoding [N, N] -> rows [N, N - first]: for each column, the images that have it, numbered
    from `first` on.
    """
    return encoding[first:].T.tocsr()


def jaccard_distances(rows: slice, encoding: csr_array, holders: csr_array) -> ndarray:
    """Some rows of the encoding, and the gallery's inverted lists [N, G] -> Jaccard distances
    [R, G].

    `1 - m / (2 - m)`, m the sum of minima, along inverted lists (equation 10; rows have sum 1).
    """
    start, stop, _ = rows.indices(encoding.shape[0])
    return _jaccard_distances(
        *(start, stop, holders.shape[1]),
        *(encoding.indptr, encoding.indices, encoding.data),
        *(holders.indptr, holders.indices, holders.data),
    )


def _joined(parts: Iterable[tuple[ndarray, ndarray, ndarray]]) -> csr_array:
    """Sizes, columns and values of slices of rows -> all rows [N, N]."""
    sizes, columns, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return csr_array((values, columns, starts), shape=(len(sizes), len(sizes)))


@compiled
def _jaccard_distances(
    start, stop, gallery, starts, columns, values, holder_starts, holders, holder_values
):
    distances = np.empty((stop - start, gallery), np.float32)
    minima = np.empty(gallery)
    for i in range(start, stop):
        minima[:] = 0
        for p in range(starts[i], starts[i + 1]):
            column, value = columns[p], values[p]
            for h in range(holder_starts[column], holder_starts[column + 1]):
                minima[holders[h]] += min(value, holder_values[h])
        for g in range(gallery):
            common = np.float32(minima[g])
            distances[i - start, g] = np.float32(1) - common / (np.float32(2) - common)
    return distances


@compiled
def _mark(start, stop, indices, is_reciprocal):
    for i in range(start, stop):
        for r in range(is_reciprocal.shape[1]):
            for s in range(is_reciprocal.shape[1]):
                if indices[indices[i, r], s] == i:
                    is_reciprocal[i, r] = True
                    break


@compiled
def _expand(start, stop, indices, distances, close, closer):
    images = len(indices)
    capacity = (stop - start) * min(images, close.shape[1] * (closer.shape[1] + 1))
    sizes = np.empty(stop - start, np.int64)
    members, values = np.empty(capacity, np.int32), np.empty(capacity, np.float32)
    is_close = np.full(images, -1, np.int32)  # holds the image whose it is: needs no clearing
    is_member = np.full(images, -1, np.int32)
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
    """Append a list's reciprocal images to the members of image i, which end at `last` -> their
    new end.
    """
    for r in range(len(is_reciprocal)):
        if is_reciprocal[r] and is_member[listed[r]] != i:
            is_member[listed[r]] = i
            members[last] = listed[r]
            last += 1
    return last


@compiled
def _joins(i, listed, is_reciprocal, is_close):
    """Whether more than 2/3 of a candidate's set are in R(i)."""
    size = overlap = 0
    for r in range(len(is_reciprocal)):
        if is_reciprocal[r]:
            size += 1
            overlap += is_close[listed[r]] == i
    return 3 * overlap > 2 * size


@compiled
def _look_up(listed, distances, members, place, values):
    """Fill `values` with the distances of members, NaN for one that is not listed."""
    for s in range(len(listed)):
        place[listed[s]] = s
    for p in range(len(members)):
        s = place[members[p]]  # of an image that is not listed it is another's
        values[p] = distances[s] if listed[s] == members[p] else np.nan


@compiled
def _means(start, stop, nearest, starts, columns, values):
    images, count = nearest.shape
    capacity = 0
    for i in range(start, stop):
        for j in nearest[i]:
            capacity += starts[j + 1] - starts[j]
    sizes = np.empty(stop - start, np.int64)
    mean_columns, means = np.empty(capacity, np.int32), np.empty(capacity, np.float32)
    is_column, sums = np.full(images, -1, np.int32), np.empty(images)
    first = last = 0
    for i in range(start, stop):
        for j in nearest[i]:
            for p in range(starts[j], starts[j + 1]):
                column = columns[p]
                if is_column[column] != i:
                    is_column[column] = i
                    sums[column] = 0
                    mean_columns[last] = column
                    last += 1
                sums[column] += values[p]
        for p in range(first, last):
            means[p] = sums[mean_columns[p]] / count
        sizes[i - start] = last - first
        first = last
    return sizes, mean_columns[:last].copy(), means[:last].copy()
