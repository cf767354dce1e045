"""Distances of single pairs of images: those that re-ranking needs and no list of neighbours holds.

Features are read in place, pair by pair: a copy of the stripes of some 40,000 pairs would cost more
than their products.
"""

import numpy as np
from numpy import ndarray

from reid.arrays.features import Features
from reid.cpu.jit import compiled, in_threads
from reid.reranking.rerank import PairDistances

SMALLEST_SQUARE = 1e-12  # of a distance of stripes, as in `reid.alignment`, which needs torch
PAIRS_AT_ONCE = 256


def pair_distances(name: str, queries: Features, gallery: Features) -> PairDistances:
    """A function of rows [P] and columns [P] -> the distances [P] `name` of these pairs of the
    Q + G images.

    `name` is one of `names.RERANKED`. Always in fp32, whatever the precision of the tiles.
    """
    terms = []
    if name != "dmli":
        sides = _read_only(queries.global_features), _read_only(gallery.global_features)
        terms.append((_add_squares, *sides))
    if name != "global":
        sides = _read_only(queries.stripes), _read_only(gallery.stripes)
        terms.append((_add_dmli, *sides))

    def compute(rows: ndarray, columns: ndarray) -> ndarray:
        distances = np.zeros(len(rows), np.float32)

        def add(pairs: slice) -> None:
            for add_term, *sides in terms:
                add_term(rows[pairs], columns[pairs], *sides, distances[pairs])

        list(in_threads(add, len(rows), PAIRS_AT_ONCE))
        for features in (queries, gallery):
            features.release()
        return distances

    return compute


def _read_only(array: ndarray) -> ndarray:
    """A read-only view, so that compiled code has one type of array, memory-mapped or not."""
    array = np.asarray(array).view()
    array.setflags(write=False)
    return array


@compiled
def _add_squares(rows, columns, queries, gallery, distances):
    """Squared Euclidean distances of unit vectors, in [0, 4], by their difference: exact for near
    duplicates.
    """
    for p in range(len(rows)):
        a, b = _image(queries, gallery, rows[p]), _image(queries, gallery, columns[p])
        a_scale, b_scale = 1 / np.sqrt(_product(a, a)), 1 / np.sqrt(_product(b, b))
        square = np.float32(0)
        for c in range(len(a)):
            difference = np.float32(a_scale) * a[c] - np.float32(b_scale) * b[c]
            square += difference * difference
        distances[p] += square


@compiled
def _add_dmli(rows, columns, queries, gallery, distances):
    """DMLI: Luo et al., 2019, section 3.2; cell by cell, as the path goes."""
    stripes = queries.shape[1]
    path, lengths = np.empty((stripes + 1, stripes + 1)), np.empty(stripes)
    for p in range(len(rows)):
        a, b = _image(queries, gallery, rows[p]), _image(queries, gallery, columns[p])
        for t in range(stripes):
            lengths[t] = np.sqrt(_product(b[t], b[t]))
        path[:] = np.inf
        path[0, 1] = 0
        for s in range(stripes):
            length = np.sqrt(_product(a[s], a[s]))
            for t in range(stripes):
                half_square = 0.5 - 0.5 * _product(a[s], b[t]) / (length * lengths[t])  # (d / 2)^2
                cost = np.tanh(np.sqrt(max(half_square, SMALLEST_SQUARE / 4)))
                path[s + 1, t + 1] = cost + min(path[s, t + 1], path[s + 1, t])
        distances[p] += path[stripes, stripes]


@compiled
def _image(queries, gallery, number):
    return queries[number] if number < len(queries) else gallery[number - len(queries)]


@compiled
def _product(a, b):
    """Sum of products of two vectors, as float64."""
    product = np.float32(0)
    for c in range(len(a)):
        product += a[c] * b[c]
    return np.float64(product)
