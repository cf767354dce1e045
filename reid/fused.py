"""Local and DMLI distances on a GPU in one kernel: product, stripe costs and path; no cell of a pair reaches memory.

Luo et al., "AlignedReID++", 2019, section 3.2; agrees with `reid.alignment` in Triton's interpreter
(tests/test_fused.py), which is where it has run: not yet on a GPU. Its block sizes are estimates.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from reid.alignment import SMALLEST_SQUARE
from reid.kernels import COEFFICIENTS

# Of one program: images of rows and of columns, and channels at a time. With 8 stripes that is a product of blocks
# 128 x 32 and 32 x 128, whose 128 x 128 cells of one row stripe and as many paths take 128 registers in 8 warps.
ROWS, COLUMNS, CHANNELS, WARPS = 128, 16, 32, 8
INFINITY = tl.constexpr(float("inf"))
SMALLEST = tl.constexpr(SMALLEST_SQUARE / 4)  # of (d / 2)^2
P0, P1, P2, P3, P4, P5, P6, P7 = (tl.constexpr(float(one)) for one in COEFFICIENTS)


def distances(a: Tensor, b: Tensor, local: Tensor, dmli: Tensor) -> None:
    """Unit stripes [S, N, C] and [S, M, C], fp32 or bf16 -> fill `local` and `dmli`, both [N, M] float32.

    The last dimension of each lies side by side in memory; the other strides are free. fp32 stripes are multiplied as
    three TF32 products, which keep fp32's accuracy; sums are fp32 always.
    """
    (stripes, n, channels), m = a.shape, b.shape[1]
    grid = triton.cdiv(n, ROWS), triton.cdiv(m, COLUMNS)
    sizes = {"ROWS": ROWS, "COLUMNS": COLUMNS, "CHANNELS": CHANNELS, "PADDED": triton.next_power_of_2(stripes)}
    strides = *a.stride()[:2], *b.stride()[:2], local.stride(0), dmli.stride(0)
    _distances[grid](a, b, local, dmli, n, m, channels, *strides, STRIPES=stripes, **sizes, num_warps=WARPS)


@triton.jit
def _distances(
    a, b, local, dmli, n, m, channels,
    a_stripe, a_image, b_stripe, b_image, local_row, dmli_row,
    STRIPES: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: ROWS x COLUMNS pairs. Goes down the row images' stripes s; all column stripes t are at hand at once.

    A row of cells is [ROWS, PADDED * COLUMNS], t before the image, for the product, and [ROWS, PADDED, COLUMNS] after
    it. PADDED is S up to a power of two, which Triton asks for; the cells beyond S come last and change none before.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    t = tl.arange(0, PADDED)
    # the right side of the product: stripe t of each column image
    is_there = (t[:, None] < STRIPES) & (columns[None, :] < m)
    right = t[:, None].to(tl.int64) * b_stripe + columns[None, :].to(tl.int64) * b_image
    is_there, right = tl.reshape(is_there, [PADDED * COLUMNS]), tl.reshape(right, [PADDED * COLUMNS])
    left = rows.to(tl.int64) * a_image

    straight = tl.zeros([ROWS, COLUMNS], tl.float32)
    reached = tl.zeros([ROWS, PADDED, COLUMNS], tl.float32)  # the cheapest path to each cell of the last row of cells
    for s in range(STRIPES):
        products = tl.zeros([ROWS, PADDED * COLUMNS], tl.float32)
        for start in range(0, channels, CHANNELS):
            c = start + tl.arange(0, CHANNELS)
            one = tl.load(
                a + s * a_stripe + left[:, None] + c[None, :], (rows[:, None] < n) & (c[None, :] < channels), 0.0
            )
            other = tl.load(b + right[None, :] + c[:, None], is_there[None, :] & (c[:, None] < channels), 0.0)
            products = tl.dot(one, other, products, input_precision="tf32x3")
        costs = tl.reshape(_costs(products), [ROWS, PADDED, COLUMNS])
        straight += tl.sum(tl.where(t[None, :, None] == s, costs, 0.0), axis=1)
        # A path enters this row at some u <= t and goes right: the cheapest over u of reached[u] + costs[u] ... costs[t]
        # is a running sum plus a running minimum. The first row is entered at u = 0 alone.
        total = tl.cumsum(costs, axis=1)
        entered = tl.where((s > 0) | (t[None, :, None] == 0), reached - (total - costs), INFINITY)
        reached = total + tl.associative_scan(entered, 1, _smaller)
    shortest = tl.sum(tl.where(t[None, :, None] == STRIPES - 1, reached, 0.0), axis=1)
    inside = (rows[:, None] < n) & (columns[None, :] < m)
    tl.store(local + rows[:, None].to(tl.int64) * local_row + columns[None, :], straight, inside)
    tl.store(dmli + rows[:, None].to(tl.int64) * dmli_row + columns[None, :], shortest, inside)


@triton.jit
def _costs(products):
    """Products of unit stripes -> tanh(d / 2) = sqrt(q) P(q) of q = (d / 2)^2 = 0.5 - 0.5 ab: `reid.kernels.fit`."""
    q = tl.maximum(0.5 - 0.5 * products, SMALLEST)
    return tl.sqrt(q) * (P0 + q * (P1 + q * (P2 + q * (P3 + q * (P4 + q * (P5 + q * (P6 + q * P7)))))))


@triton.jit
def _smaller(one, other):
    return tl.minimum(one, other)
