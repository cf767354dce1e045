"""Train one cell of the tables: a prepared dataset and a row -> model.safetensors, history.csv and
training.json.
"""

import argparse
import sys

from reid import prepared
from reid.losses import LossSettings
from reid.runtime import config, distributed
from reid.runtime.settings import make
from reid.training import model_folder
from reid.training.checkpoint import ResumeSettings
from reid.training.settings import CellSettings, TrainSettings
from reid.training.stop_requests import Stopped
from reid.trunk.settings import ModelSettings


def main() -> None:
    """Read the split and its settings, train, and write the model's folder."""
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    add = parser.add_argument
    add("data", help="the folder `train` that the prepare stage wrote")
    add("out", help="folder to write model.safetensors, history.csv and training.json to")
    add("--dataset", required=True, help="whose overrides under `datasets` in params.yaml apply")
    add("--loss", required=True, help="an entry of `losses` in params.yaml, e.g. alignedreid")
    add("--seed", required=True, type=int, help="of weights, batches and augmentation, from 0")
    add("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    params, cell = config.read(args.params), (args.dataset, args.loss)
    settings = CellSettings(
        config.load(ModelSettings, params, "model", *cell),
        config.load(TrainSettings, params, "train", *cell, seed=args.seed),
        make(LossSettings, config.entry(params, "losses", args.loss), f"losses.{args.loss}"),
    )
    resume = config.load(ResumeSettings, params, "resume")
    split = prepared.read(args.data)
    try:
        model_folder.train(split, settings, resume, args.out, args.loss)
    except Stopped as stopped:
        print(f"{stopped}: checkpoint saved, the same command goes on from there", file=sys.stderr)
        sys.exit(128 + stopped.number)


if __name__ == "__main__":
    distributed.run(main)
