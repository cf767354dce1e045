"""Re-ranking, sparse: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.

Exact, and agrees with the code published with AlignedReID++ to the float16 it keeps its results in (2e-3). Departs from
it in memory only: each image's nearest neighbours stand for the N x N distances, and no step is larger than [Q, G].
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.sparse import csc_array, csr_array
from tqdm import tqdm

from reid.errors import InputError

QUERIES_AT_ONCE = 8  # their sums of minima stay in a core's cache


@dataclass(frozen=True)
class RerankSettings:
    """The paper's k1, k2 and lambda: size of the reciprocal sets, of the mean, and share of the original distance."""

    k1: int
    k2: int
    lambda_value: float

    def __post_init__(self) -> None:
        for name in ("k1", "k2"):
            if getattr(self, name) < 1:
                raise InputError(f"rerank.{name} in params.yaml: got {getattr(self, name)}, wanted 1 or more.")
        if not 0 <= self.lambda_value <= 1:
            raise InputError(f"rerank.lambda_value in params.yaml: got {self.lambda_value}, wanted a number in [0, 1].")


def rerank(
    query_distances: ndarray,
    indices: ndarray,
    distances: ndarray,
    largest: ndarray,
    pair_distances: Callable[[ndarray, ndarray], ndarray],
    settings: RerankSettings,
    out: ndarray | None = None,
) -> ndarray:
    """Distances [Q, G], neighbours [N, K], their distances [N, K], row maxima [N] -> re-ranked [Q, G] float32.

    N = Q + G, queries first. A row of `indices` lists the K nearest of all N images, the image itself included, by
    (distance, index). `pair_distances` takes rows [P] and columns [P] and returns the distances [P] of these pairs; it
    is asked once, for the pairs that the expansion needs and the row's list does not hold. The result is
    `lambda * d / largest + (1 - lambda) * Jaccard`, in [0, 1], written to `out` (maybe memory-mapped) or a new array.
    `query_distances` are read by rows. Raises InputError when K is too small for k1 or k2.
    """
    _check(query_distances, indices, distances, largest, settings)
    scale = np.where(largest > 0, largest, 1).astype(np.float32)  # where all distances are 0 they stay 0
    encoding = _weights(_expanded_sets(indices, settings.k1), indices, distances, scale, pair_distances)
    if settings.k2 > 1:  # with k2 = 1 each image keeps its own, though it need not be its own nearest
        encoding = _mean_of_nearest(encoding, indices[:, : settings.k2])
    queries, gallery = encoding[: len(query_distances)], encoding[len(query_distances) :].tocsc()
    share = np.float32(settings.lambda_value)
    factor = share / scale[: len(query_distances), None]
    result = np.empty(query_distances.shape, np.float32) if out is None else out
    for start in tqdm(range(0, len(result), QUERIES_AT_ONCE), "re-ranking", leave=False, delay=2):
        rows = slice(start, start + QUERIES_AT_ONCE)
        common = _sums_of_minima(queries[rows], gallery)
        jaccard = 1 - common / (2 - common)
        result[rows] = query_distances[rows] * factor[rows] + (1 - share) * jaccard
    return result


def _check(
    query_distances: ndarray, indices: ndarray, distances: ndarray, largest: ndarray, settings: RerankSettings
) -> None:
    """Raise InputError for neighbours of other images, or too few of them."""
    queries, gallery = query_distances.shape
    images, listed = queries + gallery, indices.shape[1]
    if not len(indices) == len(distances) == len(largest) == images or indices.shape != distances.shape:
        raise InputError(
            f"re-ranking {queries} queries x {gallery} gallery images needs neighbours of {images} images: "
            f"got indices {indices.shape}, distances {distances.shape}, largest {largest.shape}. "
            "They belong to other features: run the distances stage again."
        )
    needed = min(max(settings.k1 + 1, settings.k2), images)
    if listed < needed:
        raise InputError(
            f"re-ranking with k1 = {settings.k1} and k2 = {settings.k2} needs {needed} neighbours of each image, but "
            f"{listed} are stored: set distances.neighbours to {needed} or more and run the distances stage again."
        )


def _reciprocal_sets(indices: ndarray, k: int) -> csr_array:
    """Neighbours [N, K] -> 0/1 matrix [N, N], symmetric: both have the other among their k + 1 nearest."""
    nearest = _rows_to_matrix(indices[:, : k + 1], np.int32(1))
    return nearest.multiply(nearest.T).tocsr()


def _expanded_sets(indices: ndarray, k1: int) -> csr_array:
    """Neighbours [N, K] -> matrix [N, N], non-zero where j is in the expanded set R*(i) (equation 5 of the paper).

    Candidates are those of the original R(i), not of the growing set.
    """
    close, closer = _reciprocal_sets(indices, k1), _reciprocal_sets(indices, int(np.round(k1 / 2)))
    overlap = (close @ closer).multiply(close).tocsr()  # [i, c]: how many of the candidate's set are in R(i)
    sizes = np.diff(closer.indptr)
    overlap.data = (3 * overlap.data > 2 * sizes[overlap.indices]).astype(np.int32)
    overlap.eliminate_zeros()
    return (close + overlap @ closer).tocsr()


def _weights(
    sets: csr_array,
    indices: ndarray,
    distances: ndarray,
    scale: ndarray,
    pair_distances: Callable[[ndarray, ndarray], ndarray],
) -> csr_array:
    """Sets [N, N] -> float32 matrix [N, N] of `exp(-d)` at each member, every non-empty row with sum 1 (equation 7)."""
    rows = np.repeat(np.arange(len(indices)), np.diff(sets.indptr))
    found, values = _look_up(rows, sets.indices, indices, distances)
    if not found.all():
        values[~found] = pair_distances(rows[~found], sets.indices[~found].astype(np.int64))
    values = np.exp(-values / scale[rows])
    sums = np.bincount(rows, values, minlength=len(indices))
    return csr_array(((values / sums[rows]).astype(np.float32), sets.indices, sets.indptr), shape=sets.shape)


def _look_up(rows: ndarray, columns: ndarray, indices: ndarray, distances: ndarray) -> tuple[ndarray, ndarray]:
    """Pairs [P], [P] and neighbours [N, K] -> whether the row's list holds the pair [P], and the distance if so [P]."""
    images, listed = indices.shape
    order = np.argsort(indices, axis=1)
    keys = (np.take_along_axis(indices, order, 1) + images * np.arange(images)[:, None]).ravel()
    wanted = columns + images * rows
    at = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return keys[at] == wanted, distances[rows, order[rows, at % listed]].astype(np.float32)


def _mean_of_nearest(encoding: csr_array, nearest: ndarray) -> csr_array:
    """Encoding [N, N] and each image's k2 nearest [N, k2] -> the mean of their rows [N, N] (local query expansion)."""
    return _rows_to_matrix(nearest, np.float32(1 / nearest.shape[1])) @ encoding


def _rows_to_matrix(columns: ndarray, value: np.generic) -> csr_array:
    """Column numbers [N, K] -> matrix [N, N] with `value` at each."""
    images, each = columns.shape
    data = np.full(columns.size, value)
    return csr_array((data, columns.ravel(), np.arange(0, columns.size + 1, each)), shape=(images, images))


def _sums_of_minima(queries: csr_array, gallery: csc_array) -> ndarray:
    """Encodings [Q, N] and [G, N] -> [Q, G] float32, `sum over j of min(V[q, j], V[g, j])`, along inverted lists."""
    lengths = np.diff(gallery.indptr)[queries.indices]
    ends = np.cumsum(lengths)
    at = np.repeat(gallery.indptr[queries.indices] - ends + lengths, lengths) + np.arange(lengths.sum())
    minima = np.minimum(np.repeat(queries.data, lengths), gallery.data[at])
    row_starts = np.repeat(np.arange(queries.shape[0]) * gallery.shape[0], np.diff(queries.indptr))
    cells = np.repeat(row_starts, lengths) + gallery.indices[at]
    shape = queries.shape[0], gallery.shape[0]
    return np.bincount(cells, minima, minlength=shape[0] * shape[1]).astype(np.float32).reshape(shape)
