"""The GPU's kernel in Triton's interpreter on the CPU against the plain alignment; and that it
compiles for a GPU.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from reid.alignment import shortest_path, straight, tile_costs
from reid.distances.tile import fused_distances

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)

INTERPRETED = """
import numpy as np
import torch
from reid import distances, fused
from reid.alignment import shortest_path, straight, tile_costs
from reid.arrays.features import Features
from reid.threads import one_by_one

fused.ROWS = fused.COLUMNS = 4  # small, because the interpreter is slow
torch.manual_seed(0)
for stripes, n, m, channels in ((8, 5, 7, 150), (8, 9, 3, 40), (3, 2, 10, 8), (1, 1, 4, 8), (2, 1, 1, 33)):
    a, b = (torch.nn.functional.normalize(torch.rand(stripes, 1 + count, channels) ** 4, dim=-1) for count in (n, m))
    b[:, -1] = -a[:, -1]  # opposite stripes
    a, b = a[:, 1:], b[:, 1:]  # strided, as the part of a tile is
    costs = tile_costs(a.transpose(0, 1), b.transpose(0, 1))
    for found, wanted in zip(fused.distances(a, b), (straight(costs), shortest_path(costs)), strict=True):
        assert found.shape == (n, m)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)

# and in `compare`, a panel's columns at once
rng, labels = np.random.default_rng(0), np.zeros(9, np.int64)
images = Features(*(rng.random(shape).astype(np.float32) for shape in ((9, 6), (9, 8, 16))), labels, labels)
found = []
for fused_distances in (fused.distances, None):
    distances.fused_distances = lambda device: fused_distances
    comparison = distances.Comparison(distances.DistanceSettings(4, 5, 3, "fp32", "cpu"), torch.device("cpu"))
    comparison.map = one_by_one
    panel = distances.Panel(images, slice(0, 9), comparison)
    for columns, itself in ((slice(0, 9), True), (slice(2, 7), False)):
        pairs = []
        found.append(distances.compare(panel, images, columns, comparison, pairs.append, itself))
        assert len(pairs) == (2 if fused_distances else 5 if itself else 4)
# an image's distance to itself is rounding noise under a square root
others = ~torch.eye(9, dtype=bool)
for name in distances.NAMES:
    torch.testing.assert_close(found[0][name][others], found[2][name][others], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1][name][others[:, 2:7]], found[3][name][others[:, 2:7]], rtol=0, atol=1e-5)
"""

COMPILED = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from reid import fused

names = fused.kernel.arg_names
aligned = ("a", "b", "local", "dmli", "channels", "a_stripe", "a_image", "b_stripe", "b_image")
attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
for kind, itemsize in (("bf16", 2), ("fp32", 4)):
    sizes = {"block_rows": fused.ROWS, "block_columns": fused.COLUMNS, "stripes": 8, "padded": 8}
    sizes["block_channels"] = fused.CHANNEL_BYTES // itemsize
    types = {"a": "*" + kind, "b": "*" + kind, "local": "*fp32", "dmli": "*fp32"}
    signature = {name: "constexpr" if name in sizes else types.get(name, "i32") for name in names}
    constants = {(names.index(name),): size for name, size in sizes.items()}
    source = ASTSource(fn=fused.kernel, signature=signature, constexprs=constants, attrs=attributes)
    found = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": fused.WARPS})
    assert "wgmma" in found.asm["ptx"]  # the tensor cores
    # what a program may have of an H100 or H200
    assert found.metadata.shared <= 227 * 1024, found.metadata.shared
"""


def run(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_kernel_is_what_alignment_says_and_as_wide_as_a_panel_gives_what_tiles_do():
    run(INTERPRETED, TRITON_INTERPRET="1")


def test_the_kernel_compiles_for_a_gpu_that_is_not_there(tmp_path):
    """Triton brings the compiler along."""
    run(COMPILED, TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (130, 35), (300, 1000)])
def test_the_kernel_on_a_gpu(n, m, kind):
    """bf16 stripes have exact products; only sums differ from those in fp32."""
    torch.manual_seed(0)
    a, b = (
        torch.nn.functional.normalize(torch.rand(8, count, 2048) ** 4, dim=-1).to(kind)
        for count in (n, m)
    )
    costs = tile_costs(*(side.float().transpose(0, 1) for side in (a, b)))
    found = fused_distances(torch.device("cuda"))(a.cuda(), b.cuda())
    for one, wanted in zip(found, (straight(costs), shortest_path(costs)), strict=True):
        torch.testing.assert_close(one.cpu(), wanted, rtol=0, atol=1e-5)
