"""Local and DMLI distances of a tile of image pairs: one matrix product, and one sweep over its
cells.

Luo et al., "AlignedReID++", 2019, section 3.2; agrees with `reid.alignment`, which training uses
(tests/test_tile.py). Stripes enter the product as fp32, bf16 or int8; what follows is in fp32. A
GPU computes tiles by `reid.distances.gpu_kernel`, or without Triton by torch's operations.
"""

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid.alignment import SMALLEST_SQUARE, shortest_path, straight
from reid.distances import cpu_kernel

# precision: the type of the product's operands, and of the product
OPERANDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
PRODUCTS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int32}
LARGEST_INT8 = 127
ALIGNMENT = 64  # bytes
IMAGES_AT_ONCE = 32  # whose stripes are normalised: they stay in the cache


@dataclass(frozen=True)
class Operand:
    """A side of the product: unit stripes [S, N, C] as fp32 or bf16, or as int8 with the factors
    [S, N] that make these unit.
    """

    stripes: Tensor
    factors: Tensor | None

    def __len__(self) -> int:
        return self.stripes.shape[1]

    def __getitem__(self, images: slice) -> "Operand":
        factors = None if self.factors is None else self.factors[:, images]
        return Operand(self.stripes[:, images], factors)


def empty(shape: tuple[int, ...], kind: torch.dtype, device: torch.device) -> Tensor:
    """An empty tensor, on the CPU aligned to 64 bytes and in huge pages.

    NumPy asks the system for huge pages, and taking fresh small ones costs a core more than
    normalising stripes; but it aligns to 16 bytes, and products may differ in their last bit with
    the alignment to 64.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=kind, device=device)
    size = math.prod(shape) * kind.itemsize
    buffer = torch.from_numpy(np.empty(size + ALIGNMENT, np.uint8))
    first = -buffer.data_ptr() % ALIGNMENT
    return buffer[first : first + size].view(kind).view(shape)


def unit(vectors: Tensor) -> Tensor:
    """Divide vectors [..., C] by their lengths, in place.

    Without torch's least length of 1e-12: what `arrays.features` lets pass is made unit exactly.
    """
    return vectors.div_(torch.linalg.vector_norm(vectors, dim=-1, keepdim=True))


def operand(
    stripes: np.ndarray, precision: str, device: torch.device, limit: int = LARGEST_INT8
) -> Operand:
    """Stripes [N, S, C] float32, maybe memory-mapped, none of length 0 -> the operand of their
    unit vectors.

    int8: each stripe is divided by its own largest magnitude, rounded to -limit ... limit, and
    made unit after that, so that equal stripes stay at distance 0.
    """
    images, count, channels = stripes.shape
    filled = empty((count, images, channels), OPERANDS[precision], device)
    if precision == "int8":
        factors = torch.empty(count, images, device=device)
        arrays = np.ascontiguousarray(stripes), filled.numpy(), factors.numpy()
        cpu_kernel.quantise(*arrays, np.float32(limit))
        return Operand(filled, factors)
    for start in range(0, images, IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        chunk = torch.tensor(np.asarray(stripes[part])).to(device).transpose(0, 1)
        filled[:, part] = unit(chunk)
    return Operand(filled, None)


class TileBuffer:
    """A buffer for the product of two operands, for one thread; as large as the largest was."""

    def __init__(self, precision: str, device: torch.device) -> None:
        self.product = empty((0,), PRODUCTS[precision], device)

    def distances(self, a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
        """`local` and `dmli`, both [N, M], of N and M images."""
        left, right = (side.stripes.reshape(-1, side.stripes.shape[-1]) for side in (a, b))
        count, kind, device = len(left) * len(right), self.product.dtype, self.product.device
        if count > len(self.product):
            self.product = None  # free before more is taken
            self.product = empty((count,), kind, device)
        cells = self.product[:count].view(len(left), len(right))
        base, factor = product(left, right, cells)
        if cells.device.type != "cpu":
            return by_torch(cells.float() * factor + base, len(a), len(b))
        out = torch.empty(2, len(a), len(b))
        numbers = cells.view(torch.int16) if cells.dtype == torch.bfloat16 else cells
        cpu_kernel.local_and_dmli(
            numbers.numpy(), base, factor * _factors(a), _factors(b), out.numpy()
        )
        return out[0], out[1]


def by_torch(half_squares: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """(d / 2)^2 [S * N, S * M] of stripes -> `local` and `dmli`, both [N, M], on any device."""
    costs = half_squares.clamp(min=SMALLEST_SQUARE / 4).sqrt_().tanh_()
    costs = costs.view(len(costs) // rows, rows, -1, columns).transpose(1, 2)
    return straight(costs), shortest_path(costs)


def product(left: Tensor, right: Tensor, cells: Tensor) -> tuple[np.float32, np.float32]:
    """Fill `cells` [S * N, S * M] -> base and factor: (d / 2)^2 = 0.5 - 0.5 ab is
    `base + factor * cell`.
    """
    half = np.float32(0.5)
    if cells.dtype == torch.bfloat16:  # small squares lose less by rounding than products near 1
        cells.fill_(0.5).addmm_(left, right.T, alpha=-0.5)
        return np.float32(0), np.float32(1)
    multiply = torch._int_mm if cells.dtype == torch.int32 else torch.mm
    multiply(left, right.T, out=cells)
    return half, -half


def _factors(side: Operand) -> np.ndarray:
    """The factors of a product's rows or columns [S * N]; ones but for int8."""
    if side.factors is None:
        return np.ones(len(side.stripes) * len(side), np.float32)
    return side.factors.reshape(-1).numpy()


def fused_distances(
    device: torch.device,
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """`gpu_kernel.distances` on an NVIDIA GPU from Ampere on with Triton, else None."""
    has_cuda = device.type == "cuda" and torch.version.cuda is not None
    if not has_cuda or importlib.util.find_spec("triton") is None:
        return None
    if torch.cuda.get_device_capability(device) < (8, 0):
        return None
    from reid.distances.gpu_kernel import distances  # torch brings Triton along on Linux alone

    return distances
