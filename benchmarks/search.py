"""Measure `reid`'s parts: description of a folder against the network alone, and a search.

The network alone describes tensors that are ready, in batches, one on each core, as `extract` does;
the folder is of JPEGs and described by `Model.describe`, files read and decoded. The search is of
described pictures with made-up features, in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid import extraction
from reid import model as models
from reid.arrays import features
from reid.lookup import ranking, settings
from reid.lookup.model import Model
from reid.model import Network
from reid.runtime import cli
from reid.trunk.settings import ModelSettings

MODELS = {"built-in": ("resnet18", "layer2", 64, 32), "resnet50": ("resnet50", "", 256, 128)}
PIXELS = (128, 64)  # of the built-in benchmark's pictures, height and width
CHUNK = 4096  # rows


def describe(name: str, images: int, work: Path) -> dict[str, float]:
    """Images a second of a folder, and of the network alone, the better of three each."""
    trunk, last_layer, *size = MODELS[name]
    network = Network(ModelSettings(trunk, last_layer, *size, 8, "none", "", 2, False), people=10)
    models.save(network, work / f"{name}.safetensors")
    folder = work / name
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(images):
        coarse = Image.fromarray(generator.integers(0, 256, (16, 8, 3), np.uint8))
        coarse.resize(PIXELS[::-1], Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    batch, device = settings.DEFAULTS["extract"]["batch"], torch.device("cpu")
    ready = generator.integers(0, 256, (batch, *size, 3), np.uint8)
    batches = [slice(start, min(start + batch, images)) for start in range(0, images, batch)]
    model, seconds = Model.load(work / f"{name}.safetensors"), {"alone": [], "folder": []}

    def ignore(rows: slice, global_features: Tensor, stripes: Tensor) -> None:
        pass

    for _ in range(3):
        start = perf_counter()
        extraction.describe(
            model.network, lambda rows: ready[: rows.stop - rows.start], batches, device, ignore
        )
        seconds["alone"].append(perf_counter() - start)
        start = perf_counter()
        model.describe(folder)
        seconds["folder"].append(perf_counter() - start)
    rates = {of: round(images / min(values), 1) for of, values in seconds.items()}
    return {**rates, "share": round(rates["folder"] / rates["alone"], 3)}


def search(work: Path, queries: int) -> dict[str, float]:
    """Seconds of a search by `global_dmli`, and the process's memory at its end in GB."""
    gallery = features.read(work / "gallery")
    first = features.Features(
        *(getattr(gallery, name)[:queries] for name in ("global_features", "stripes")),
        gallery.pids[:queries],
        gallery.camids[:queries],
    )
    ranking.distances(first, first, "global_dmli")  # compiles
    start = perf_counter()
    matrix = ranking.distances(first, gallery, "global_dmli")
    np.argsort(matrix, axis=1)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"seconds": round(perf_counter() - start, 2), "memory_gb": round(memory, 2)}


def make_gallery(folder: Path, images: int, channels: int) -> None:
    """Write made-up features of a gallery, 36 x `channels` bytes an image."""
    generator, nobody = np.random.default_rng(0), np.zeros(images, np.int64)
    written = features.create(folder, nobody, nobody, channels, (8, channels))
    for array in (written.global_features, written.stripes):
        for start in range(0, images, CHUNK):
            part = array[start : start + CHUNK]
            part[:] = generator.random(part.shape, np.float32)
        array.flush()


def main() -> None:
    """Measure one part, and print it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    add = parser.add_argument
    add("--model", choices=MODELS, help="describe a folder by this one (default: search)")
    add("--images", type=int, default=100_000, help="in the folder (default: %(default)s)")
    add("--queries", type=int, default=10, help="of the search (default: %(default)s)")
    add("--channels", type=int, default=128, help="of made-up features (default: %(default)s)")
    add("--work", type=Path, help="folder of made-up features: search there (default: make one)")
    args = parser.parse_args()
    if args.work:
        print(json.dumps(search(args.work, args.queries)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.model:
            print(json.dumps(describe(args.model, args.images, Path(folder))))
            return
        make_gallery(Path(folder) / "gallery", args.images, args.channels)
        command = [sys.executable, "-m", "benchmarks.search", "--work", folder]
        subprocess.run([*command, "--queries", str(args.queries)], check=True)


if __name__ == "__main__":
    cli.run(main)
