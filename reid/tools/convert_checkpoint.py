"""Published checkpoints: a *.pth.tar of github.com/michuanhaohao/AlignedReID becomes what the
train stage writes.

`base.0` ... `base.7` there are a ResNet's children in torchvision's order, our trunk; its `conv1`
is our `conv`. A file is data here and never code.
"""

import argparse
import dataclasses
import platform
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from reid import model
from reid.model import Network
from reid.runtime import cli, config, made_by
from reid.runtime.errors import InputError
from reid.training import provenance
from reid.trunk import files, tensors
from reid.trunk.settings import ModelSettings

MODULE = "reid.tools.convert_checkpoint"


class Checkpoint(NamedTuple):
    """Tensors by the name they have in the file, less `module.`; its epoch, counted from 1, and
    rank-1 in [0, 1], where it tells.

    The published code counts epochs from 0 in its files: the last of 300 is 299 there and 300 here.
    """

    state: dict[str, Tensor]
    epoch: int | None
    rank1: float | None


def read(file: str | Path) -> Checkpoint:
    """Read a checkpoint of torch 0.4 or later, Python 2 or 3, from any device.

    Raises InputError when the file is missing, cut short or something else, and when it holds more
    than tensors and numbers; nothing of it is run.
    """
    file = Path(file)
    content = files.load(files.read_bytes(file), file)
    state = tensors.state_of(content, file)
    epoch, rank1 = content.get("epoch"), content.get("rank1")
    is_epoch = type(epoch) is int and 0 <= epoch < 2**31
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return Checkpoint(
        state,
        epoch + 1 if is_epoch else None,
        rank1 if isinstance(rank1, float) and 0 <= rank1 <= 1 else None,
    )


def to_network(
    checkpoint: Checkpoint, settings: ModelSettings, file: str | Path = "the checkpoint"
) -> Network:
    """A checkpoint -> our network with its weights and as many people as its classifier has.

    Raises InputError with the first tensor that does not fit `settings`, what it is and what it
    should be. `num_batches_tracked` may be missing: older files lack it, and features do not
    depend on it.
    """
    classifier = checkpoint.state.get("classifier.weight")
    if classifier is None or classifier.is_nested or classifier.ndim != 2 or not len(classifier):
        raise InputError(
            f"{file} has no tensor classifier.weight [people, channels]: is it an AlignedReID "
            "network?"
        )
    plain = dataclasses.replace(
        settings, weights="none", weights_sha256="", last_stride=2, bnneck=False
    )
    with torch.device("meta"):  # shapes alone
        network = Network(plain, len(classifier))
    ours = network.state_dict()
    names = {name: _published_name(name, list(network.trunk._modules)) for name in ours}
    wanted = {names[name]: tensors.shape(tensor) for name, tensor in ours.items()}
    got = {name: tensors.shape(tensor) for name, tensor in checkpoint.state.items()}
    for name in [*wanted, *got]:
        is_old = name.endswith("num_batches_tracked") and name not in got
        if got.get(name) != wanted.get(name) and not is_old:
            raise InputError(
                f"{file} does not fit the trunk {settings.trunk} of `model` in params.yaml: its "
                f"tensor {name} is the first to differ, got {got.get(name, 'none')}, wanted "
                f"{wanted.get(name, 'none')}. Set `model.trunk`, or the dataset's, to the network "
                "that was trained, and `last_layer` to ''."
            )
    fitted = {
        name: tensors.fit_one(
            names[name],
            checkpoint.state.get(names[name], torch.zeros((), dtype=torch.int64)),
            tensor,
            file,
        )
        for name, tensor in ours.items()
    }
    network = network.to_empty(device="cpu")
    network.load_state_dict(fitted)
    return network


def _published_name(name: str, children: list[str]) -> str:
    """`trunk.layer1.0.bn1.bias` -> `base.4.0.bn1.bias`, `conv.bias` -> `conv1.bias`; bn and
    classifier are the same.
    """
    part, _, rest = name.partition(".")
    if part == "trunk":
        child, _, rest = rest.partition(".")
        return f"base.{children.index(child)}.{rest}"
    return f"conv1.{rest}" if part == "conv" else name


def main() -> None:
    """Read one checkpoint, write model.safetensors, history.csv and training.json; say what it
    tells of itself.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("checkpoint", help="a *.pth.tar of the published code")
    parser.add_argument("out", help="folder to write, e.g. models/market1501/alignedreid/0")
    parser.add_argument(
        "--dataset", help="whose overrides under `datasets` in params.yaml apply (default: none)"
    )
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()
    settings = config.load(ModelSettings, config.read(args.params), "model", args.dataset)
    checkpoint = read(args.checkpoint)
    network = to_network(checkpoint, settings, args.checkpoint)
    with cli.atomic_output(args.out) as out:
        out.mkdir()
        model.save(network, out / "model.safetensors")
        pd.DataFrame({"epoch": [checkpoint.epoch]}).to_csv(out / "history.csv", index=False)
        content = provenance.converted(Path(args.checkpoint), checkpoint.epoch)
        provenance.write(out / "training.json", content)
        values = {
            "model": dataclasses.asdict(network.settings),
            "people": network.people,
            "sha256": content["sha256"],
        }
        document = made_by.document(MODULE, values, {}, platform.machine())
        digest = made_by.file_digest(out / "model.safetensors")
        made_by.write(out, {**document, "content": digest})
    print(f"{description(checkpoint, network)}: {args.out}")


def description(checkpoint: Checkpoint, network: Network) -> str:
    """Return what a checkpoint says of itself: trunk, epoch, people and rank-1."""
    epoch = "an unknown epoch" if checkpoint.epoch is None else f"epoch {checkpoint.epoch}"
    text = f"{network.settings.trunk} of {epoch}, trained on {network.people} people"
    if checkpoint.rank1 is None:
        return text
    return f"{text}, with a rank-1 of {checkpoint.rank1:.1%} as it says itself"


if __name__ == "__main__":
    cli.run(main)
