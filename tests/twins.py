"""Slow twins that several test files compare with: stripe costs and the cheapest path, straight
from the definition.
"""

import numpy as np
import torch


def slow_costs(a, b):
    """Stripes [S, C] and [S, C] -> costs [S, S] by (e^d - 1) / (e^d + 1)."""
    distances = np.sqrt(((a[:, None] - b[None, :]) ** 2).sum(-1))
    return (np.exp(distances) - 1) / (np.exp(distances) + 1)


def all_costs(a, b):
    """Unit stripes [N, S, C] and [M, S, C], tensors -> costs of all pairs [S, S, N, M], float64."""
    products = torch.einsum("nsc,mtc->stnm", a.double(), b.double())
    return torch.tanh((2 - 2 * products).clamp(min=1e-12).sqrt() / 2)


def slow_path(costs):
    """Cheapest path [...] from the first to the last cell of [S, S, ...], right or down."""
    reached = np.full(costs.shape, np.inf)
    for i, j in np.ndindex(costs.shape[:2]):
        before = [reached[i - 1, j]] * (i > 0) + [reached[i, j - 1]] * (j > 0)
        reached[i, j] = costs[i, j] + (np.minimum.reduce(before) if before else 0)
    return reached[-1, -1]


def slow_dmli(a, b):
    """DMLI of two images, arrays or tensors: stripes [S, C] and [S, C] -> a number."""
    return slow_path(slow_costs(np.asarray(a), np.asarray(b)))
