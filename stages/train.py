"""Train one cell of the tables: a prepared dataset and a loss -> model.safetensors and history.csv."""

import argparse

import pandas as pd
from tqdm import tqdm

from reid import augmentation, command, config, images, model, packs, training
from reid.losses import LossSettings
from reid.model import ModelSettings
from reid.training import TrainingSet, TrainSettings


def main() -> None:
    """Decode the training images, train, and write the model and its history."""
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("data", help="folder that the prepare stage wrote; its split `train` is used")
    parser.add_argument("out", help="folder to write model.safetensors and history.csv to")
    parser.add_argument("--dataset", required=True, help="whose overrides under `datasets` in params.yaml apply")
    parser.add_argument("--loss", required=True, help="an entry of `losses` in params.yaml, e.g. alignedreid")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    params = config.read(args.params)
    model_settings = config.settings(ModelSettings, config.section(params, "model", args.dataset, args.loss), "model")
    settings = config.settings(TrainSettings, config.section(params, "train", args.dataset, args.loss), "train")
    loss = config.settings(LossSettings, config.entry(params, "losses", args.loss), f"losses.{args.loss}")

    split = packs.read(args.data, "train")
    size = (model_settings.height, model_settings.width)
    sizes = [size, augmentation.enlarged_size(*size)] if settings.crop == "enlarge" else [size]
    plain, *enlarged = images.decode_sizes(split, sizes)
    with command.whole(args.out) as out, tqdm(total=settings.epochs, desc=f"training {args.loss}", unit="epoch") as bar:

        def progress(row: dict[str, float]) -> None:
            bar.set_postfix_str(f"loss {row['loss']:.3f}, {row['images_per_second']:.0f} images/s", refresh=False)
            bar.update()

        training_set = TrainingSet(plain, enlarged[0] if enlarged else None, training.labels_of(split.pids))
        network, history = training.train(training_set, model_settings, loss, settings, progress)
        out.mkdir()
        model.save(network, out / "model.safetensors")
        pd.DataFrame(history).to_csv(out / "history.csv", index=False)


if __name__ == "__main__":
    command.run(main)
