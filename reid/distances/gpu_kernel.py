"""Local and DMLI distances on a GPU in one kernel: product, stripe costs and path; no cell of a
pair reaches memory.

Luo et al., "AlignedReID++", 2019, section 3.2; agrees with `reid.alignment` in Triton's
interpreter, and compiles for sm_90 (tests/test_gpu_kernel.py). It has not run on a GPU: the sizes
of its blocks are estimates, its speed is unknown.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from reid.distances.cpu_kernel import COEFFICIENTS, SMALLEST

# Images of rows and of columns in a program, and bytes of channels at a time. With 8 stripes it is
# a product of blocks 128 x 128; their cells, and the paths to them, take 128 registers in each of
# 8 warps, half of what there are.
ROWS, COLUMNS, CHANNEL_BYTES, WARPS = 128, 16, 128, 8
INFINITY, LEAST = tl.constexpr(float("inf")), tl.constexpr(float(SMALLEST))
P0, P1, P2, P3, P4, P5, P6, P7 = (tl.constexpr(float(number)) for number in COEFFICIENTS)


def distances(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Unit stripes [S, N, C] and [S, M, C], fp32 or bf16 -> `local` and `dmli`, both [N, M]
    float32.

    Channels lie side by side in memory; the other strides are free. fp32 stripes are multiplied as
    three TF32 products, which keep fp32's accuracy; sums are fp32 always.
    """
    (stripes, n, channels), m = a.shape, b.shape[1]
    local, dmli = torch.empty(2, n, m, device=a.device)
    sizes = {
        "block_rows": ROWS,
        "block_columns": COLUMNS,
        "block_channels": CHANNEL_BYTES // a.itemsize,
    }
    sizes |= {"stripes": stripes, "padded": triton.next_power_of_2(stripes)}
    grid = triton.cdiv(n, ROWS), triton.cdiv(m, COLUMNS)
    strides = *a.stride()[:2], *b.stride()[:2]
    local_and_dmli_kernel[grid](
        a, b, local, dmli, n, m, channels, *strides, **sizes, num_warps=WARPS
    )
    return local, dmli


@triton.jit
def local_and_dmli_kernel(
    a, b, local, dmli,
    n, m, channels,
    a_stripe, a_image, b_stripe, b_image,
    stripes: tl.constexpr, padded: tl.constexpr,
    block_rows: tl.constexpr, block_columns: tl.constexpr, block_channels: tl.constexpr,
):  # fmt: skip
    """One program: the pairs of `block_rows` x `block_columns` images, one stripe s of the former
    after another.

    All stripes t of the columns' images are there at once: as [rows, padded * columns] in the
    product, t before the image, and [rows, padded, columns] after it. `padded` is S up to a power
    of two, which Triton asks for; cells beyond S come last and change none before them.
    """
    rows = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    columns = tl.program_id(1) * block_columns + tl.arange(0, block_columns)
    t = tl.arange(0, padded)
    left = rows.to(tl.int64) * a_image
    right = t[:, None].to(tl.int64) * b_stripe + columns[None, :].to(tl.int64) * b_image
    right = tl.reshape(right, [padded * block_columns])
    is_right = tl.reshape((t[:, None] < stripes) & (columns[None, :] < m), [padded * block_columns])
    t = t[None, :, None]

    straight = tl.zeros([block_rows, block_columns], tl.float32)
    # the cheapest path to each cell, row by row
    reached = tl.zeros([block_rows, padded, block_columns], tl.float32)
    for s in range(stripes):
        products = tl.zeros([block_rows, padded * block_columns], tl.float32)
        for start in range(0, channels, block_channels):
            c = start + tl.arange(0, block_channels)
            of_rows = (rows[:, None] < n) & (c[None, :] < channels)
            of_columns = is_right[None, :] & (c[:, None] < channels)
            a_chunk = tl.load(a + s * a_stripe + left[:, None] + c[None, :], of_rows, 0.0)
            b_chunk = tl.load(b + right[None, :] + c[:, None], of_columns, 0.0)
            products = tl.dot(a_chunk, b_chunk, products, input_precision="tf32x3")
        costs = tl.reshape(_costs(products), [block_rows, padded, block_columns])
        straight += tl.sum(tl.where(t == s, costs, 0.0), axis=1)
        # A path comes down into this row at some u <= t and goes right to t: the cheapest over u
        # of reached[u] + costs[u] + ... + costs[t] is a running sum plus a running minimum. The
        # first has u = 0 alone.
        total = tl.cumsum(costs, axis=1)
        entered = tl.where((s > 0) | (t == 0), reached - (total - costs), INFINITY)
        reached = total + tl.associative_scan(entered, 1, _smaller)
    shortest = tl.sum(tl.where(t == stripes - 1, reached, 0.0), axis=1)
    at = rows[:, None].to(tl.int64) * m + columns[None, :]
    inside = (rows[:, None] < n) & (columns[None, :] < m)
    tl.store(local + at, straight, inside)
    tl.store(dmli + at, shortest, inside)


@triton.jit
def _costs(products):
    """Products of unit stripes -> tanh(d / 2) = sqrt(q) P(q) of q = (d / 2)^2 = 0.5 - 0.5 ab:
    `reid.distances.cpu_kernel.fit`.
    """
    q = tl.maximum(0.5 - 0.5 * products, LEAST)
    return tl.sqrt(q) * (
        P0 + q * (P1 + q * (P2 + q * (P3 + q * (P4 + q * (P5 + q * (P6 + q * P7))))))
    )


@triton.jit
def _smaller(x, y):
    return tl.minimum(x, y)
