"""Distances of single pairs of images, for those that re-ranking needs and no list of neighbours holds."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid.alignment import SMALLEST_SQUARE, shortest_path
from reid.features import Features

PAIRS_AT_ONCE = 64  # 16 MB of stripes
PairDistances = Callable[[np.ndarray, np.ndarray], np.ndarray]


def pair_distances(name: str, queries: Features, gallery: Features) -> PairDistances:
    """A function of rows [P] and columns [P] -> distances [P] called `name` of these pairs of the Q + G images.

    Always in fp32, whatever the precision of the tiles.
    """

    def compute(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        found = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            found[some] = _distances(name, queries, gallery, rows[some], columns[some]).numpy()
        return found

    return compute


def _distances(name: str, queries: Features, gallery: Features, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    squares, dmli = 0, 0
    if name != "dmli":
        a, b = (_gather(queries.global_features, gallery.global_features, numbers) for numbers in (rows, columns))
        squares = (normalize(a, dim=-1) - normalize(b, dim=-1)).square().sum(-1)
    if name != "global":
        dmli = _dmli(*(_gather(queries.stripes, gallery.stripes, numbers) for numbers in (rows, columns)))
    return squares + dmli


def _dmli(a: Tensor, b: Tensor) -> Tensor:
    """Stripes of any length [P, S, C] and [P, S, C] -> DMLI [P]; the products are made unit, which are fewer."""
    lengths = (torch.linalg.vector_norm(side, dim=-1) for side in (a, b))
    products = (a @ b.mT) / torch.einsum("ps,pt->pst", *lengths)
    costs = (0.5 - 0.5 * products).clamp_(min=SMALLEST_SQUARE / 4).sqrt_().tanh_()
    return shortest_path(costs.movedim(0, -1))


def _gather(queries: np.ndarray, gallery: np.ndarray, numbers: np.ndarray) -> Tensor:
    """The features of the images of these numbers, of which queries have the first."""
    is_query = numbers < len(queries)
    found = np.empty((len(numbers), *queries.shape[1:]), np.float32)
    found[is_query] = queries[numbers[is_query]]
    found[~is_query] = gallery[numbers[~is_query] - len(queries)]
    return torch.from_numpy(found)
