"""Train one cell of the tables: a prepared dataset and a row -> model.safetensors, history.csv and
training.json.
"""

import argparse
import sys

from reid import prepared
from reid.losses import LossSettings
from reid.model import ModelSettings
from reid.runtime import cli, config, distributed
from reid.training import model_folder
from reid.training.checkpoint import ResumeSettings
from reid.training.settings import CellSettings, TrainSettings, check_seed
from reid.training.stop_requests import Stopped


def main() -> None:
    """Read the split and its settings, train, and write the model's folder."""
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    add = parser.add_argument
    add("data", help="folder that the prepare stage wrote; its split `train` is used")
    add("out", help="folder to write model.safetensors, history.csv and training.json to")
    add("--dataset", required=True, help="whose overrides under `datasets` in params.yaml apply")
    add("--loss", required=True, help="an entry of `losses` in params.yaml, e.g. alignedreid")
    add("--seed", required=True, type=int, help="of weights, batches and augmentation, from 0")
    add("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    params, cell = config.read(args.params), (args.dataset, args.loss)
    train = {**config.section(params, "train", *cell), "seed": check_seed(args.seed)}
    loss = config.entry(params, "losses", args.loss)
    settings = CellSettings(
        config.settings(ModelSettings, config.section(params, "model", *cell), "model"),
        config.settings(TrainSettings, train, "train"),
        config.settings(LossSettings, loss, f"losses.{args.loss}"),
    )
    resume = config.settings(ResumeSettings, config.section(params, "resume"), "resume")
    split = prepared.read(args.data, "train")
    try:
        model_folder.train(split, settings, resume, args.out, args.loss)
    except Stopped as stopped:
        print(f"{stopped}: checkpoint saved, the same command goes on from there", file=sys.stderr)
        sys.exit(128 + stopped.number)


if __name__ == "__main__":
    cli.run(main, distributed.group)
