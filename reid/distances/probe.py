"""Whether the stripes' products are right on this machine, tried when a comparison starts.

CPUs without VNNI add int8 products in 16 bits, which overflow without a word, and libraries round
float32. A few small products, the worst ones among them, are compared with exact ones.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from reid.distances.tile import LARGEST_INT8, PRODUCTS, by_torch, empty, product
from reid.runtime import fp32
from reid.runtime.errors import InputError

SMALLER_INT8 = 63  # of which two products, shifted by 128 as libraries do, fit into 16 bits
# rows, columns, channels: as many as kernels like, and few and odd ones
SHAPES = ((128, 128, 256), (64, 8, 70), (8, 24, 2048), (1, 3, 129), (16, 1, 5))
BF16_ERROR = 2.0**-8, 2.0**-14  # relative, of rounding the product, and absolute, of fp32 sums
FUSED_ERROR = 1e-4  # of a distance; with stripes of 11 bits it is 5e-4


def int8_limit() -> int:
    """The largest magnitude of whole numbers whose int8 products are exact: 127, or else 63.

    Raises InputError where neither are.
    """
    for limit in (LARGEST_INT8, SMALLER_INT8):
        if all(_is_exact(left, right) for left, right in _int8_operands(limit)):
            return limit
    raise InputError(
        "distances.precision in params.yaml is int8, whose products are wrong on this machine, "
        f"even of numbers up to {SMALLER_INT8}: set it to fp32."
    )


def check_products(precision: str, device: torch.device) -> None:
    """Raise InputError where products of stripes in fp32 or bf16 are not right on a device."""
    fp32.check(device)  # the global distance and the sums are fp32 always
    if precision == "fp32":
        return
    relative, absolute = BF16_ERROR
    for left, right in _bf16_operands():
        cells = empty((len(left), len(right)), PRODUCTS[precision], device)
        base, factor = product(left.to(device), right.to(device), cells)
        found = cells.cpu().double() * float(factor) + float(base)
        expected = 0.5 - 0.5 * left.double() @ right.double().T
        error = (found - expected).abs()
        if not (error <= relative * expected.abs() + absolute).all():
            raise _not_right(precision, device, error.max())


def check_fused(
    fused: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], precision: str, device: torch.device
) -> None:
    """The same for `gpu_kernel.distances`, or what stands for it, against float64."""
    fp32.check(device)
    generator = torch.Generator().manual_seed(0)
    sides = [torch.rand(8, 16, 64, generator=generator) for _ in range(2)]
    if precision == "fp32":  # numbers of 13 bits, whose rounding adds up
        sides = [torch.where(side < 0.8, fp32.DETAIL, -fp32.DETAIL) / 8 for side in sides]
    else:
        sides = [_unit(side**4).bfloat16() for side in sides]
    found = fused(*(side.to(device) for side in sides))
    left, right = (side.double().flatten(0, 1) for side in sides)
    expected = by_torch(0.5 - 0.5 * left @ right.T, 16, 16)
    error = max(
        (distances.cpu() - wanted).abs().max()
        for distances, wanted in zip(found, expected, strict=True)
    )
    if not error < FUSED_ERROR:
        raise _not_right(precision, device, error)


def _bf16_operands() -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of unit vectors [N, C] and [M, C] as bf16: far from each other, and near duplicates."""
    generator = torch.Generator().manual_seed(0)
    for rows, columns, channels in SHAPES:
        for exponent in (4, 0.1):
            left, right = (
                _unit(torch.rand(count, channels, generator=generator) ** exponent).bfloat16()
                for count in (rows, columns)
            )
            yield left, right


def _int8_operands(limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of matrices [N, C] and [M, C] int8: the largest sums, the smallest ones, random."""
    generator = torch.Generator().manual_seed(0)
    for rows, columns, channels in SHAPES:
        full = torch.full((rows, channels), limit, dtype=torch.int8)
        others = torch.full((columns, channels), limit, dtype=torch.int8)
        yield full, others
        yield full, -others
        yield -full, -others
        left, right = (
            torch.randint(-limit, limit + 1, (count, channels), generator=generator).char()
            for count in (rows, columns)
        )
        yield left, right
        yield left.sign() * full, right.sign() * others


def _is_exact(left: Tensor, right: Tensor) -> bool:
    cells = empty((len(left), len(right)), torch.int32, left.device)
    product(left, right, cells)
    return torch.equal(cells.double(), left.double() @ right.double().T)


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def _not_right(precision: str, device: torch.device, error: Tensor) -> InputError:
    other = "fp32" if precision != "fp32" else "bf16, or distances.device to cpu"
    return InputError(
        f"distances.precision in params.yaml is {precision}, whose products on {device} are off "
        f"by {float(error):.1e}, more than rounding explains: set it to {other}."
    )
