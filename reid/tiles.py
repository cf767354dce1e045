"""Local and DMLI distances of a tile of image pairs in one pass, in buffers that are allocated once.

Luo et al., "AlignedReID++", 2019, section 3.2; agrees with `reid.alignment`, which training uses (tests/test_tiles.py).
One matrix product gives the S x S cells of every pair; all that follows happens in place, in the cache. Stripes may
enter the product as fp32, bf16 or int8; what follows is fp32 always.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from reid.alignment import SMALLEST_SQUARE

OPERANDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}  # precision: what enters the product
PRODUCTS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int32}  # and what comes out
IMAGES_AT_ONCE = 32  # made ready for the product: they stay in the cache


@dataclass(frozen=True)
class Operand:
    """A side of the product: unit stripes [S, N, C] as fp32 or bf16, or as int8 with the factors [S, N] to undo it."""

    stripes: Tensor
    factors: Tensor | None

    def __len__(self) -> int:
        return self.stripes.shape[1]

    def __getitem__(self, images: slice) -> "Operand":
        factors = None if self.factors is None else self.factors[:, images]
        return Operand(self.stripes[:, images], factors)


def operand(stripes: np.ndarray, precision: str, device: torch.device) -> Operand:
    """Stripes [N, S, C] float32, maybe memory-mapped, none of length 0 -> the operand of their unit vectors.

    int8: each stripe is divided by its own largest magnitude, rounded to -127 ... 127, and made unit after that, so
    that equal stripes stay at distance 0.
    """
    images, count, channels = stripes.shape
    ready = torch.empty(count, images, channels, dtype=OPERANDS[precision], device=device)
    factors = torch.empty(count, images, device=device) if precision == "int8" else None
    for start in range(0, images, IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        some = torch.tensor(np.asarray(stripes[part])).to(device).transpose(0, 1)
        if factors is None:
            ready[:, part] = some.div_(torch.linalg.vector_norm(some, dim=-1, keepdim=True))
        else:
            largest = torch.maximum(some.amax(-1, keepdim=True), -some.amin(-1, keepdim=True))
            ready[:, part] = some.mul_(127 / largest).round_()
            factors[:, part] = 1 / torch.linalg.vector_norm(some, dim=-1)
    return Operand(ready, factors)


class Tile:
    """Room for the cells of N x M images with S stripes each, and the cells' views by anti-diagonals."""

    def __init__(self, rows: int, columns: int, stripes: int, precision: str, device: torch.device) -> None:
        n, m, s = rows, columns, stripes
        self.cells = torch.empty(s * n, s * m, device=device)
        kind = PRODUCTS[precision]
        self.product = self.cells if kind == torch.float32 else torch.empty_like(self.cells, dtype=kind)
        self.minima = torch.empty(max(s - 1, 1), n, m, device=device)
        down, right = n * s * m, m  # from a cell to the cell below, and to the next

        def cells(first: int, step: int, count: int) -> Tensor:
            return self.cells.as_strided((count, n, m), (step, s * m, 1), first)

        self.straight = cells(0, down + right, s)
        diagonals = [
            cells(max(0, k - s + 1) * (down - right) + k * right, down - right, min(k, 2 * s - 2 - k) + 1)
            for k in range(2 * s - 1)
        ]
        self.steps = [self._step(*pair) for pair in pairwise(diagonals)]
        self.last = diagonals[-1][0]

    def distances(self, a: Operand, b: Operand, local: Tensor, dmli: Tensor) -> None:
        """Fill `local` and `dmli`, both [N, M], with distances of N and M images: `straight` and `shortest_path`."""
        self._half_squares(a, b)
        self.cells.clamp_(min=SMALLEST_SQUARE / 4).sqrt_().tanh_()
        torch.sum(self.straight, 0, out=local)
        self._shortest_path()
        dmli.copy_(self.last)

    def _half_squares(self, a: Operand, b: Operand) -> None:
        """Cells (d / 2)^2 = 0.5 - 0.5 ab, for unit vectors."""
        left, right = a.stripes.reshape(-1, a.stripes.shape[-1]), b.stripes.reshape(-1, b.stripes.shape[-1]).T
        if self.product.dtype == torch.int32:
            torch._int_mm(left, right, out=self.product)
            self.cells.copy_(self.product).mul_(a.factors.reshape(-1, 1))
            torch.addcmul(self.cells.new_tensor(0.5), self.cells, b.factors.reshape(1, -1), value=-0.5, out=self.cells)
            return
        self.product.fill_(0.5).addmm_(left, right, alpha=-0.5)
        if self.product is not self.cells:
            self.cells.copy_(self.product)

    def _step(self, before: Tensor, cells: Tensor) -> tuple[tuple[Tensor, ...] | None, list[tuple[Tensor, Tensor]]]:
        """The views for one anti-diagonal after another: what to take the minima of, and what to add to what."""
        count = len(before)
        minima = self.minima[: count - 1]
        smaller = (before[:-1], before[1:], minima) if count > 1 else None
        if len(cells) < count:
            return smaller, [(cells, minima)]
        ends = (cells[::count], before[:: max(count - 1, 1)])  # there is one way to reach them
        return smaller, [ends, (cells[1:-1], minima)] if smaller else [ends]

    def _shortest_path(self) -> None:
        """Each cell becomes the cheapest path that ends in it; the cells of an anti-diagonal do not need each other."""
        for smaller, sums in self.steps:
            if smaller:
                one, other, minima = smaller
                torch.minimum(one, other, out=minima)
            for cells, cheapest in sums:
                cells.add_(cheapest)
