"""The path is written four times; one table of cases tests all: images whose stripes are letters.

Equal letters have the cost 0, other ones are orthogonal and cost tanh(sqrt(2) / 2), and a capital
and its small letter are opposite and cost tanh(1). So a case's path can be followed by eye.
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from reid.alignment import pair_costs, shortest_path, straight
from reid.arrays.features import Features
from reid.distances.tile import TileBuffer, by_torch, operand
from reid.reranking.pair_distances import pair_distances
from tests.twins import slow_costs, slow_path

OTHER, OPPOSITE = float(np.tanh(np.sqrt(2) / 2)), float(np.tanh(1))
CPU = torch.device("cpu")

# stripes of one image, of another, the path's cost, the diagonal's
CASES = [
    ("A", "A", 0, 0),
    ("A", "B", OTHER, OTHER),
    ("A", "a", OPPOSITE, OPPOSITE),
    ("AB", "AB", OTHER, 0),  # the path leaves the diagonal's zeros once
    ("ABC", "ABC", 2 * OTHER, 0),
    ("ABCDEFGH", "ABCDEFGH", 7 * OTHER, 0),
    ("AAAA", "AAAA", 0, 0),
    ("AAB", "ABB", OTHER, OTHER),  # down along the As, right along the Bs, and one between
    ("ABB", "AAB", OTHER, OTHER),
    ("ABC", "XAB", 3 * OTHER, 3 * OTHER),  # shifted: A and B meet, X, C and B with A do not
    ("AAAB", "ABBB", OTHER, 2 * OTHER),  # first down, then right
    ("ABBB", "AAAB", OTHER, 2 * OTHER),  # first right, then down
    ("AAA", "Aaa", 2 * OPPOSITE, 2 * OPPOSITE),  # right as late as it likes: two columns are a
    ("Aaa", "AAA", 2 * OPPOSITE, 2 * OPPOSITE),
    ("ABab", "ABab", 3 * OTHER, 0),  # around the opposite corners
]
by_case = pytest.mark.parametrize(("a", "b", "path", "diagonal"), CASES)


def stripes(letters):
    """Letters -> stripes [1, S, 32] float32: a capital is a unit vector, a small one minus it."""
    array = np.zeros((1, len(letters), 32), np.float32)
    for number, letter in enumerate(letters):
        array[0, number, ord(letter.upper()) - ord("A")] = 1 if letter.isupper() else -1
    return array


def close(value):
    return pytest.approx(value, abs=1e-5)  # costs of equal stripes are 5e-7


@by_case
def test_the_slow_twin(a, b, path, diagonal):
    costs = slow_costs(stripes(a)[0], stripes(b)[0])
    assert (slow_path(costs), np.trace(costs)) == (close(path), close(diagonal))


@by_case
def test_training(a, b, path, diagonal):
    costs = pair_costs(torch.from_numpy(stripes(a)), torch.from_numpy(stripes(b)))
    assert (shortest_path(costs).item(), straight(costs).item()) == (close(path), close(diagonal))


@by_case
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_cpu_kernel(a, b, path, diagonal, precision):
    """All products of these stripes are exact in both precisions."""
    tile = TileBuffer(precision, CPU)
    sides = (operand(stripes(letters), precision, CPU) for letters in (a, b))
    local, dmli = tile.distances(*sides)
    assert (dmli.item(), local.item()) == (close(path), close(diagonal))


@by_case
def test_plain_torch_in_place_of_a_kernel(a, b, path, diagonal):
    half_squares = torch.from_numpy(0.5 - 0.5 * stripes(a)[0] @ stripes(b)[0].T)
    local, dmli = by_torch(half_squares, 1, 1)
    assert (dmli.item(), local.item()) == (close(path), close(diagonal))


@by_case
def test_single_pairs(a, b, path, diagonal):
    query, gallery = (
        Features(np.ones((1, 2), np.float32), stripes(letters), np.zeros(1), np.zeros(1))
        for letters in (a, b)
    )
    dmli = pair_distances("dmli", query, gallery)
    assert dmli(np.array([0]), np.array([1])).item() == close(path)


INTERPRETED = """
import torch
from reid.distances import gpu_kernel
from tests.test_paths import CASES, close, stripes

gpu_kernel.ROWS = gpu_kernel.COLUMNS = 4  # small, because the interpreter is slow
for a, b, path, diagonal in CASES:
    sides = (torch.from_numpy(stripes(letters)).transpose(0, 1) for letters in (a, b))
    local, dmli = gpu_kernel.distances(*sides)
    assert (dmli.item(), local.item()) == (close(path), close(diagonal)), (a, b)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_gpu_kernel_in_tritons_interpreter():
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
