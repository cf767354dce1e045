"""int8 on CPUs of several kinds, as oneDNN is told they are: the exact distances of the features,
but for rounding to -63 ... 63.
"""

import os
import subprocess
import sys

import numpy as np
from hypothesis import strategies as st

from reid.arrays.names import DISTANCES
from tests.conftest import ROOT
from tests.soak import folders
from tests.soak.kinds import RIGHT, tries
from tests.soak.test_features import write

CPUS = ("SSE41", "AVX2", "AVX512_CORE", "DEFAULT")
KINDS = ("uniform", "opposite", "positive", "signed", "near duplicates", "one channel")


def stripes_of(kind, rng, images, stripes, channels):
    """Stripes [N, S, C] that make the sums of products large, or small, or nearly equal."""
    random = rng.normal(size=(images, stripes, channels))
    return {
        "uniform": np.ones_like(random) + 0.01 * random,
        "opposite": np.where(rng.random((images, stripes, 1)) < 0.5, -1, 1) + 0.01 * random,
        "positive": np.abs(random),
        "signed": random,
        "near duplicates": rng.normal(size=(1, stripes, channels)) + 0.02 * random,
        "one channel": np.where(np.arange(channels) == rng.integers(channels), 9, 0.1) * random,
    }[kind].astype(np.float32)


def rounding(stripes):
    """How far a square of two unit stripes moves at most by rounding each to 63 steps a side."""
    largest = np.abs(stripes).max(-1) / np.linalg.norm(stripes, axis=-1)
    angle = np.arcsin(min(1, 0.5 * np.sqrt(stripes.shape[-1]) * largest.max() / 63))
    return 2 * (2 * angle) + (2 * angle) ** 2  # of 2 - 2 cos, both stripes turned that far


@tries(
    "int8 products on CPUs with and without VNNI, as ONEDNN_MAX_CPU_ISA says",
    *(1, 60),
    is_shrunk=False,
    cpu=st.sampled_from(CPUS),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    images=st.tuples(st.integers(2, 60), st.integers(2, 60)),
    shape=st.tuples(st.integers(1, 9), st.sampled_from([16, 64, 70, 300, 2048])),
)
def test_int8_is_exact_but_for_rounding(fresh, cpu, kind, seed, images, shape):
    folder, rng = fresh(), np.random.default_rng(seed)
    splits = [folders.random_split(rng, count, shape[0], 5) for count in images]
    made = stripes_of(kind, rng, sum(images), *shape)
    splits[0]["stripes"], splits[1]["stripes"] = np.split(made, [images[0]])
    write(folder, splits)
    params = folders.write_params(folder / "params.yaml", distances={"precision": "int8"})
    command = [sys.executable, "-m", "stages.distances", folder / "features", folder / "out"]
    done = subprocess.run(
        [*command, "--params", params],
        cwd=ROOT,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": cpu},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    limits = folders.bounds(*splits) | {
        name: pair
        for name, pair in folders.bounds(*splits, rounding(made) + folders.ROUNDING).items()
        if name != "global"
    }
    for name in DISTANCES:
        written = np.load(folder / "out" / "full" / f"{name}.npy").astype(np.float64)
        low, high = limits[name]
        off = np.maximum(low - written, written - high).max()
        assert off <= 0, f"{name} is off by {off}"
    return RIGHT
