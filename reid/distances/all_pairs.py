"""Distances of all pairs of queries and gallery, and each image's nearest neighbours.

Nothing of size (Q + G) x (Q + G) is ever held: panels of images are read and compared, and their
distances merged into running lists, each unordered pair once. Several processes share the blocks.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from reid.arrays import matrices, neighbours
from reid.arrays.features import Features
from reid.arrays.names import DISTANCES, RERANKED
from reid.arrays.neighbours import Neighbours
from reid.arrays.npy import ArrayFile
from reid.distances import partition
from reid.distances.compare import (
    Comparison,
    Progress,
    compare_across,
    compare_within,
    row_panel,
    slices,
)
from reid.distances.nearest import NearestLists
from reid.distances.partition import Block
from reid.distances.settings import DistanceSettings
from reid.runtime import distributed


def write_distances(
    gallery: Features, queries: dict[str, Features], comparison: Comparison, out: Path
) -> None:
    """Write each protocol's distances [Q, G] and neighbours to `out/<protocol>`.

    `out` is created by process 0 and seen by all. The gallery is compared with itself once.
    """
    shapes = {protocol: (len(images), len(gallery)) for protocol, images in queries.items()}
    distributed.create_shared_folder(
        out,
        lambda: [matrices.create(out / name, DISTANCES, shape) for name, shape in shapes.items()],
    )
    is_first = distributed.rank() == 0
    pairs = pairs_of_this_process(
        len(gallery), [len(images) for images in queries.values()], comparison.settings
    )
    with tqdm(
        total=pairs, desc="distances", unit="pair", unit_scale=True, disable=not is_first
    ) as bar:
        within = gallery_lists(gallery, comparison, bar.update)
        for protocol, images in queries.items():
            files = matrices.open_files(out / protocol, DISTANCES, shapes[protocol])
            nearest = query_distances(images, gallery, within, comparison, files, bar.update)
            if is_first:
                neighbours.write(out / protocol / "neighbours.npz", nearest)


def pairs_to_compute(gallery: int, queries: list[int], settings: DistanceSettings) -> int:
    """How many pairs `gallery_lists` and `query_distances` of each query set compute in all."""
    return sum(
        block.pairs for blocks in _all_blocks(gallery, queries, settings) for block in blocks
    )


def pairs_of_this_process(gallery: int, queries: list[int], settings: DistanceSettings) -> int:
    """How many of those pairs this process computes and reports to `progress`."""
    return sum(
        block.pairs
        for blocks in _all_blocks(gallery, queries, settings)
        for block in _share(blocks)
    )


def gallery_lists(
    gallery: Features, comparison: Comparison, progress: Progress
) -> dict[str, NearestLists]:
    """Nearest lists within the gallery, for every protocol alike.

    Of several processes each has the lists of its share of the pairs. `progress` is called with
    numbers of pairs.
    """
    lists = {name: NearestLists(len(gallery), comparison.settings.neighbours) for name in RERANKED}
    blocks = _share(_gallery_blocks(len(gallery), comparison.settings))
    for block, distances in _compared(blocks, gallery, gallery, comparison, progress):
        _merge(lists, distances, block.rows, block.columns)
    return lists


def query_distances(
    queries: Features,
    gallery: Features,
    within_gallery: dict[str, NearestLists],
    comparison: Comparison,
    out: dict[str, np.ndarray] | dict[str, ArrayFile],
    progress: Progress,
) -> dict[str, Neighbours] | None:
    """Fill `out` = {global, local, dmli} with distances [Q, G] -> all Q + G images' neighbours.

    Several processes each fill their share of `out`. Process 0 returns the neighbours, the others
    None.
    """
    first = len(queries)
    images = first + len(gallery)
    lists = {name: nearest.shifted(first, images) for name, nearest in within_gallery.items()}
    blocks = _share(_query_blocks(first, len(gallery), comparison.settings))
    for block, distances in _compared(blocks, queries, gallery, comparison, progress):
        columns = block.columns
        if block.is_across:
            for name in DISTANCES:
                out[name][block.rows, columns] = distances[name].cpu().numpy()
            columns = slice(first + columns.start, first + columns.stop)
        _merge(lists, distances, block.rows, columns)
    _gather(lists)
    if distributed.rank() > 0:
        return None
    return {name: nearest.neighbours() for name, nearest in lists.items()}


def _all_blocks(gallery: int, queries: list[int], settings: DistanceSettings) -> list[list[Block]]:
    """Lists of blocks: those within the gallery, and those of each query set."""
    of_queries = [_query_blocks(images, gallery, settings) for images in queries]
    return [_gallery_blocks(gallery, settings), *of_queries]


def _gallery_blocks(gallery: int, settings: DistanceSettings) -> list[Block]:
    return partition.within(_panels(gallery, settings), settings.tile_rows)


def _query_blocks(queries: int, gallery: int, settings: DistanceSettings) -> list[Block]:
    rows, columns = _panels(queries, settings), _panels(gallery, settings)
    return partition.within(rows, settings.tile_rows) + partition.across(rows, columns)


def _panels(images: int, settings: DistanceSettings) -> list[slice]:
    return partition.panels(images, partition.PANEL, settings.tile_rows)


def _share(blocks: list[Block]) -> list[Block]:
    """This process's share of the blocks."""
    return partition.balanced_share(blocks, distributed.rank(), distributed.world_size())


def _compared(
    blocks: list[Block],
    features: Features,
    others: Features,
    comparison: Comparison,
    progress: Progress,
) -> Iterator[tuple[Block, dict[str, Tensor]]]:
    """Each block with its distances [N, M]; consecutive blocks share their panel of rows."""
    panel = None
    for block in blocks:
        if panel is None or panel.images != block.rows:
            panel = row_panel(features, block.rows, comparison)
        if not block.is_across and block.rows == block.columns:
            yield block, compare_within(panel, features, comparison, progress)
        else:
            columns_of = others if block.is_across else features
            yield block, compare_across(panel, columns_of, block.columns, comparison, progress)


def _merge(
    lists: dict[str, NearestLists], distances: dict[str, Tensor], rows: slice, columns: slice
) -> None:
    """Add distances [N, M] of the images `rows` to the images `columns` to the lists of both."""
    values = {**distances, "global_dmli": distances["global"] + distances["dmli"]}
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # none write to the same rows
        merges = [
            threads.submit(lists[name].add, rows, values[name].cpu().numpy(), columns.start)
            for name in RERANKED
        ]
        if rows != columns:
            for name in RERANKED:
                turned = values[name].T.contiguous().cpu().numpy()
                merges.append(threads.submit(lists[name].add, columns, turned, rows.start))
        for merge in merges:
            merge.result()


def _gather(lists: dict[str, NearestLists]) -> None:
    """Merge all processes' lists into process 0's, a slice of images at a time."""
    if distributed.world_size() == 1:
        return
    for nearest in lists.values():
        nearest.largest[:] = distributed.all_max(nearest.largest)
        for rows in slices(0, len(nearest.keys), partition.PANEL):
            gathered = distributed.gather(nearest.keys[rows])
            if gathered:
                nearest.merge(rows, gathered)
