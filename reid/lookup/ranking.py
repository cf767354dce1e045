"""Distances between described queries and a gallery by any of the tables' seven columns, by the
functions of the stages distances and rerank, in memory.
"""

import warnings

import numpy as np
from numpy import ndarray
from tqdm import tqdm

from reid.arrays.features import Features
from reid.arrays.matrices import Matrix, row_sum
from reid.arrays.names import COLUMNS, DISTANCES
from reid.distances import all_pairs, compare, partition
from reid.distances.compare import Comparison
from reid.distances.settings import DistanceSettings
from reid.lookup.settings import load
from reid.runtime.device import choose_device
from reid.runtime.errors import InputError
from reid.runtime.resources import check_memory


def distances(queries: Features, gallery: Features, column: str) -> ndarray:
    """Distances [Q, G] of queries to the gallery by one of COLUMNS.

    A column that ends in _rk is re-ranked over the queries and the gallery together, so that it
    depends on all of them. Raises InputError for an unknown column.
    """
    if column not in COLUMNS:
        raise InputError(f"unknown column {column!r}: choose one of {', '.join(COLUMNS)}.")
    settings = load(DistanceSettings, "distances")
    comparison = Comparison(settings, choose_device(settings.device))
    if column.endswith("_rk"):
        return _reranked(queries, gallery, column.removesuffix("_rk"), comparison)
    matrices = across(queries, gallery, comparison)
    return np.asarray(_column(matrices, column)[:])


def across(queries: Features, gallery: Features, comparison: Comparison) -> dict[str, ndarray]:
    """Distances of queries to the gallery -> {global, local, dmli}, each [Q, G]."""
    shape = len(queries), len(gallery)
    check_memory(
        4 * len(DISTANCES) * shape[0] * shape[1],
        f"distances of {shape[0]:,} queries to {shape[1]:,} pictures",
        "search for fewer at once",
    )
    matrices = {name: np.empty(shape, np.float32) for name in DISTANCES}
    for rows in compare.slices(0, shape[0], partition.PANEL):
        panel = compare.row_panel(queries, rows, comparison)
        for columns in compare.slices(0, shape[1], partition.PANEL):
            block = compare.compare_across(panel, gallery, columns, comparison, lambda _: None)
            for name in DISTANCES:
                matrices[name][rows, columns] = block[name].cpu().numpy()
    return matrices


def _column(matrices: dict[str, ndarray], column: str) -> Matrix:
    return (
        row_sum(matrices["global"], matrices["dmli"])
        if column == "global_dmli"
        else matrices[column]
    )


def _reranked(queries: Features, gallery: Features, column: str, comparison: Comparison) -> ndarray:
    """Re-ranked distances [Q, G]; the gallery is compared with itself for it."""
    # here, for Numba's sake
    from reid.reranking.pair_distances import pair_distances
    from reid.reranking.rerank import RerankSettings, rerank

    settings, shape = load(RerankSettings, "rerank"), (len(queries), len(gallery))
    if settings.k1 + 1 > sum(shape):
        warnings.warn(
            f"k1 is {settings.k1}, but there are {sum(shape)} pictures in all: re-ranking takes "
            f"k1 = {sum(shape) - 1}, which is all of them.",
            stacklevel=2,
        )
    matrices = {name: np.empty(shape, np.float32) for name in DISTANCES}
    pairs = all_pairs.pairs_of_this_process(shape[1], [shape[0]], comparison.settings)
    with tqdm(total=pairs, desc="distances", unit="pair", unit_scale=True, delay=2) as bar:
        within = all_pairs.gallery_lists(gallery, comparison, bar.update)
        nearest = all_pairs.query_distances(
            queries, gallery, within, comparison, matrices, bar.update
        )
    pairs_of = pair_distances(column, queries, gallery)
    return rerank(_column(matrices, column), nearest[column], pairs_of, settings)
