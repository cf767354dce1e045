"""The GPU's kernel in Triton's interpreter on the CPU against the plain alignment; and that it
compiles for a GPU.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from reid.alignment import shortest_path, straight
from reid.distances.tile import fused_distances
from tests.twins import all_costs

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)

INTERPRETED = """
import numpy as np
import torch
from reid.alignment import shortest_path, straight
from reid.arrays.features import Features
from reid.distances import compare, gpu_kernel
from reid.distances.settings import DistanceSettings
from reid.cpu.threads import one_by_one
from tests.twins import all_costs

gpu_kernel.ROWS = gpu_kernel.COLUMNS = 4  # small, because the interpreter is slow
torch.manual_seed(0)
sizes = ((8, 5, 7, 150), (8, 9, 3, 40), (3, 2, 10, 8), (1, 1, 4, 8), (2, 1, 1, 33))
for stripes, n, m, channels in sizes:
    a, b = (torch.rand(stripes, 1 + count, channels) ** 4 for count in (n, m))
    a, b = (torch.nn.functional.normalize(side, dim=-1) for side in (a, b))
    b[:, -1] = -a[:, -1]  # opposite stripes
    a, b = a[:, 1:], b[:, 1:]  # strided, as the part of a tile is
    costs = all_costs(a.transpose(0, 1), b.transpose(0, 1)).float()
    expected = straight(costs), shortest_path(costs)
    for distances, wanted in zip(gpu_kernel.distances(a, b), expected, strict=True):
        assert distances.shape == (n, m)
        torch.testing.assert_close(distances, wanted, rtol=0, atol=1e-5)

# and in a comparison, a panel's columns at once
rng, labels = np.random.default_rng(0), np.zeros(9, np.int64)
arrays = (rng.random(shape).astype(np.float32) for shape in ((9, 6), (9, 8, 16)))
images = Features(*arrays, labels, labels)
within, across = [], []
for fused, tiles in ((gpu_kernel.distances, (2, 2)), (None, (5, 4))):
    compare.fused_distances = lambda device: fused
    settings = DistanceSettings(4, 5, 3, "fp32", "cpu")
    comparison = compare.Comparison(settings, torch.device("cpu"))
    comparison.map = one_by_one
    panel = compare.row_panel(images, slice(0, 9), comparison)
    first, second = [], []
    within.append(compare.compare_within(panel, images, comparison, first.append))
    across.append(
        compare.compare_across(panel, images, slice(2, 7), comparison, second.append)
    )
    assert (len(first), len(second)) == tiles
# an image's distance to itself is rounding noise under a square root
others = ~torch.eye(9, dtype=bool)
for name in compare.DISTANCES:
    kernel, plain = (matrices[name][others] for matrices in within)
    torch.testing.assert_close(kernel, plain, rtol=0, atol=1e-5)
    kernel, plain = (matrices[name][others[:, 2:7]] for matrices in across)
    torch.testing.assert_close(kernel, plain, rtol=0, atol=1e-5)
"""

COMPILED = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from reid.distances import gpu_kernel

names = gpu_kernel.local_and_dmli_kernel.arg_names
aligned = ("a", "b", "local", "dmli", "channels", "a_stripe", "a_image", "b_stripe", "b_image")
attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
for kind, itemsize in (("bf16", 2), ("fp32", 4)):
    sizes = {"block_rows": gpu_kernel.ROWS, "block_columns": gpu_kernel.COLUMNS}
    sizes |= {"stripes": 8, "padded": 8}
    sizes["block_channels"] = gpu_kernel.CHANNEL_BYTES // itemsize
    types = {"a": "*" + kind, "b": "*" + kind, "local": "*fp32", "dmli": "*fp32"}
    signature = {name: "constexpr" if name in sizes else types.get(name, "i32") for name in names}
    constants = {(names.index(name),): size for name, size in sizes.items()}
    source = ASTSource(
        fn=gpu_kernel.local_and_dmli_kernel,
        signature=signature,
        constexprs=constants,
        attrs=attributes,
    )
    options = {"num_warps": gpu_kernel.WARPS}
    compiled = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert "wgmma" in compiled.asm["ptx"]  # the tensor cores
    # what a program may have of an H100 or H200
    assert compiled.metadata.shared <= 227 * 1024, compiled.metadata.shared
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
    costs = all_costs(*(side.transpose(0, 1) for side in (a, b))).float()
    local, dmli = fused_distances(torch.device("cuda"))(a.cuda(), b.cuda())
    torch.testing.assert_close(local.cpu(), straight(costs), rtol=0, atol=1e-5)
    torch.testing.assert_close(dmli.cpu(), shortest_path(costs), rtol=0, atol=1e-5)
