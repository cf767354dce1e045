"""Distances of all pairs in tiles, and each image's nearest neighbours for re-ranking.

Global: squared Euclidean on unit features, in [0, 4]. Local and DMLI (Luo et al., 2019, section 3.2) come from the same
stripe costs. Nothing of size (Q + G) x (Q + G) is ever held: panels of images are read, made ready and compared, their
distances merged into running lists, each unordered pair once. Agrees with the authors' published code.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid import blocks, processes
from reid.arrays import ArrayFile
from reid.blocks import Block
from reid.errors import InputError
from reid.features import Features
from reid.neighbours import RANKED, NearestLists, Neighbours
from reid.tiles import PRODUCTS, Operand, Tile, operand

NAMES = ("global", "local", "dmli")  # the matrices between queries and gallery
PANEL = 4096  # images compared with as many at a time: what is in memory
Progress = Callable[[int], None]


@dataclass(frozen=True)
class DistanceSettings:
    """`distances` in params.yaml: neighbours kept of each image; images in a tile's rows and columns; device.

    `precision` is that of the stripes in their product: fp32, bf16 or int8. All else, and the global distance, is fp32.
    """

    neighbours: int
    tile_rows: int
    tile_columns: int
    precision: str
    device: str

    def __post_init__(self) -> None:
        if min(self.neighbours, self.tile_rows, self.tile_columns) < 1:
            raise InputError(f"`distances` in params.yaml: wanted numbers of at least 1, got {self}.")
        if self.precision not in PRODUCTS:
            raise InputError(
                f"distances.precision in params.yaml: got {self.precision!r}, wanted one of {', '.join(PRODUCTS)}."
            )


class Comparison:
    """How images are compared: the settings, the device, and the buffers of tiles, allocated once.

    Raises InputError for int8 on a GPU.
    """

    def __init__(self, settings: DistanceSettings, device: torch.device) -> None:
        if settings.precision == "int8" and device.type != "cpu":
            raise InputError("distances.precision in params.yaml: int8 is for the CPU; on a GPU choose bf16 or fp32.")
        self.settings, self.device = settings, device
        self.tiles: dict[tuple[int, int, int], Tile] = {}

    def tile(self, rows: Operand, columns: Operand) -> Tile:
        """The buffers for these images."""
        shape = (len(rows), len(columns), rows.stripes.shape[0])
        if shape not in self.tiles:
            self.tiles[shape] = Tile(*shape, self.settings.precision, self.device)
        return self.tiles[shape]

    def stripes(self, features: Features, images: slice) -> Operand:
        """Some images' stripes, read and ready for the product."""
        return operand(features.stripes[images], self.settings.precision, self.device)

    def global_features(self, features: Features, images: slice) -> Tensor:
        """Some images' global features [N, D], read and of unit length."""
        return normalize(torch.tensor(np.asarray(features.global_features[images])).to(self.device), dim=-1)


class Panel:
    """Some images, in memory and ready: their unit global features [N, D], and their stripes by tiles of rows."""

    def __init__(self, features: Features, images: slice, comparison: Comparison) -> None:
        self.images = images
        self.global_features = comparison.global_features(features, images)
        rows = comparison.settings.tile_rows
        self.tiles = [(tile, comparison.stripes(features, tile)) for tile in _slices(images.start, images.stop, rows)]


def global_squares(a: Tensor, b: Tensor) -> Tensor:
    """Unit features [N, D] and [M, D] -> squared Euclidean distances [N, M], in [0, 4]."""
    return a.new_full((len(a), len(b)), 2.0).addmm_(a, b.T, alpha=-2).clamp_(min=0)


def compare(
    panel: Panel, features: Features, columns: slice, comparison: Comparison, progress: Progress, itself: bool = False
) -> dict[str, Tensor]:
    """All distances of a panel's N images to M images of `features` -> {global, local, dmli}, each [N, M].

    `itself` says that the columns are the panel's own images: each unordered pair of tiles is then computed once.
    """
    found = {"global": global_squares(panel.global_features, comparison.global_features(features, columns))}
    local, dmli = (torch.empty_like(found["global"]) for _ in range(2))
    for tile in _slices(columns.start, columns.stop, comparison.settings.tile_columns):
        right = comparison.stripes(features, tile)
        for rows, left in panel.tiles:
            known = max(rows.start - tile.start, 0) if itself else 0
            if known >= len(right):
                break
            at = _within(rows, panel.images), _within(slice(tile.start + known, tile.stop), columns)
            part = right[known:]
            comparison.tile(left, part).distances(left, part, local[at], dmli[at])
            progress(len(left) * len(part))
    found |= {"local": local, "dmli": dmli}
    if itself:
        for rows in (_within(rows, panel.images) for rows, _ in panel.tiles):
            for matrix in found.values():
                matrix[rows.stop :, rows] = matrix[rows, rows.stop :].T
    return found


def pairs_to_compute(gallery: int, queries: list[int], settings: DistanceSettings, own: bool = False) -> int:
    """The number of pairs that `gallery_lists` and `query_distances` of each query set report to `progress`.

    Of all processes together, or this one's `own`.
    """
    deals = [_gallery_blocks(gallery, settings), *(_query_blocks(images, gallery, settings) for images in queries)]
    return sum(block.pairs for blocks in deals for block in (_own(blocks) if own else blocks))


def gallery_lists(gallery: Features, comparison: Comparison, progress: Progress) -> dict[str, NearestLists]:
    """Nearest lists within the gallery, for every protocol alike; `progress` gets the number of pairs done.

    Of several processes each has the lists of its own share of the pairs.
    """
    lists = {name: NearestLists(len(gallery), comparison.settings.neighbours) for name in RANKED}
    own = _own(_gallery_blocks(len(gallery), comparison.settings))
    for block, found in _compared(own, gallery, gallery, comparison, progress):
        _merge(lists, found, block.rows, block.columns)
    return lists


def query_distances(
    queries: Features,
    gallery: Features,
    within_gallery: dict[str, NearestLists],
    comparison: Comparison,
    out: dict[str, np.ndarray] | dict[str, ArrayFile],
    progress: Progress,
) -> dict[str, Neighbours] | None:
    """Fill `out` = {global, local, dmli} with distances [Q, G], and return the neighbours of all Q + G images.

    Several processes each fill their share of `out`, and the neighbours are process 0's; the others return None.
    """
    first = len(queries)
    lists = {name: one.shifted(first, first + len(gallery)) for name, one in within_gallery.items()}
    own = _own(_query_blocks(first, len(gallery), comparison.settings))
    for block, found in _compared(own, queries, gallery, comparison, progress):
        columns = block.columns
        if block.is_across:
            for name in NAMES:
                out[name][block.rows, columns] = found[name].cpu().numpy()
            columns = slice(first + columns.start, first + columns.stop)
        _merge(lists, found, block.rows, columns)
    _unite(lists)
    return {name: one.neighbours() for name, one in lists.items()} if processes.rank() == 0 else None


def _panels(images: int, settings: DistanceSettings) -> list[slice]:
    return blocks.panels(images, PANEL, settings.tile_rows)


def _gallery_blocks(gallery: int, settings: DistanceSettings) -> list[Block]:
    return blocks.within(_panels(gallery, settings), settings.tile_rows)


def _query_blocks(queries: int, gallery: int, settings: DistanceSettings) -> list[Block]:
    rows = _panels(queries, settings)
    return blocks.within(rows, settings.tile_rows) + blocks.across(rows, _panels(gallery, settings))


def _own(shared: list[Block]) -> list[Block]:
    return blocks.dealt(shared, processes.rank(), processes.count())


def _compared(
    own: list[Block], features: Features, others: Features, comparison: Comparison, progress: Progress
) -> Iterator[tuple[Block, dict[str, Tensor]]]:
    """Each block with its distances [N, M]; a panel of rows is made ready once for the blocks that follow another."""
    panel = None
    for block in own:
        if panel is None or panel.images != block.rows:
            panel = Panel(features, block.rows, comparison)
        columns_of = others if block.is_across else features
        itself = not block.is_across and block.rows == block.columns
        yield block, compare(panel, columns_of, block.columns, comparison, progress, itself)


def _unite(lists: dict[str, NearestLists]) -> None:
    """Make process 0's lists those of all processes' pairs; a slice of images at a time."""
    if processes.count() == 1:
        return
    for one in lists.values():
        one.largest[:] = processes.largest(one.largest)
        for rows in _slices(0, len(one.keys), PANEL):
            found = processes.gathered(one.keys[rows])
            if found:
                nearest = one.keys.shape[1]
                one.keys[rows] = np.partition(np.concatenate(found, 1), nearest - 1, axis=1)[:, :nearest]


def _merge(lists: dict[str, NearestLists], found: dict[str, Tensor], rows: slice, columns: slice) -> None:
    """Distances [N, M] of the images `rows` to the images `columns` into the lists of both."""
    values = {**found, "global_dmli": found["global"] + found["dmli"]}
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # no two write to the same rows of a list
        merges = [threads.submit(lists[name].add, rows, values[name].cpu().numpy(), columns.start) for name in RANKED]
        if rows != columns:
            turned = ((lists[name], values[name].T.contiguous().cpu().numpy()) for name in RANKED)
            merges += [threads.submit(one.add, columns, matrix, rows.start) for one, matrix in turned]
        for merge in merges:
            merge.result()


def _slices(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _within(images: slice, panel: slice) -> slice:
    return slice(images.start - panel.start, images.stop - panel.start)
