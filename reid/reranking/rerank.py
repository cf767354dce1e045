"""Re-ranking, sparse: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal
Encoding", CVPR 2017.

Exact, and agrees with the code published with AlignedReID++ to the float16 it keeps its results in
(2e-3). Departs from it in memory only: each image's nearest neighbours stand for the N x N
distances, and no step is larger than [Q, G].
"""

from collections.abc import Callable

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_array
from tqdm import tqdm

from reid.arrays.matrices import Matrix, RowMatrix, rows_without_nan
from reid.arrays.neighbours import Neighbours
from reid.arrays.npy import ArrayFile
from reid.cpu.jit import in_threads
from reid.reranking import k_reciprocal
from reid.runtime.errors import InputError
from reid.runtime.resources import check_memory
from reid.runtime.settings import Count, Fraction, settings_class

PairDistances = Callable[[ndarray, ndarray], ndarray]
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
    query_distances: Matrix,
    nearest: Neighbours,
    pair_distances: PairDistances,
    settings: RerankSettings,
    out: ndarray | ArrayFile | None = None,
) -> ndarray | ArrayFile:
    """Distances [Q, G] and neighbours of all N = Q + G images -> re-ranked [Q, G] float32.

    `lambda * d / largest + (1 - lambda) * Jaccard`, in [0, 1], written to `out`, by slices of rows,
    or a new array; `query_distances` are read likewise. An image itself is among its neighbours.
    `pair_distances` takes rows [P] and columns [P] of pairs of images and returns their distances
    [P]; it is called once, for the pairs that the expansion needs and no list holds. Raises
    InputError when K is too small for k1 or k2.
    """
    check_neighbours(query_distances.shape, nearest, settings)
    encoding = mean_of_nearest(encode(nearest, pair_distances, settings.k1), nearest, settings.k2)
    jaccard = jaccard_matrix(encoding, query_distances.shape)
    mixed = mixed_matrix(jaccard, query_distances, nearest, settings.lambda_value)
    return fill(np.empty(query_distances.shape, np.float32) if out is None else out, mixed)


def encode(nearest: Neighbours, pair_distances: PairDistances, k1: int) -> csr_array:
    """As for `rerank` -> the weights `exp(-d)` of each image's expanded set [N, N], rows of sum 1
    (equation 7).
    """
    indices, distances = (
        np.array(nearest.indices, np.int32),
        np.array(nearest.distances, np.float32),
    )
    sets = k_reciprocal.expanded_sets(indices, distances, k1)
    columns, values = sets.indices, sets.data
    rows = np.repeat(np.arange(len(indices)), np.diff(sets.indptr))
    is_missing = np.isnan(values)
    if is_missing.any():
        values[is_missing] = pair_distances(rows[is_missing], columns[is_missing].astype(np.int64))
    values = np.exp(-values / _scale(nearest)[rows])
    sums = np.bincount(rows, values, minlength=len(indices))
    weights = (values / sums[rows]).astype(np.float32)
    return csr_array((weights, columns, sets.indptr), shape=sets.shape)


def mean_of_nearest(encoding: csr_array, nearest: Neighbours, k2: int) -> csr_array:
    """Encoding [N, N] -> its mean over each image's k2 nearest [N, N] (local query expansion)."""
    if k2 == 1:  # each image keeps its row, though it need not be its nearest image
        return encoding
    return k_reciprocal.means(encoding, np.array(nearest.indices[:, :k2], np.int32))


def jaccard_matrix(encoding: csr_array, shape: tuple[int, int]) -> RowMatrix:
    """Encoding [Q + G, Q + G] -> Jaccard distances [Q, G], computed by slices of rows."""
    holders = k_reciprocal.inverted_lists(encoding, shape[0])
    queries = encoding[: shape[0]]
    return RowMatrix(shape, lambda rows: k_reciprocal.jaccard_distances(rows, queries, holders))


def mixed_matrix(
    jaccard: Matrix, distances: Matrix, nearest: Neighbours, lambda_value: float
) -> RowMatrix:
    """`lambda * d / largest + (1 - lambda) * Jaccard` [Q, G] float32, computed by rows; reading
    NaN raises InputError.
    """
    jaccard_share = 1 - np.float32(lambda_value)
    factors = np.float32(lambda_value) / _scale(nearest)[: len(distances)]

    def mix(rows: int | slice) -> ndarray:
        mixed = jaccard_share * jaccard[rows]
        mixed += rows_without_nan(distances, rows) * factors[rows, ..., None]
        return mixed

    return RowMatrix(distances.shape, mix)


def fill(out: ndarray | ArrayFile, matrix: RowMatrix) -> ndarray | ArrayFile:
    """Write all rows of a matrix [Q, G] to `out`, in threads."""

    def copy(rows: slice) -> None:
        out[rows] = matrix[rows]

    queries = len(matrix)
    parts = in_threads(copy, queries, QUERIES_AT_ONCE)
    for _ in tqdm(parts, "re-ranking", -(-queries // QUERIES_AT_ONCE), leave=False, delay=2):
        pass
    return out


def check_neighbours(shape: tuple[int, int], nearest: Neighbours, settings: RerankSettings) -> None:
    """Raise InputError for neighbours of other images than those of [Q, G], too few of them, or
    more than memory holds.
    """
    queries, gallery = shape
    images, listed = queries + gallery, nearest.indices.shape[1]
    if nearest.indices.shape != nearest.distances.shape or not (
        len(nearest.indices) == len(nearest.largest) == images
    ):
        raise InputError(
            f"re-ranking {queries} queries x {gallery} gallery images needs neighbours of {images} "
            f"images: got indices {nearest.indices.shape}, distances {nearest.distances.shape}, "
            f"largest {nearest.largest.shape}. They belong to other features: run the distances "
            "stage again."
        )
    needed = min(max(settings.k1 + 1, settings.k2), images)
    if listed < needed:
        raise InputError(
            f"re-ranking with k1 = {settings.k1} and k2 = {settings.k2} needs {needed} neighbours "
            f"of each image, but {listed} are stored: set distances.neighbours to {needed} or more "
            "and run the distances stage again."
        )
    entries = images * min(images, 2 * (settings.k1 + 1) * settings.k2)  # few rows have more
    check_memory(
        12 * entries + 8 * images * listed,
        f"re-ranking {images} images with k1 = {settings.k1} and k2 = {settings.k2}",
        "lower rerank.k1 or rerank.k2 in params.yaml, or take a larger machine",
    )


def _scale(nearest: Neighbours) -> ndarray:
    """What each image's distances are divided by [N]; where all of them are 0 they stay 0."""
    return np.where(nearest.largest > 0, nearest.largest, 1).astype(np.float32)
