"""Distances of all pairs in tiles, and each image's nearest neighbours for re-ranking.

Global: squared Euclidean on unit features, in [0, 4]. Local and DMLI (Luo et al., 2019, section
3.2) come from the same stripe costs. Nothing of size (Q + G) x (Q + G) is ever held: panels of
images are read, made ready and compared, their distances merged into running lists, each unordered
pair once. Agrees with the authors' published code.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid.arrays.features import Features
from reid.arrays.neighbours import RANKED, NearestLists, Neighbours
from reid.arrays.npy import ArrayFile
from reid.distances import partition
from reid.distances.partition import Block
from reid.distances.tile import PRODUCTS, Operand, Tile, empty, fused_distances, operand
from reid.runtime import distributed
from reid.runtime.errors import InputError
from reid.threads import on_all_cores, one_by_one

NAMES = ("global", "local", "dmli")  # the matrices between queries and gallery
PANEL = 4096  # images compared with as many at a time: what is in memory
Progress = Callable[[int], None]


@dataclass(frozen=True)
class DistanceSettings:
    """`distances` in params.yaml: neighbours kept of each image; images in a tile's rows and
    columns; device.

    `precision` is that of the stripes in their product: fp32, bf16 or int8. All else, and the
    global distance, is fp32.
    """

    neighbours: int
    tile_rows: int
    tile_columns: int
    precision: str
    device: str

    def __post_init__(self) -> None:
        if min(self.neighbours, self.tile_rows, self.tile_columns) < 1:
            raise InputError(
                f"`distances` in params.yaml: wanted numbers of at least 1, got {self}."
            )
        if self.precision not in PRODUCTS:
            raise InputError(
                f"distances.precision in params.yaml: got {self.precision!r}, wanted one of "
                f"{', '.join(PRODUCTS)}."
            )


class Comparison:
    """How images are compared: the settings, the device, and each thread's room for a tile,
    allocated once.

    On the CPU a thread computes a tile; on a GPU tiles follow each other, as wide as a panel where
    `reid.distances.gpu_kernel` can be had, which needs no room for their cells. Raises InputError
    for int8 on a GPU.
    """

    def __init__(self, settings: DistanceSettings, device: torch.device) -> None:
        if settings.precision == "int8" and device.type != "cpu":
            raise InputError(
                "distances.precision in params.yaml: int8 is for the CPU; on a GPU choose bf16 or "
                "fp32."
            )
        self.settings, self.device, self.fused = settings, device, fused_distances(device)
        self.columns = PANEL if self.fused else settings.tile_columns
        self.map = on_all_cores if device.type == "cpu" else one_by_one
        self.free: list[Tile] = []

    def distances(self, a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
        """`local` and `dmli`, both [N, M], of N and M images."""
        if self.fused:
            return self.fused(a.stripes, b.stripes)
        try:
            room = self.free.pop()
        except IndexError:  # all that there are are in use
            rows, columns = self.settings.tile_rows, self.settings.tile_columns
            room = Tile(rows, columns, a.stripes.shape[0], self.settings.precision, self.device)
        found = room.distances(a, b)
        self.free.append(room)
        return found

    def stripes(self, features: Features, images: slice) -> Operand:
        """Some images' stripes, read and ready for the product."""
        return operand(features.stripes[images], self.settings.precision, self.device)

    def global_features(self, features: Features, images: slice) -> Tensor:
        """Some images' global features [N, D], read and of unit length."""
        return normalize(
            torch.tensor(np.asarray(features.global_features[images])).to(self.device), dim=-1
        )


@dataclass(frozen=True)
class Images:
    """Which images a tile has on a side, their unit global features [N, D], and their stripes."""

    which: slice
    global_features: Tensor
    stripes: Operand

    def __len__(self) -> int:
        return len(self.stripes)

    def without(self, first: int) -> "Images":
        """All but the first so many."""
        which = slice(self.which.start + first, self.which.stop)
        return Images(which, self.global_features[first:], self.stripes[first:])


class Panel:
    """Some images, in memory and ready, by tiles of `size` images; without `size` by tiles of
    rows.
    """

    def __init__(
        self, features: Features, images: slice, comparison: Comparison, size: int | None = None
    ) -> None:
        def ready(which: slice) -> Images:
            return Images(
                which,
                comparison.global_features(features, which),
                comparison.stripes(features, which),
            )

        self.images, self.tiles = images, []
        tiles = list(_slices(images.start, images.stop, size or comparison.settings.tile_rows))
        comparison.map(ready, tiles, self.tiles.append)
        features.release()


def global_squares(a: Tensor, b: Tensor) -> Tensor:
    """Unit features [N, D] and [M, D] -> squared Euclidean distances [N, M], in [0, 4]."""
    return a.new_full((len(a), len(b)), 2.0).addmm_(a, b.T, alpha=-2).clamp_(min=0)


def compare(
    panel: Panel,
    features: Features,
    columns: slice,
    comparison: Comparison,
    progress: Progress,
    itself: bool = False,
) -> dict[str, Tensor]:
    """All distances of a panel's N images to M images of `features` -> {global, local, dmli}, each
    [N, M].

    `itself` says that the columns are the panel's own images: each unordered pair of tiles is then
    computed once.
    """
    right = Panel(features, columns, comparison, comparison.columns)
    shape = panel.images.stop - panel.images.start, columns.stop - columns.start
    found = {name: empty(shape, torch.float32, comparison.device) for name in NAMES}
    pairs = [(a, b) for b in right.tiles for a in panel.tiles]
    if itself:
        known = ((a, b, max(a.which.start - b.which.start, 0)) for a, b in pairs)
        pairs = [(a, b.without(first)) for a, b, first in known if first < len(b)]

    def fill(pair: tuple[Images, Images]) -> int:
        a, b = pair
        at = _within(a.which, panel.images), _within(b.which, columns)
        tile = (
            global_squares(a.global_features, b.global_features),
            *comparison.distances(a.stripes, b.stripes),
        )
        later = slice(max(at[0].stop, at[1].start), at[1].stop)
        for name, values in zip(NAMES, tile, strict=True):
            found[name][at] = values
            if itself:
                found[name][later, at[0]] = values[:, later.start - at[1].start :].T
        return len(a) * len(b)

    comparison.map(fill, pairs, progress)
    return found


def pairs_to_compute(
    gallery: int, queries: list[int], settings: DistanceSettings, own: bool = False
) -> int:
    """The number of pairs that `gallery_lists` and `query_distances` of each query set report to
    `progress`.

    Of all processes together, or this one's `own`.
    """
    deals = [
        _gallery_blocks(gallery, settings),
        *(_query_blocks(images, gallery, settings) for images in queries),
    ]
    return sum(block.pairs for blocks in deals for block in (_own(blocks) if own else blocks))


def gallery_lists(
    gallery: Features, comparison: Comparison, progress: Progress
) -> dict[str, NearestLists]:
    """Nearest lists within the gallery, for every protocol alike; `progress` gets the number of
    pairs done.

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
    """Fill `out` = {global, local, dmli} with distances [Q, G], and return the neighbours of all Q
    + G images.

    Several processes each fill their share of `out`, and the neighbours are process 0's; the
    others return None.
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
    return (
        {name: one.neighbours() for name, one in lists.items()} if distributed.rank() == 0 else None
    )


def _panels(images: int, settings: DistanceSettings) -> list[slice]:
    return partition.panels(images, PANEL, settings.tile_rows)


def _gallery_blocks(gallery: int, settings: DistanceSettings) -> list[Block]:
    return partition.within(_panels(gallery, settings), settings.tile_rows)


def _query_blocks(queries: int, gallery: int, settings: DistanceSettings) -> list[Block]:
    rows = _panels(queries, settings)
    return partition.within(rows, settings.tile_rows) + partition.across(
        rows, _panels(gallery, settings)
    )


def _own(shared: list[Block]) -> list[Block]:
    return partition.dealt(shared, distributed.rank(), distributed.world_size())


def _compared(
    own: list[Block],
    features: Features,
    others: Features,
    comparison: Comparison,
    progress: Progress,
) -> Iterator[tuple[Block, dict[str, Tensor]]]:
    """Each block with its distances [N, M]; a panel of rows is made ready once for the blocks that
    follow another.
    """
    panel = None
    for block in own:
        if panel is None or panel.images != block.rows:
            panel = Panel(features, block.rows, comparison)
        columns_of = others if block.is_across else features
        itself = not block.is_across and block.rows == block.columns
        yield block, compare(panel, columns_of, block.columns, comparison, progress, itself)


def _unite(lists: dict[str, NearestLists]) -> None:
    """Make process 0's lists those of all processes' pairs; a slice of images at a time."""
    if distributed.world_size() == 1:
        return
    for one in lists.values():
        one.largest[:] = distributed.all_max(one.largest)
        for rows in _slices(0, len(one.keys), PANEL):
            found = distributed.gather(one.keys[rows])
            if found:
                nearest = one.keys.shape[1]
                one.keys[rows] = np.partition(np.concatenate(found, 1), nearest - 1, axis=1)[
                    :, :nearest
                ]


def _merge(
    lists: dict[str, NearestLists], found: dict[str, Tensor], rows: slice, columns: slice
) -> None:
    """Distances [N, M] of the images `rows` to the images `columns` into the lists of both."""
    values = {**found, "global_dmli": found["global"] + found["dmli"]}
    with ThreadPoolExecutor(
        torch.get_num_threads()
    ) as threads:  # no two write to the same rows of a list
        merges = [
            threads.submit(lists[name].add, rows, values[name].cpu().numpy(), columns.start)
            for name in RANKED
        ]
        if rows != columns:
            turned = ((lists[name], values[name].T.contiguous().cpu().numpy()) for name in RANKED)
            merges += [
                threads.submit(one.add, columns, matrix, rows.start) for one, matrix in turned
            ]
        for merge in merges:
            merge.result()


def _slices(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _within(images: slice, panel: slice) -> slice:
    return slice(images.start - panel.start, images.stop - panel.start)
