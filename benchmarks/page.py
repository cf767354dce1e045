"""Measure the page stage on made-up folders of a dataset's size: seconds, memory and the file's
size.

Images, features and distances are random, a query's matches nearer than others. The stage runs as
its command does, in a process of its own.
"""

import argparse
import csv
import io
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy import ndarray
from PIL import Image
from tqdm import tqdm

from reid import prepared
from reid.arrays import features, matrices
from reid.arrays.names import COLUMNS, DISTANCES, PROTOCOLS, RERANKED
from reid.results import tables
from reid.results.cell import MEASURES
from reid.results.uncertainty import COMPARISONS
from reid.runtime import cli, config

LOSSES = ("softmax", "softmax_trihard", "alignedreid", "ls")
HEADLINE = "alignedreid"
CAMERAS = 6
CHUNK = 512  # rows of features and distances that are drawn at once
SCORES = {column: {"rank1": 50.0, "mAP": 40.0} for column in COLUMNS}
CURVES = dict.fromkeys(COLUMNS, [50.0] * 20)
DIFFERENCES = {"-".join(pair): {key: {"p": 0.5} for key in MEASURES} for pair in COMPARISONS}


def make_folders(work: Path, queries: int, gallery: int, shape: tuple[int, int, int]) -> None:
    """Write all that the stage reads of `queries` and `gallery` images; features have the shape D,
    S, C.
    """
    generator = np.random.default_rng(0)
    people = max(queries // 4, 2)
    sides = {}
    for split in (*PROTOCOLS.values(), "gallery", "train"):
        count = queries if split in PROTOCOLS.values() else gallery
        sides[split] = (np.arange(count) % people + 1, generator.integers(1, CAMERAS + 1, count))
    sides["query_partial"] = sides["query"]
    pool = [_image(generator) for _ in range(200)]
    records = {
        split: [
            (f"{split}_{n:06d}.jpg", int(pid), int(camid), pool[n % len(pool)])
            for n, (pid, camid) in enumerate(zip(pids, camids, strict=True))
        ]
        for split, (pids, camids) in sides.items()
    }
    prepared.write(work / "data", records)
    del sides["train"]
    for loss in tqdm(LOSSES, "writing runs", unit="loss"):
        _write_run(work, loss, sides, shape if loss == HEADLINE else (1, 1, 1))
    row = {"model": "Resnet50", "loss": HEADLINE, "source": "ours", "columns": SCORES}
    row["within_noise"] = {}
    (work / "tables").mkdir()
    for protocol in PROTOCOLS:
        file = work / f"tables/{tables.file_name('market1501', protocol)}.json"
        file.write_text(json.dumps([row]), encoding="utf-8")


def _write_run(work: Path, loss: str, sides: dict[str, Any], shape: tuple[int, int, int]) -> None:
    """Write one run's folders: features, distances by protocol, history and scores."""
    generator, gallery_pids = np.random.default_rng(len(loss)), sides["gallery"][0]
    for split, (pids, camids) in sides.items():
        folder = work / f"features/{loss}/0/{split}"
        written = features.create(folder, pids, camids, shape[0], shape[1:])
        for array in (written.global_features, written.stripes):
            _fill(array, lambda part: generator.random(part, np.float32) + np.float32(0.01))
    for protocol, split in PROTOCOLS.items():
        pids = sides[split][0]
        size = len(pids), len(gallery_pids)
        for kind, names in (("distances", DISTANCES), ("reranked", RERANKED)):
            files = matrices.create(work / f"{kind}/{loss}/0/{protocol}", names, size)
            for start in range(0, len(pids), CHUNK):
                rows = slice(start, min(start + CHUNK, len(pids)))
                nearer = 1 - 0.8 * (pids[rows, None] == gallery_pids)
                for array_file in files.values():
                    array_file[rows] = nearer * generator.random(nearer.shape, np.float32)
    run = {"dataset": "market1501", "loss": loss, "seed": 0, "trunk": "resnet50"}
    run |= {**dict.fromkeys(PROTOCOLS, SCORES), "cmc": dict.fromkeys(PROTOCOLS, CURVES)}
    run["differences"] = dict.fromkeys(PROTOCOLS, DIFFERENCES)
    for name, text in (
        (f"runs/market1501/{loss}/0.json", json.dumps(run)),
        (f"models/{loss}/0/history.csv", _history()),
    ):
        (work / name).parent.mkdir(parents=True)
        (work / name).write_text(text, encoding="utf-8")


def _fill(array: ndarray, draw: Any) -> None:
    """Fill a mapped array [N, ...] by chunks."""
    for start in range(0, len(array), CHUNK):
        part = array[start : start + CHUNK]
        part[:] = draw(part.shape)
    array.flush()


def _history() -> str:
    """A table of 300 epochs."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["epoch", "loss", "accuracy"])
    writer.writerows((epoch, 5 / epoch, 1 - 1 / epoch) for epoch in range(1, 301))
    return text.getvalue()


def _image(generator: np.random.Generator) -> bytes:
    """A JPEG of 128x64 pixels, of smooth colours with some noise."""
    colours = Image.fromarray(generator.integers(0, 256, (16, 8, 3), np.uint8))
    smooth = np.asarray(colours.resize((64, 128), Image.Resampling.BICUBIC), np.int64)
    noisy = smooth + generator.integers(-12, 13, smooth.shape)
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def measure(work: Path) -> dict[str, float]:
    """Run the stage on the folders of `make_folders` -> seconds, gigabytes of memory, megabytes of
    the page.
    """
    params = config.read("params.yaml")
    params["tables"] |= {"datasets": ["market1501"], "losses": list(LOSSES), "seeds": [0]}
    (work / "params.yaml").write_text(json.dumps(params), encoding="utf-8")
    names = (
        "data",
        "models",
        "features",
        "distances",
        "reranked",
        "runs/market1501",
        "tables",
        "report",
    )
    command = [sys.executable, "-m", "stages.page", *(str(work / name) for name in names)]
    options = ["--dataset", "market1501", "--loss", HEADLINE, "--params", work / "params.yaml"]
    start = perf_counter()
    subprocess.run([*command, *options], check=True)
    seconds = perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    size = (work / "report/index.html").stat().st_size / 1e6
    return {"seconds": round(seconds, 1), "memory_gb": round(memory, 2), "page_mb": round(size, 1)}


def main() -> None:
    """Make the folders, run the stage on them, and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    add = parser.add_argument
    add("--queries", type=int, default=3368, help="default: Market-1501's %(default)s")
    add("--gallery", type=int, default=15913, help="default: Market-1501's %(default)s")
    add("--channels", type=int, default=2048, help="of a feature (default: %(default)s)")
    add("--work", help="folder for the made-up files, 13 GB (default: the system's for such)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        shape = (args.channels, 8, args.channels)
        make_folders(Path(folder), args.queries, args.gallery, shape)
        print(json.dumps(measure(Path(folder))))


if __name__ == "__main__":
    cli.run(main)
