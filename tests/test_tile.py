"""Tiles in every precision against the definition in float64 and the path that training uses."""

import numpy as np
import pytest
import torch

from reid.alignment import SMALLEST_SQUARE, shortest_path, straight
from reid.distances.tile import PRODUCTS, TileBuffer, operand
from tests.twins import all_costs

CPU = torch.device("cpu")
# how far a distance of 8 stripes may be off, summed over up to 15 cells: among near duplicates,
# and among others
TOLERANCES = {"fp32": (2e-5, 2e-6), "bf16": (0.08, 0.02), "int8": (0.08, 0.02)}


def random_stripes(images, seed, stripes=8, channels=96):
    rng = np.random.default_rng(seed)
    return (
        rng.random((images, stripes, channels)).astype(np.float32) ** 4
    )  # uneven, as features are after a ReLU


def compute(a, b, precision="fp32"):
    tile = TileBuffer(len(a) + 2, len(b) + 1, a.shape[1], precision, CPU)
    local, dmli = tile.distances(*(operand(stripes, precision, CPU) for stripes in (a, b)))
    return local.numpy(), dmli.numpy()


def expected(a, b):
    sides = (torch.nn.functional.normalize(torch.from_numpy(side), dim=-1) for side in (a, b))
    costs = all_costs(*sides)
    return straight(costs).numpy(), shortest_path(costs).numpy()


def expected_in_fp32(a, b):
    """The same of unit stripes by one product in fp32, whose rounding near 0 a tile shares."""
    a, b = (torch.nn.functional.normalize(torch.from_numpy(side), dim=-1) for side in (a, b))
    half_squares = 0.5 - 0.5 * torch.einsum("nsc,mtc->stnm", a, b)
    costs = half_squares.clamp(min=SMALLEST_SQUARE / 4).sqrt().tanh()
    return straight(costs).numpy(), shortest_path(costs).numpy()


@pytest.mark.parametrize("stripes", [1, 2, 3, 8])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (40, 33)])
def test_a_tile_is_what_alignment_says(rows, columns, stripes):
    a, b = random_stripes(rows, 1, stripes), random_stripes(columns, 2, stripes)
    for distances, wanted in zip(compute(a, b), expected(a, b), strict=True):
        np.testing.assert_allclose(distances, wanted, rtol=1e-6, atol=2e-6)


def test_buffers_may_be_used_again():
    a, b = random_stripes(6, 1), random_stripes(6, 2)
    tile = TileBuffer(6, 6, 8, "fp32", CPU)
    for left, right in ((a, b), (b, a), (a, a)):
        distances = tile.distances(operand(left, "fp32", CPU), operand(right, "fp32", CPU))
        np.testing.assert_array_equal(np.stack(distances), np.stack(compute(left, right)))


def test_a_part_of_an_operand_is_the_operand_of_a_part():
    stripes = random_stripes(70, 3)
    for precision in PRODUCTS:
        part, wanted = operand(stripes, precision, CPU)[40:], operand(stripes[40:], precision, CPU)
        assert len(part) == 30
        assert torch.equal(part.stripes, wanted.stripes)
        assert precision != "int8" or torch.equal(part.factors, wanted.factors)


def test_int8_uses_all_of_its_range_and_can_be_undone():
    stripes = random_stripes(5, 4) * np.array([1e-3, 1, 30, 1e4, 7], np.float32)[:, None, None]
    quantised = operand(stripes, "int8", CPU)
    assert quantised.stripes.abs().amax(-1).eq(127).all()
    unit = torch.nn.functional.normalize(torch.from_numpy(stripes), dim=-1)
    undone = (quantised.stripes * quantised.factors[..., None]).transpose(0, 1)
    assert ((undone - unit).abs() < quantised.factors.T[..., None]).all()


@pytest.mark.parametrize("precision", PRODUCTS)
@pytest.mark.parametrize("spread", [0.02, 0.3, 1])
def test_precisions_are_close_to_the_definition(precision, spread):
    centre = random_stripes(1, 0, channels=256)
    a, b = (centre + spread * random_stripes(30, seed, channels=256) for seed in (1, 2))
    for distances, wanted in zip(compute(a, b, precision), expected_in_fp32(a, b), strict=True):
        np.testing.assert_allclose(
            distances, wanted, rtol=0, atol=TOLERANCES[precision][spread > 0.1]
        )


@pytest.mark.parametrize("precision", PRODUCTS)
def test_an_image_and_itself(precision):
    """Distances of 0 come out of a difference: nothing below zero may reach the square root."""
    a = random_stripes(9, 5)
    local, dmli = compute(a, a, precision)
    assert np.isfinite(local).all()
    assert np.isfinite(dmli).all()
    assert local.diagonal().max() < {"fp32": 5e-3, "bf16": 0.3, "int8": 5e-3}[precision]
    assert (local.argmin(1) == np.arange(9)).all()


def test_arguments_are_left_alone():
    stripes = random_stripes(4, 6)
    stripes.setflags(write=False)
    for precision in PRODUCTS:
        compute(stripes, stripes, precision)
