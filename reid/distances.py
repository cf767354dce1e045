"""Distances of all pairs in tiles, and each image's nearest neighbours for re-ranking.

Global: squared Euclidean on unit features, in [0, 4]. Local and DMLI (Luo et al., 2019, section 3.2) come from the same
stripe costs. Nothing of size (Q + G) x (Q + G) is ever held: each row block is merged into running lists, and each
unordered pair is computed once. Agrees with the authors' published code (tests/test_distances.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid.alignment import pair_costs, shortest_path, straight, tile_costs
from reid.errors import InputError
from reid.features import Features
from reid.neighbours import RANKED, NearestLists, Neighbours

CPU = torch.device("cpu")
PAIRS_AT_ONCE = 512
PairDistances = Callable[[np.ndarray, np.ndarray], np.ndarray]
NAMES = ("global", "local", "dmli")  # the matrices between queries and gallery


@dataclass(frozen=True)
class DistanceSettings:
    """`distances` in params.yaml: neighbours kept of each image; images in a tile's rows and columns; device."""

    neighbours: int
    tile_rows: int
    tile_columns: int
    device: str

    def __post_init__(self) -> None:
        if min(self.neighbours, self.tile_rows, self.tile_columns) < 1:
            raise InputError(f"`distances` in params.yaml: wanted numbers of at least 1, got {self}.")


@dataclass(frozen=True)
class Images:
    """What distances are computed of: unit global features [N, D] and unit stripes [N, S, C] of N images."""

    global_features: Tensor
    stripes: Tensor

    def __len__(self) -> int:
        return len(self.stripes)


def unit_images(features: Features, device: torch.device) -> Images:
    """Features of N images -> their global features [N, D] and stripes [N, S, C], of unit length, on a device."""
    normalize = torch.nn.functional.normalize
    return Images(
        normalize(torch.tensor(np.asarray(features.global_features)).to(device), dim=-1),
        normalize(torch.tensor(np.asarray(features.stripes)).to(device), dim=-1),
    )


def global_squares(a: Tensor, b: Tensor) -> Tensor:
    """Unit features [N, D] and [M, D] -> squared Euclidean distances [N, M], in [0, 4]."""
    return torch.addmm(a.new_tensor(2.0), a, b.T, alpha=-2).clamp_(min=0)


def block(rows: Images, columns: Images, tile_columns: int) -> dict[str, Tensor]:
    """All distances of N row images to M column images, by tiles of columns -> {global, local, dmli}, each [N, M]."""
    local, dmli = (rows.stripes.new_empty(len(rows), len(columns)) for _ in range(2))
    for start in range(0, len(columns), tile_columns):
        tile = slice(start, start + tile_columns)
        costs = tile_costs(rows.stripes, columns.stripes[tile])
        local[:, tile], dmli[:, tile] = straight(costs), shortest_path(costs)
    return {"global": global_squares(rows.global_features, columns.global_features), "local": local, "dmli": dmli}


def pair_distances(name: str, queries: Features, gallery: Features) -> PairDistances:
    """A function of rows [P] and columns [P] -> distances [P] called `name` of these pairs of the Q + G images."""

    def compute(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        found = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            a, b = (unit_images(_gather(queries, gallery, numbers[some]), CPU) for numbers in (rows, columns))
            found[some] = _pairs(name, a, b).numpy()
        return found

    return compute


def _pairs(name: str, a: Images, b: Images) -> Tensor:
    squares = (a.global_features - b.global_features).square().sum(-1)
    if name == "global":
        return squares
    dmli = shortest_path(pair_costs(a.stripes, b.stripes))
    return dmli if name == "dmli" else squares + dmli


def _gather(queries: Features, gallery: Features, numbers: np.ndarray) -> Features:
    """The images of these numbers, of which queries have the first, as features of their own."""
    is_query = numbers < len(queries)
    arrays = {}
    for field, of_queries in vars(queries).items():
        arrays[field] = np.empty((len(numbers), *of_queries.shape[1:]), of_queries.dtype)
        arrays[field][is_query] = of_queries[numbers[is_query]]
        arrays[field][~is_query] = getattr(gallery, field)[numbers[~is_query] - len(queries)]
    return Features(**arrays)


def pairs_to_compute(gallery: int, queries: list[int], settings: DistanceSettings) -> int:
    """The number of pairs that `gallery_lists` and `query_distances` of each query set report to `progress`."""
    symmetric = sum(
        (min(start + settings.tile_rows, images) - start) * (images - start)
        for images in (gallery, *queries)
        for start in range(0, images, settings.tile_rows)
    )
    return symmetric + gallery * sum(queries)


def gallery_lists(
    gallery: Images, settings: DistanceSettings, progress: Callable[[int], None]
) -> dict[str, NearestLists]:
    """Nearest lists within the gallery, for every protocol alike; `progress` gets the number of pairs done."""
    lists = {name: NearestLists(len(gallery), settings.neighbours) for name in RANKED}
    _add_symmetric(lists, gallery, settings, progress)
    return lists


def query_distances(
    queries: Images,
    gallery: Images,
    within_gallery: dict[str, NearestLists],
    settings: DistanceSettings,
    out: dict[str, np.ndarray],
    progress: Callable[[int], None],
) -> dict[str, Neighbours]:
    """Fill `out` = {global, local, dmli} with distances [Q, G], and return the neighbours of all Q + G images."""
    first = len(queries)
    lists = {name: one.shifted(first, first + len(gallery)) for name, one in within_gallery.items()}
    _add_symmetric(lists, queries, settings, progress)
    for start in range(0, first, settings.tile_rows):
        rows = slice(start, min(start + settings.tile_rows, first))
        found = block(_take(queries, rows), gallery, settings.tile_columns)
        for name in NAMES:
            out[name][rows] = found[name].cpu().numpy()
        for name, values in _ranked(found).items():
            lists[name].add(rows, values, first)
            lists[name].add(slice(first, None), values.T, start)
        progress(len(gallery) * (rows.stop - rows.start))
    return {name: one.neighbours() for name, one in lists.items()}


def _add_symmetric(
    lists: dict[str, NearestLists], images: Images, settings: DistanceSettings, progress: Callable[[int], None]
) -> None:
    """Take in the distances within a set whose images are numbered from 0: each unordered pair of tiles once."""
    for start in range(0, len(images), settings.tile_rows):
        stop = min(start + settings.tile_rows, len(images))
        found = block(_take(images, slice(start, stop)), _take(images, slice(start, None)), settings.tile_columns)
        for name, values in _ranked(found).items():
            lists[name].add(slice(start, stop), values, start)
            if stop < len(images):
                lists[name].add(slice(stop, len(images)), values[:, stop - start :].T, start)
        progress(found["dmli"].numel())


def _ranked(found: dict[str, Tensor]) -> dict[str, np.ndarray]:
    values = {**found, "global_dmli": found["global"] + found["dmli"]}
    return {name: values[name].cpu().numpy() for name in RANKED}


def _take(images: Images, rows: slice) -> Images:
    return Images(images.global_features[rows], images.stripes[rows])
