"""Measure training: images a second of the loop, which draws and augments batches, over the bare
step on ready ones.

Both take the same network, loss, optimiser and batch size, in turns in one process, so that what
else the machine does meets both. The set is noise of the dataset's image size; the model is the
one that params.yaml gives the dataset.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from tqdm import trange

from benchmarks.__main__ import machine
from reid.losses import LossSettings
from reid.runtime import cli, config, settings
from reid.training.augmentation import enlarged_size
from reid.training.batches import Batches, TrainingSet
from reid.training.loop import deterministic
from reid.training.run import Run
from reid.training.settings import CellSettings, TrainSettings
from reid.trunk.settings import ModelSettings

IMAGES_EACH = 8  # of every person of the set


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument(
        "--dataset", default="synthetic", help="whose model and recipe (default: %(default)s)"
    )
    parser.add_argument("--loss", default="ls", help="an entry of `losses` (default: %(default)s)")
    parser.add_argument("--people", type=int, default=200, help="of the set (default: %(default)s)")
    parser.add_argument(
        "--steps", type=int, default=50, help="of each in one turn (default: %(default)s)"
    )
    parser.add_argument("--turns", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="default: %(default)s"
    )
    parser.add_argument("--compile", action="store_true", help="the network by torch.compile")
    parser.add_argument("--device", default="auto", help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s"
    )
    return parser.parse_args()


def main() -> None:
    """Measure one cell's training, and write the result."""
    args = parse()
    params, cell = config.read("params.yaml"), (args.dataset, args.loss)
    model = config.load(ModelSettings, params, "model", *cell)
    train = config.load(TrainSettings, params, "train", *cell, seed=0)
    train = replace(train, precision=args.precision, compile=args.compile, device=args.device)
    loss = settings.make(LossSettings, config.entry(params, "losses", args.loss), "losses")
    name = f"training-{args.dataset}-{args.loss}-{args.precision}{'-compiled' * args.compile}"
    with cli.atomic_output(args.out / f"{name}.json", is_file=True) as draft:
        speeds = measure(
            CellSettings(replace(model, weights="none", weights_sha256=""), train, loss), args
        )
        result = {
            "command": " ".join(["python -m benchmarks.training", *sys.argv[1:]]),
            "machine": machine(torch.get_num_threads()),
            "model": f"{model.trunk} {model.height}x{model.width}",
            **speeds,
        }
        draft.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


@deterministic()
def measure(settings: CellSettings, args: argparse.Namespace) -> dict[str, float]:
    """Measure images a second of both, median over turns, and the median of the turns' ratios."""
    run, train = Run(args.people, settings), settings.train
    batches = Batches(noise(args.people, settings.model, train.crop), run.device, train)
    epoch = batches.of_epoch(1)
    ready = batches.load(epoch[0], 1, 0)
    loop_seconds, bare_seconds = [], []
    for turn in trange(args.turns + 1, desc="training", unit="turn"):  # the first warms up
        bare = timed(lambda step: run.step(*ready), args.steps, run.device)
        loop = timed(
            lambda step: run.step(*batches.load(epoch[step % len(epoch)], 1, step)),
            args.steps,
            run.device,
        )
        if turn:
            bare_seconds.append(bare)
            loop_seconds.append(loop)
    images = args.steps * train.people * train.images_each
    return {
        "batch": train.people * train.images_each,
        "precision": train.precision,
        "loop_images_per_second": images / statistics.median(loop_seconds),
        "bare_images_per_second": images / statistics.median(bare_seconds),
        "loop_over_bare": statistics.median(
            b / a for a, b in zip(loop_seconds, bare_seconds, strict=True)
        ),
    }


def noise(people: int, model: ModelSettings, crop: str) -> TrainingSet:
    """Make a set of random pixels, decoded as a stage decodes them."""
    rng, size = np.random.default_rng(0), (model.height, model.width)
    labels = np.repeat(np.arange(people), IMAGES_EACH)
    plain = rng.integers(256, size=(len(labels), *size, 3), dtype=np.uint8)
    enlarged = rng.integers(256, size=(len(labels), *enlarged_size(*size), 3), dtype=np.uint8)
    return TrainingSet(
        plain, enlarged if crop == "enlarge" else None, labels, np.zeros_like(labels)
    )


def timed(step: Callable[[int], object], steps: int, device: torch.device) -> float:
    """Measure the seconds of `steps` steps, to the end of the GPU's queue where there is one."""
    started = perf_counter()
    for number in range(steps):
        step(number)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - started


if __name__ == "__main__":
    cli.run(main)
