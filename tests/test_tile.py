"""Tiles in every precision against the definition in float64 and the path that training uses."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from reid.alignment import SMALLEST_SQUARE, shortest_path, straight
from reid.arrays import features
from reid.distances import probe
from reid.distances.tile import PRODUCTS, TileBuffer, operand
from tests.twins import all_costs

CPU = torch.device("cpu")
# how far a distance of 8 stripes may be off, summed over up to 15 cells: among near duplicates,
# and among others
TOLERANCES = {"fp32": (2e-5, 2e-6), "bf16": (0.08, 0.02), "int8": (0.08, 0.02)}
LIMIT = probe.int8_limit()
if LIMIT < 127:  # half as fine
    TOLERANCES["int8"] = (0.16, 0.04)


def random_stripes(images, seed, stripes=8, channels=96):
    rng = np.random.default_rng(seed)
    return (
        rng.random((images, stripes, channels)).astype(np.float32) ** 4
    )  # uneven, as features are after a ReLU


def compute(a, b, precision="fp32"):
    tile = TileBuffer(precision, CPU)
    local, dmli = tile.distances(*(operand(stripes, precision, CPU, LIMIT) for stripes in (a, b)))
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


def test_a_buffer_is_as_large_as_its_largest_tile():
    tile = TileBuffer("fp32", CPU)
    for rows, columns, cells in ((2, 3, 6), (5, 4, 20), (1, 1, 20)):
        sides = (operand(random_stripes(count, count), "fp32", CPU) for count in (rows, columns))
        tile.distances(*sides)
        assert len(tile.product) == 8 * 8 * cells


def test_buffers_may_be_used_again():
    a, b = random_stripes(6, 1), random_stripes(6, 2)
    tile = TileBuffer("fp32", CPU)
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


@pytest.mark.parametrize("limit", [127, 63])
def test_int8_uses_all_of_its_range_and_can_be_undone(limit):
    stripes = random_stripes(5, 4) * np.array([1e-3, 1, 30, 1e4, 7], np.float32)[:, None, None]
    quantised = operand(stripes, "int8", CPU, limit)
    assert quantised.stripes.abs().amax(-1).eq(limit).all()
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


@pytest.mark.parametrize("precision", PRODUCTS)
def test_uniform_stripes(precision):
    """Their int8 products are the largest there are: opposite ones are at tanh(1), equal at 0."""
    a, tolerance = np.ones((3, 8, 2048), np.float32), 0.3 if precision == "bf16" else 6e-3
    for sign, cost in ((1, 0), (-1, np.tanh(1))):
        local, dmli = compute(a, sign * a, precision)
        np.testing.assert_allclose(local, 8 * cost, atol=tolerance)
        np.testing.assert_allclose(dmli, 15 * cost, atol=tolerance)


@pytest.mark.parametrize("precision", PRODUCTS)
def test_lengths_do_not_matter(precision):
    """From the largest to the smallest that features may have, multiplied by powers of two."""
    a, b = random_stripes(5, 1), random_stripes(4, 2)
    wanted = compute(a, b, precision)
    lengths = np.linalg.norm(np.concatenate([a, b]), axis=-1)
    smallest = int(np.ceil(np.log2(features.SMALLEST / lengths.min())))
    largest = int(np.floor(np.log2(features.LARGEST / max(a.max(), b.max()))))
    for powers in ((smallest, smallest), (largest, largest), (smallest, largest), (-40, 0)):
        scaled = (a * np.float32(2.0) ** powers[0], b * np.float32(2.0) ** powers[1])
        np.testing.assert_allclose(compute(*scaled, precision), wanted, rtol=0, atol=1e-6)


@pytest.mark.skipif("ONEDNN_MAX_CPU_ISA" in os.environ, reason="this is the run within")
def test_all_of_this_on_a_cpu_without_vnni():
    """Where int8 products overflow: every test of this file with oneDNN held to older CPUs."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-o", "addopts=", __file__],
        capture_output=True,
        text=True,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )
    assert done.returncode == 0, done.stdout[-3000:]
