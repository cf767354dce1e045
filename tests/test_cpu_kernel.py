"""The compiled sweep against its definition, cell by cell in float64; its polynomial; and work on
threads.
"""

import numpy as np
import pytest
import torch

from reid.alignment import SMALLEST_SQUARE
from reid.cpu.threads import on_all_cores, one_by_one
from reid.distances import cpu_kernel
from reid.distances.tile import by_torch, fused_distances
from tests.twins import slow_path

SIZES = [(1, 1), (1, 5), (6, 1), (7, 33)]


def local_and_dmli(product, images, columns, base=0.5, factor=-0.5):
    """By default products are of unit stripes."""
    out = np.full((2, images, columns), np.nan, np.float32)
    factors = np.full(len(product), factor, np.float32), np.ones(product.shape[1], np.float32)
    cpu_kernel.local_and_dmli(product, np.float32(base), *factors, out)
    return out


def slow_sweep(half_squares, images, columns):
    costs = np.tanh(np.sqrt(np.maximum(half_squares.astype(np.float64), SMALLEST_SQUARE / 4)))
    out = np.empty((2, images, columns))
    for i in range(images):
        for j in range(columns):
            pair = costs[i::images, j::columns]
            out[:, i, j] = np.trace(pair), slow_path(pair)
    return out


def random_products(images, columns, stripes, seed=0):
    return (
        np.random.default_rng(seed)
        .uniform(-1, 1, (stripes * images, stripes * columns))
        .astype(np.float32)
    )


@pytest.mark.parametrize("stripes", [1, 2, 3, 7, 8])
@pytest.mark.parametrize(("images", "columns"), SIZES)
def test_the_sweep_is_its_definition(images, columns, stripes):
    product = random_products(images, columns, stripes)
    wanted = slow_sweep(0.5 - 0.5 * product, images, columns)
    np.testing.assert_allclose(
        local_and_dmli(product, images, columns), wanted, rtol=1e-6, atol=1e-6
    )
    distances = by_torch(torch.from_numpy(0.5 - 0.5 * product), images, columns)
    np.testing.assert_allclose(np.stack(distances), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("images", "columns"), SIZES)
def test_int8_products_are_scaled_by_both_sides(images, columns):
    rng = np.random.default_rng(1)
    product = rng.integers(-(10**6), 10**6, (8 * images, 8 * columns)).astype(np.int32)
    rows, others = (
        rng.uniform(1e-4, 1e-3, 8 * count).astype(np.float32) for count in (images, columns)
    )
    out = np.empty((2, images, columns), np.float32)
    cpu_kernel.local_and_dmli(product, np.float32(0.5), -0.5 * rows, others, out)
    half_squares = 0.5 - 0.5 * product * rows[:, None].astype(np.float64) * others
    np.testing.assert_allclose(out, slow_sweep(half_squares, images, columns), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("images", "columns"), SIZES)
def test_bf16_comes_as_bits(images, columns):
    half_squares = torch.from_numpy(random_products(images, columns, 8)).bfloat16()
    distances = local_and_dmli(
        half_squares.view(torch.int16).numpy(), images, columns, base=0, factor=1
    )
    wanted = slow_sweep(half_squares.float().numpy(), images, columns)
    np.testing.assert_allclose(distances, wanted, rtol=1e-6, atol=1e-6)


def test_equal_opposite_and_unknown_stripes():
    """Products of unit stripes may exceed 1 by rounding; what is no number must not pass for a
    distance.
    """
    for product in (1, np.nextafter(np.float32(1), np.float32(2))):
        distances = local_and_dmli(np.full((8, 24), product, np.float32), 1, 3)
        np.testing.assert_allclose(distances[0], 8 * SMALLEST_SQUARE**0.5 / 2, rtol=1e-6)
        np.testing.assert_allclose(distances[1], 15 * SMALLEST_SQUARE**0.5 / 2, rtol=1e-6)
    opposite = local_and_dmli(np.full((8, 24), -1, np.float32), 1, 3)
    np.testing.assert_allclose(
        opposite, [[[8 * np.tanh(1)] * 3], [[15 * np.tanh(1)] * 3]], rtol=1e-6
    )
    assert np.isnan(local_and_dmli(np.full((8, 24), np.nan, np.float32), 1, 3)).all()


def test_a_pair_has_the_same_bytes_among_any_others():
    """Whether it falls into a vector of columns or into what is left over."""
    product = random_products(3, 37, 8)
    wanted = local_and_dmli(product, 3, 37)
    for first, last in ((0, 1), (5, 12), (16, 37)):
        part = product.reshape(8 * 3, 8, 37)[..., first:last].reshape(8 * 3, -1)
        np.testing.assert_array_equal(
            local_and_dmli(part, 3, last - first), wanted[..., first:last]
        )


def test_the_polynomial_is_as_near_as_it_says():
    q = np.linspace(0, 1, 100_001)
    fitted = np.sqrt(q) * np.polynomial.polynomial.polyval(
        q, np.array(cpu_kernel.COEFFICIENTS, np.float64)
    )
    assert (
        np.abs(fitted - np.tanh(np.sqrt(q))).max() < 3.5e-8
    )  # with coefficients rounded to float32
    exact = np.polynomial.polynomial.polyval(q, cpu_kernel.fit(7, np.float64))
    assert np.abs(np.sqrt(q) * exact - np.tanh(np.sqrt(q))).max() < 4e-9
    q = q[1:, None].astype(np.float32)
    rounded = local_and_dmli(q, len(q), 1, base=0, factor=1)[0]
    np.testing.assert_allclose(rounded, np.tanh(np.sqrt(q.astype(np.float64))), rtol=3e-7)


def test_the_smallest_square_is_that_of_alignment():
    assert np.float32(SMALLEST_SQUARE / 4) == cpu_kernel.SMALLEST


def test_functions_are_compiled_where_nothing_can_be_kept():
    names = {}
    exec(
        "def twice(x):\n    return 2 * x", names
    )  # of no file, so that there is no place beside it
    assert cpu_kernel.compiled(names["twice"])(21) == 42


def test_threads_hand_over_in_order_and_torch_has_its_own_again():
    before, seen, alone = torch.get_num_threads(), [], []

    def square(x):
        alone.append(torch.get_num_threads())
        return x * x

    on_all_cores(square, range(50), seen.append)
    assert seen == [x * x for x in range(50)]
    assert set(alone) == {1}
    with pytest.raises(ZeroDivisionError):
        on_all_cores(lambda x: 1 // x, [1, 0], seen.append)
    assert torch.get_num_threads() == before
    again = []
    one_by_one(square, range(50), again.append)
    assert again == seen[:50]


def test_only_a_gpu_gets_the_fused_kernel():
    assert fused_distances(torch.device("cpu")) is None
