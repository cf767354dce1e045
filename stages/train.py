"""Train one cell of the tables: a prepared dataset and a row -> model.safetensors, history.csv and
training.json.
"""

import argparse
import sys
from dataclasses import asdict
from typing import Any

import pandas as pd
from tqdm import tqdm

from reid import images, model, prepared
from reid.losses import LossSettings
from reid.model import ModelSettings
from reid.runtime import cli, config, distributed
from reid.runtime.device import choose_device
from reid.training import augmentation, checkpoint, loop, provenance
from reid.training.checkpoint import Keeper, ResumeSettings, Stopped
from reid.training.loop import TrainingSet
from reid.training.provenance import Course
from reid.training.run import Run, TrainSettings


def main() -> None:
    """Decode the training images, train or go on with an unfinished run, and write the model and
    how it came about.
    """
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument(
        "data", help="folder that the prepare stage wrote; its split `train` is used"
    )
    parser.add_argument(
        "out", help="folder to write model.safetensors, history.csv and training.json to"
    )
    parser.add_argument(
        "--dataset", required=True, help="whose overrides under `datasets` in params.yaml apply"
    )
    parser.add_argument(
        "--loss", required=True, help="an entry of `losses` in params.yaml, e.g. alignedreid"
    )
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    params, cell = config.read(args.params), (args.dataset, args.loss)
    settings = {
        "model": config.settings(ModelSettings, config.section(params, "model", *cell), "model"),
        "train": config.settings(TrainSettings, config.section(params, "train", *cell), "train"),
        "loss": config.settings(
            LossSettings, config.entry(params, "losses", args.loss), f"losses.{args.loss}"
        ),
    }
    resume = config.settings(ResumeSettings, config.section(params, "resume"), "resume")
    split = prepared.read(args.data)
    try:
        run(split, settings, resume, args)
    except Stopped as stopped:
        print(
            f"{stopped}: the state is saved, the same command goes on from there", file=sys.stderr
        )
        sys.exit(128 + stopped.number)


def run(
    split: prepared.Split,
    settings: dict[str, Any],
    resume: ResumeSettings,
    args: argparse.Namespace,
) -> None:
    """Train in this process, or as one of several, and write what came of it."""
    device, is_first = choose_device(settings["train"].device), distributed.rank() == 0
    determines = {name: asdict(values) for name, values in settings.items()}
    determines |= {"data": provenance.fingerprint(split), "code": checkpoint.code_digest()}
    determines["weights"] = checkpoint.weights_digest(settings["model"].weights)
    determines["machine"] = checkpoint.machine(device, distributed.count())
    keeper = Keeper(checkpoint.place(determines), resume, writes=is_first)
    if is_first and (others := checkpoint.others(keeper.file)):
        print(
            f"{len(others)} unfinished runs of other settings, data, code or machines lie in "
            f"{keeper.file.parent}"
        )
    epochs = tqdm(
        total=settings["train"].epochs,
        desc=f"training {args.loss}",
        unit="epoch",
        disable=not is_first,
    )
    with cli.whole(args.out, distributed.wait) as out, keeper.listening(), epochs as bar:
        distributed.made(out, out.mkdir)

        def progress(done: Run) -> None:
            if done.resumed:
                bar.set_description(f"training {args.loss}, resumed", refresh=False)
            bar.n = done.epoch - 1
            if done.history:
                bar.set_postfix_str(
                    f"loss {done.history[-1]['loss']:.3f}, {done.images_per_second():.0f} images/s"
                )

        data = training_set(split, settings["model"], settings["train"].crop)
        finished = loop.train(
            data, settings["model"], settings["loss"], settings["train"], keeper, progress
        )
        if is_first:
            network, kept_epoch = finished.result()
            model.save(network, out / "model.safetensors")
            pd.DataFrame(finished.history).to_csv(out / "history.csv", index=False)
            course = Course(
                finished.seconds,
                finished.images_per_second(),
                distributed.count(),
                finished.resumed,
                kept_epoch,
            )
            written = provenance.training(split, settings["train"].seed, device, course)
            provenance.write(out / "training.json", written)
    keeper.remove()


def training_set(split: prepared.Split, of: ModelSettings, crop: str) -> TrainingSet:
    """The split's images, decoded once at the sizes that the augmentation needs."""
    size = (of.height, of.width)
    sizes = [size, augmentation.enlarged_size(*size)] if crop == "enlarge" else [size]
    plain, *enlarged = images.decode_sizes(split, sizes)
    return TrainingSet(
        plain, enlarged[0] if enlarged else None, loop.labels_of(split.pids), split.camids
    )


if __name__ == "__main__":
    cli.run(main, distributed.group)
