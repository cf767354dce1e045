"""Distances of single pairs of images, for those that re-ranking needs and no list of neighbours
holds.

Read where they lie, pair by pair: a copy of some 40,000 pairs' stripes would cost more than their
products.
"""

from collections.abc import Callable

import numpy as np
from numpy import ndarray

from reid.arrays.features import Features
from reid.jit import compiled, in_threads

SMALLEST_SQUARE = 1e-12  # of a distance of stripes, as in `reid.alignment`, which needs torch
PAIRS_AT_ONCE = 256
PairDistances = Callable[[ndarray, ndarray], ndarray]


def pair_distances(name: str, queries: Features, gallery: Features) -> PairDistances:
    """A function of rows [P] and columns [P] -> distances [P] called `name` of these pairs of the
    Q + G images.

    Always in fp32, whatever the precision of the tiles.
    """
    parts = []
    if name != "dmli":
        parts.append(
            (_add_squares, _read_only(queries.global_features), _read_only(gallery.global_features))
        )
    if name != "global":
        parts.append((_add_dmli, _read_only(queries.stripes), _read_only(gallery.stripes)))

    def compute(rows: ndarray, columns: ndarray) -> ndarray:
        found = np.zeros(len(rows), np.float32)

        def add(some: slice) -> None:
            for add_distances, *both in parts:
                add_distances(rows[some], columns[some], *both, found[some])

        list(in_threads(add, len(rows), PAIRS_AT_ONCE))
        for side in (queries, gallery):
            side.release()
        return found

    return compute


def _read_only(array: ndarray) -> ndarray:
    """The same numbers, so that compiled code meets one kind of array, memory-mapped or not."""
    array = np.asarray(array).view()
    array.setflags(write=False)
    return array


@compiled
def _add_squares(rows, columns, queries, gallery, found):
    """Squared Euclidean distances of unit vectors, in [0, 4], by their difference: exact for near
    duplicates.
    """
    for p in range(len(rows)):
        a, b = _image(queries, gallery, rows[p]), _image(queries, gallery, columns[p])
        one, other = 1 / np.sqrt(_product(a, a)), 1 / np.sqrt(_product(b, b))
        square = np.float32(0)
        for c in range(len(a)):
            difference = np.float32(one) * a[c] - np.float32(other) * b[c]
            square += difference * difference
        found[p] += square


@compiled
def _add_dmli(rows, columns, queries, gallery, found):
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
        found[p] += path[stripes, stripes]


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
