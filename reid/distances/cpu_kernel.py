"""The compiled sweep over a tile's matrix product on the CPU: cells -> stripe costs -> `local` and
`dmli`.

Luo et al., "AlignedReID++", 2019, section 3.2; agrees with `reid.alignment`, its slow twin
(tests/test_cpu_kernel.py). Loops run over the columns' images, which lie side by side, so that the
compiler turns them into vector instructions.
"""

from functools import partial

import numpy as np
from numba import types
from numba.extending import overload
from numpy.polynomial import Chebyshev, Polynomial

from reid.cpu.jit import compiled as compiled_with

# of (d / 2)^2; not imported: cached machine code does not follow changes in other files
SMALLEST = np.float32(2.5e-13)


def fit(degree: int, kind: type = np.float32) -> np.ndarray:
    """Coefficients [degree + 1], constant first, of P: tanh(sqrt(q)) = sqrt(q) P(q) for q in [0,
    1].

    P interpolates tanh(sqrt(q)) / sqrt(q), which is smooth at 0 too, in the Chebyshev points of
    [0, 1]. Degree 7 is off by 3e-9 at most; after that float32's own rounding is all that is left.
    """
    fitted = Chebyshev.interpolate(
        lambda q: np.tanh(np.sqrt(q)) / np.sqrt(q), degree, domain=[0, 1]
    )
    return fitted.convert(kind=Polynomial).coef.astype(kind)


COEFFICIENTS = P0, P1, P2, P3, P4, P5, P6, P7 = tuple(fit(7))

# the compiler may fuse a product and a sum, and no more
compiled = partial(compiled_with, liberties=frozenset({"contract"}))


def _number(cell):
    """A cell of the product as float32: int16 are the bits of a bf16."""
    raise NotImplementedError


@overload(_number)
def _number_compiled(cell):
    if cell is types.int16:
        return lambda cell: np.int32(np.int32(cell) << np.int32(16)).view(np.float32)
    return lambda cell: np.float32(cell)


@compiled
def _costs(cells, base, factor, factors, out):
    """Fill `out` [S * M] with costs tanh(d / 2), where (d / 2)^2 = base + factor * factors *
    cells. NaN stays NaN.
    """
    for j in range(len(out)):
        q = base + factor * (factors[j] * _number(cells[j]))
        q = SMALLEST if q < SMALLEST else q
        out[j] = np.sqrt(q) * (
            P0 + q * (P1 + q * (P2 + q * (P3 + q * (P4 + q * (P5 + q * (P6 + q * P7))))))
        )


@compiled
def local_and_dmli(
    product: np.ndarray,
    base: np.float32,
    row_factors: np.ndarray,
    column_factors: np.ndarray,
    out: np.ndarray,
) -> None:
    """Products [S * N, S * M] of N and M images' stripes -> fill `out` [2, N, M] float32 with
    `local` and `dmli`.

    A cell holds (d / 2)^2 of its stripes when it is multiplied by its `row_factors` [S * N] and
    `column_factors` [S * M] and `base` is added. Cells are float32, int32, or int16 for the bits
    of bf16; arrays are C-contiguous.
    """
    local, dmli = out[0], out[1]
    images, columns = local.shape
    stripes = len(row_factors) // images
    costs = np.empty((stripes, columns), np.float32)  # of one stripe of a row's image
    reached = np.empty((stripes, columns), np.float32)  # the cheapest paths so far
    flat = costs.reshape(-1)
    for image in range(images):
        local[image] = 0
        reached[0] = 0
        reached[1:] = np.inf  # the first row is reached from the left alone
        for s in range(stripes):
            row = s * images + image
            _costs(product[row], base, row_factors[row], column_factors, flat)
            for j in range(columns):
                local[image, j] += costs[s, j]
            for j in range(columns):
                reached[0, j] += costs[0, j]
            for t in range(1, stripes):
                for j in range(columns):
                    above, left = reached[t, j], reached[t - 1, j]
                    reached[t, j] = (left if left < above else above) + costs[t, j]
        dmli[image] = reached[stripes - 1]


@compiled
def quantise(
    stripes: np.ndarray, rounded: np.ndarray, factors: np.ndarray, limit: np.float32
) -> None:
    """Stripes [N, S, C] float32, none 0 -> fill `rounded` [S, N, C] int8 and the `factors` [S, N]
    that make them unit.

    Each is divided by its largest magnitude and rounded to -limit ... limit, at most 127.
    Reductions are of whole numbers, in any order.
    """
    for image in range(stripes.shape[0]):
        for s in range(stripes.shape[1]):
            stripe, out = stripes[image, s], rounded[s, image]
            scale = limit / _largest(stripe)
            factors[s, image] = 1 / np.sqrt(_round(stripe, scale, out))


@compiled
def _largest(stripe):
    """The largest magnitude: of floats without a sign, bits order as the numbers do."""
    bits, largest = stripe.view(np.int32), np.int32(0)
    for j in range(len(bits)):
        largest = max(largest, np.int32(bits[j] & np.int32(0x7FFFFFFF)))
    return np.int32(largest).view(np.float32)


@compiled
def _round(stripe, scale, out):
    """Fill `out` int8 with rounded multiples; return the sum of its squares."""
    total = np.int32(0)
    for j in range(len(stripe)):
        multiple = np.int32(np.rint(stripe[j] * scale))
        out[j] = multiple
        total = np.int32(total + np.int32(multiple * multiple))
    return total
