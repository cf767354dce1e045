"""Re-ranking, sparse: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal
Encoding", CVPR 2017.

Exact, and agrees with the code published with AlignedReID++ to the float16 it keeps its results in
(2e-3). Departs from it in memory only: each image's nearest neighbours stand for the N x N
distances, and no step is larger than [Q, G].
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray
from tqdm import tqdm

from reid.jit import in_threads
from reid.reranking import k_reciprocal
from reid.reranking.k_reciprocal import Rows
from reid.runtime.errors import InputError
from reid.runtime.settings import Count, Fraction, settings_class

QUERIES_AT_ONCE = 8  # their distances stay in a core's cache


@settings_class
class RerankSettings:
    """The paper's k1 and k2, sizes of the reciprocal sets and of the mean, and its lambda.

    `lambda_value` is the share of the original distance.
    """

    k1: Count
    k2: Count
    lambda_value: Fraction


def rerank(
    query_distances: ndarray,
    indices: ndarray,
    distances: ndarray,
    largest: ndarray,
    pair_distances: Callable[[ndarray, ndarray], ndarray],
    settings: RerankSettings,
    out: Any = None,
) -> ndarray:
    """Distances [Q, G], neighbours [N, K], their distances [N, K], row maxima [N] -> re-ranked [Q,
    G] float32.

    N = Q + G, queries first. A row of `indices` lists the K nearest of all N images, the image
    itself included, by (distance, index). `pair_distances` takes rows [P] and columns [P] and
    returns the distances [P] of these pairs; it is asked once, for the pairs that the expansion
    needs and the row's list does not hold. The result is `lambda * d / largest + (1 - lambda) *
    Jaccard`, in [0, 1], written to `out`, by slices of rows, or a new array. `query_distances` are
    read likewise. Raises InputError when K is too small for k1 or k2.
    """
    check_neighbours(query_distances.shape, indices, distances, largest, settings)
    encoding = encode(indices, distances, largest, pair_distances, settings.k1)
    jaccard = Jaccard(mean_of_nearest(encoding, indices, settings.k2), query_distances.shape)
    mixed = Mixed(jaccard, query_distances, largest, settings.lambda_value)
    return fill(np.empty(query_distances.shape, np.float32) if out is None else out, mixed)


def encode(
    indices: ndarray,
    distances: ndarray,
    largest: ndarray,
    pair_distances: Callable[[ndarray, ndarray], ndarray],
    k1: int,
) -> Rows:
    """As for `rerank` -> the weights `exp(-d)` of each image's expanded set [N, N], rows of sum 1
    (equation 7).
    """
    starts, columns, values = k_reciprocal.expanded_sets(
        np.array(indices, np.int32), np.array(distances, np.float32), k1
    )
    rows = np.repeat(np.arange(len(indices)), np.diff(starts))
    is_missing = np.isnan(values)
    if is_missing.any():
        values[is_missing] = pair_distances(rows[is_missing], columns[is_missing].astype(np.int64))
    values = np.exp(-values / _scale(largest)[rows])
    sums = np.bincount(rows, values, minlength=len(indices))
    return Rows(starts, columns, (values / sums[rows]).astype(np.float32))


def mean_of_nearest(encoding: Rows, indices: ndarray, k2: int) -> Rows:
    """Encoding [N, N] and neighbours [N, K] -> its mean over each image's k2 nearest [N, N] (local
    query expansion).
    """
    if k2 == 1:  # each image keeps its own, though it need not be its own nearest
        return encoding
    return k_reciprocal.means(encoding, np.array(indices[:, :k2], np.int32))


class Jaccard:
    """Jaccard distances [Q, G] of the queries' and gallery's rows of an encoding [Q + G, Q + G],
    made by rows.
    """

    def __init__(self, encoding: Rows, shape: tuple[int, int]) -> None:
        self.encoding, self.shape = encoding, shape
        self.holders = k_reciprocal.inverted_lists(encoding, shape[0])

    def __getitem__(self, rows: slice) -> ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        return k_reciprocal.jaccard_distances(
            start, stop, self.encoding, self.holders, self.shape[1]
        )


class Mixed:
    """`lambda * d / largest + (1 - lambda) * Jaccard` [Q, G] float32, made of the rows that are
    asked for.
    """

    def __init__(
        self, jaccard: Jaccard | ndarray, distances: ndarray, largest: ndarray, lambda_value: float
    ) -> None:
        self.jaccard, self.distances, self.shape, self.ndim = jaccard, distances, distances.shape, 2
        self.rest = 1 - np.float32(lambda_value)
        self.factors = np.float32(lambda_value) / _scale(largest)[: self.shape[0]]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice) -> ndarray:
        mixed = self.rest * self.jaccard[rows]
        mixed += self.distances[rows] * self.factors[rows, ..., None]
        return mixed


def fill(out: Any, matrix: Jaccard | Mixed) -> Any:
    """Write all rows of a matrix [Q, G] to `out`, in threads."""

    def copy(rows: slice) -> None:
        out[rows] = matrix[rows]

    queries = matrix.shape[0]
    parts = in_threads(copy, queries, QUERIES_AT_ONCE)
    for _ in tqdm(parts, "re-ranking", -(-queries // QUERIES_AT_ONCE), leave=False, delay=2):
        pass
    return out


def _scale(largest: ndarray) -> ndarray:
    """What distances of each image are divided by [N]; where all of them are 0 they stay 0."""
    return np.where(largest > 0, largest, 1).astype(np.float32)


def check_neighbours(
    shape: tuple[int, int],
    indices: ndarray,
    distances: ndarray,
    largest: ndarray,
    settings: RerankSettings,
) -> None:
    """Raise InputError for neighbours of other images than the [Q, G] of `shape`, or too few of
    them.
    """
    queries, gallery = shape
    images, listed = queries + gallery, indices.shape[1]
    if (
        not len(indices) == len(distances) == len(largest) == images
        or indices.shape != distances.shape
    ):
        raise InputError(
            f"re-ranking {queries} queries x {gallery} gallery images needs neighbours of {images} "
            f"images: got indices {indices.shape}, distances {distances.shape}, largest "
            f"{largest.shape}. They belong to other features: run the distances stage again."
        )
    needed = min(max(settings.k1 + 1, settings.k2), images)
    if listed < needed:
        raise InputError(
            f"re-ranking with k1 = {settings.k1} and k2 = {settings.k2} needs {needed} neighbours "
            f"of each image, but {listed} are stored: set distances.neighbours to {needed} or more "
            "and run the distances stage again."
        )
