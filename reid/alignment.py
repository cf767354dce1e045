"""Stripes and their alignment: AlignedReID++ (Luo et al., Pattern Recognition 94, 2019), section
3.

Agrees with the authors' published code in values and gradients (tests/test_alignment.py). The path
is written four times, each fast at something else: here in torch with gradients, for training;
compiled for tiles on the CPU (`distances.cpu_kernel.local_and_dmli`) and on a GPU
(`distances.gpu_kernel.local_and_dmli_kernel`); and for single pairs
(`reranking.pair_distances`). One table of cases is the test of all of them (tests/test_paths.py).
"""

import torch
from torch import Tensor

SMALLEST_SQUARE = 1e-12


def euclidean(squares: Tensor) -> Tensor:
    """Squared distances, any shape -> distances `sqrt(max(d^2, 1e-12))`, so that the gradient at 0
    stays finite.
    """
    return squares.clamp(min=SMALLEST_SQUARE).sqrt()


def pairwise_squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances of all pairs: [..., N, C] and [..., M, C] -> [..., N, M].

    By |a|^2 + |b|^2 - 2ab with the norms as they are: on unit vectors 2 - 2ab has the same values
    and other gradients.
    """
    norms = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
    return norms - 2 * (a @ b.transpose(-1, -2))


def pair_costs(a: Tensor, b: Tensor) -> Tensor:
    """Stripe costs tanh(d/2) of N pairs of images: stripes [N, S, C] and [N, S, C] -> [S, S, N],
    in [0, 1).
    """
    return torch.tanh(euclidean(pairwise_squares(a, b)) / 2).movedim(0, -1)


def straight(costs: Tensor) -> Tensor:
    """The unaligned distance: stripe costs [S, S, ...] -> sum of the S costs on the diagonal
    [...], in [0, S).
    """
    return costs.diagonal(dim1=0, dim2=1).sum(-1)


def shortest_path(costs: Tensor) -> Tensor:
    """DMLI, section 3.2: stripe costs [S, S, ...] -> cheapest path from (1, 1) to (S, S) [...],
    right or down.

    The sum runs over the path's 2S - 1 cells, in [0, 2S - 1). Not 0 for an image with itself: the
    path leaves the diagonal's zeros. Goes by anti-diagonals, whose cells do not depend on each
    other.
    """
    stripes = costs.shape[0]
    cells = costs.reshape(stripes * stripes, *costs.shape[2:])
    reached = cells[:1]
    for step in range(1, 2 * stripes - 1):
        top = max(0, step - stripes + 1)
        count = min(step, stripes - 1) - top + 1
        diagonal = cells[top * (stripes - 1) + step :: max(stripes - 1, 1)][:count]
        cheapest = torch.minimum(reached[:-1], reached[1:])
        if step < stripes:
            cheapest = torch.cat([reached[:1], cheapest, reached[-1:]])
        reached = cheapest + diagonal
    return reached[0]
