"""A checkpoint of github.com/michuanhaohao/AlignedReID, or a ResNet of torchreid or fast-reid,
becomes what the train stage writes.

A file is data here and never code.
"""

import argparse
import dataclasses
import platform
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from torch import Tensor

from reid import model
from reid.model import Network
from reid.runtime import cli, config, made_by
from reid.runtime.errors import InputError
from reid.tools import published_checkpoint, resnet_checkpoint
from reid.tools.parser import make as make_parser
from reid.training import provenance
from reid.trunk import files, tensors
from reid.trunk.settings import ModelSettings

MODULE = "reid.tools.convert_checkpoint"


class Checkpoint(NamedTuple):
    """Tensors by the name they have in the file, less `module.`; its epoch, counted from 1, and
    rank-1 in [0, 1], where it tells.

    The published code and fast-reid count epochs from 0 in their files: the last of 300 is 299
    there and 300 here.
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
        epoch + resnet_checkpoint.epochs_before(state) if is_epoch else None,
        rank1 if isinstance(rank1, float) and 0 <= rank1 <= 1 else None,
    )


def to_network(
    checkpoint: Checkpoint,
    settings: ModelSettings,
    file: str | Path = "the checkpoint",
    last_stride: int | None = None,
) -> tuple[Network, list[str]]:
    """A checkpoint -> our network, and what the file could not tell of it.

    `last_stride` None is the one that the file's project trains with by default. Raises InputError
    with the first tensor that does not fit `settings`.
    """
    if not published_checkpoint.is_published(checkpoint.state):
        network = resnet_checkpoint.to_network(checkpoint.state, settings, file, last_stride)
        return network, resnet_checkpoint.notes(checkpoint.state, network)
    if last_stride == 1:
        raise InputError(
            f"--last-stride 1: {file} is of the published code, whose networks have 2. Omit it."
        )
    return published_checkpoint.to_network(checkpoint.state, settings, file), []


def main() -> None:
    """Read one checkpoint, write model.safetensors, history.csv and training.json; say what it
    tells of itself.
    """
    args = _parser().parse_args()
    settings = config.load(ModelSettings, config.read(args.params), "model", args.dataset)
    checkpoint = read(args.checkpoint)
    network, notes = to_network(checkpoint, settings, args.checkpoint, args.last_stride)
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
    for note in notes:
        print(note)


def _parser() -> argparse.ArgumentParser:
    example = "model.pth.tar-60 models/market1501/softmax/0 --dataset market1501"
    parser = make_parser("convert", __doc__ or "", example)
    add = parser.add_argument
    add("checkpoint", help="a *.pth.tar or *.pth of one of these")
    add("out", help="folder to write, e.g. models/market1501/alignedreid/0")
    add("--dataset", help="whose overrides under `datasets` in params.yaml apply (default: none)")
    add("--params", default="params.yaml", help="settings (default: %(default)s)")
    add(
        "--last-stride",
        type=int,
        choices=(1, 2),
        help="of the trunk's last layer, which no file tells (default: torchreid's 2, fast-reid's "
        "1, as they train ResNets by default)",
    )
    return parser


def description(checkpoint: Checkpoint, network: Network) -> str:
    """Return what a checkpoint says of itself: trunk, epoch, people and rank-1."""
    epoch = "an unknown epoch" if checkpoint.epoch is None else f"epoch {checkpoint.epoch}"
    text = f"{network.settings.trunk} of {epoch}, trained on {network.people} people"
    if checkpoint.rank1 is None:
        return text
    return f"{text}, with a rank-1 of {checkpoint.rank1:.1%} as it says itself"


if __name__ == "__main__":
    cli.run(main)
