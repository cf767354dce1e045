"""What the page shows of a distance matrix, read by rows: nearest images, ranks of first matches,
mAP by pair of cameras, and how far matches and others are.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from reid.arrays.features import Identities
from reid.arrays.matrices import Matrix
from reid.results import metrics

BINS = 60  # of a histogram


@dataclass(frozen=True)
class Sides:
    """The people and cameras of queries and gallery."""

    queries: Identities
    gallery: Identities

    def same_person(self, query: int) -> tuple[ndarray, ndarray]:
        """The gallery images [n] of a query's person, and which are matches [n] and not junk."""
        images = np.flatnonzero(self.gallery.pids == self.queries.pids[query])
        return images, self.gallery.camids[images] != self.queries.camids[query]

    def matches(self, query: int) -> ndarray:
        """The gallery images [m] that match a query."""
        images, is_match = self.same_person(query)
        return images[is_match]

    def has_match(self) -> ndarray:
        """Which queries [Q] have a match."""
        return np.array([len(self.matches(query)) > 0 for query in range(len(self.queries.pids))])


def nearest(row: ndarray, query: int, sides: Sides, count: int) -> list[int]:
    """A query's distances [G] -> its `count` nearest gallery images without junk, nearest first.

    At equal distances a match comes last, as in evaluation.
    """
    same_person, is_match = sides.same_person(query)
    row = np.array(row, np.float32)
    row[same_person[~is_match]] = np.inf
    count = min(count, len(row) - int((~is_match).sum()))
    if count < 1:
        return []
    limit = np.partition(row, count - 1)[count - 1]
    near = np.flatnonzero(row <= limit)
    order = np.lexsort((near, np.isin(near, same_person), row[near]))
    return near[order][:count].tolist()


def average_precision(row: ndarray, query: int, sides: Sides) -> float:
    """A query's distances [G] -> its average precision by Market-1501's metric, NaN without a
    match.
    """
    same_person, is_match = sides.same_person(query)
    if not is_match.any():
        return float("nan")
    return metrics.average_precision(metrics.match_ranks(np.asarray(row), same_person, is_match))


def first_ranks(matrix: Matrix, sides: Sides) -> ndarray:
    """Distances [Q, G] -> the rank of the first match, from 1, of each query that has one.

    Ties and junk as in `metrics.match_ranks`, without sorting.
    """
    ranks = []
    for query in range(len(matrix)):
        same_person, is_match = sides.same_person(query)
        if is_match.any():
            row = np.asarray(matrix[query])
            of_person = row[same_person]
            first = of_person[is_match].min()
            ranks.append(1 + np.count_nonzero(row <= first) - np.count_nonzero(of_person <= first))
    return np.array(ranks, np.int64)


def mean_by_cameras(matrix: Matrix, sides: Sides) -> tuple[list[int], list[int], ndarray]:
    """Distances [Q, G] -> the queries' cameras [A], the gallery's [B], and mAP [A, B].

    An entry takes the queries of one camera and searches the gallery images of another alone. It is
    NaN where no query has a match.
    """
    query_cameras, rows = np.unique(sides.queries.camids, return_inverse=True)
    gallery_cameras, columns = np.unique(sides.gallery.camids, return_inverse=True)
    by_camera = [np.flatnonzero(columns == number) for number in range(len(gallery_cameras))]
    sums, counts = np.zeros((2, len(query_cameras), len(gallery_cameras)))
    for query in range(len(matrix)):
        matches, row = sides.matches(query), np.asarray(matrix[query])
        for camera in np.unique(columns[matches]):
            images = by_camera[camera]
            of_person = np.searchsorted(images, matches[columns[matches] == camera])
            ranks = metrics.match_ranks(row[images], of_person, np.ones(len(of_person), bool))
            sums[rows[query], camera] += metrics.average_precision(ranks)
            counts[rows[query], camera] += 1
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return query_cameras.tolist(), gallery_cameras.tolist(), means


def histograms(
    matrix: Matrix, sides: Sides, queries: ndarray
) -> tuple[ndarray, dict[str, ndarray]]:
    """Distances [Q, G] of some queries -> edges [BINS + 1], and the share of matches and of others
    in each bin [BINS], in percent.
    """
    rows = [np.asarray(matrix[query]) for query in queries]
    limits = min(row.min() for row in rows), max(row.max() for row in rows)
    edges = np.histogram_bin_edges(np.zeros(0), BINS, limits)
    counts = {"matches": np.zeros(BINS), "others": np.zeros(BINS)}
    for query, row in zip(queries, rows, strict=True):
        same_person, is_match = sides.same_person(query)
        of_person = np.histogram(row[same_person], BINS, limits)[0]
        counts["matches"] += np.histogram(row[same_person[is_match]], BINS, limits)[0]
        counts["others"] += np.histogram(row, BINS, limits)[0] - of_person
    shares = {name: 100 * of / max(of.sum(), 1) for name, of in counts.items()}
    return edges, shares
