"""Two images stripe by stripe: the costs of all pairs of stripes and the path that DMLI takes.

For the few pairs that are shown. Agrees with `reid.alignment`, and says besides which way the
cheapest path goes.
"""

import numpy as np
from numpy import ndarray

SMALLEST_SQUARE = 1e-12  # of a distance of stripes, as in `reid.alignment`, which needs torch


def stripe_costs(a: ndarray, b: ndarray) -> ndarray:
    """Stripes [S, C] and [S, C], of any length -> costs tanh(d/2) of their directions [S, S]."""
    a, b = (side / np.linalg.norm(side, axis=-1, keepdims=True) for side in (a, b))
    squares = ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(-1)
    return np.tanh(np.sqrt(np.maximum(squares, SMALLEST_SQUARE)) / 2)


def cheapest_path(costs: ndarray) -> list[tuple[int, int]]:
    """Costs [S, S] -> the 2S - 1 cells of the cheapest path from the first to the last, right or
    down.

    Of two equally cheap ways into a cell, the one from above is taken.
    """
    sums = _sums(costs)
    row, column = len(costs) - 1, len(costs) - 1
    path = [(row, column)]
    while (row, column) != (0, 0):
        from_above = sums[row - 1, column] if row else np.inf
        from_left = sums[row, column - 1] if column else np.inf
        row, column = (row - 1, column) if from_above <= from_left else (row, column - 1)
        path.append((row, column))
    return path[::-1]


def _sums(costs: ndarray) -> ndarray:
    """Costs [S, S] -> the sum of the cheapest path from the first cell to each [S, S]."""
    sums = np.array(costs, np.float64)
    for row, column in np.ndindex(sums.shape):
        before = [sums[row - 1, column]] * (row > 0) + [sums[row, column - 1]] * (column > 0)
        sums[row, column] += min(before, default=0)
    return sums
