"""Published checkpoints: a *.pth.tar of github.com/michuanhaohao/AlignedReID becomes what the
train stage writes.

`base.0` ... `base.7` there are a ResNet's children in torchvision's order, our trunk; its `conv1`
is our `conv`. A file is data here and never code: torch reads tensors and plain numbers, and we
the one NumPy number beside them, `rank1`.
"""

import argparse
import dataclasses
import pickle
import re
import struct
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from reid import model
from reid.model import ModelSettings, Network
from reid.runtime import cli, config
from reid.runtime.errors import InputError, short
from reid.training import provenance

FLOATS = {"f4": "<f", "f8": "<d"}
WHOLE = "Check that it is a checkpoint of AlignedReID (*.pth.tar), and whole: download it again."


class Checkpoint(NamedTuple):
    """Tensors by the name they have in the file, less `module.`; its epoch and rank-1 in [0, 1],
    where it tells.
    """

    state: dict[str, Tensor]
    epoch: int | None
    rank1: float | None


def read(file: str | Path) -> Checkpoint:
    """Read a checkpoint of torch 0.4 or later, Python 2 or 3, from any device.

    Raises InputError when the file is missing, cut short or something else, and when it holds more
    than tensors and numbers; nothing of it is run.
    """
    content = _load(Path(file))
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state:
        raise InputError(
            f"{file} is no checkpoint: got {_told(content)}, wanted a dict with `state_dict`. "
            f"{WHOLE}"
        )
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(
                f"`state_dict` in {file} holds {short(name)}: {type(tensor).__name__}, wanted "
                f"tensors. {WHOLE}"
            )
    epoch, rank1 = content.get("epoch"), content.get("rank1")
    return Checkpoint(
        {name.removeprefix("module."): tensor for name, tensor in state.items()},
        epoch if isinstance(epoch, int) else None,
        rank1 if isinstance(rank1, float) else None,
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
    if classifier is None or classifier.ndim != 2 or not len(classifier):
        raise InputError(
            f"{file} has no tensor classifier.weight [people, channels]: is it an AlignedReID "
            "network?"
        )
    network = Network(
        dataclasses.replace(settings, weights="none", last_stride=2, bnneck=False), len(classifier)
    )
    ours = network.state_dict()
    names = {name: _published_name(name, list(network.trunk._modules)) for name in ours}
    wanted = {names[name]: _shape(tensor) for name, tensor in ours.items()}
    got = {name: _shape(tensor) for name, tensor in checkpoint.state.items()}
    for name in [*wanted, *got]:
        is_old = name.endswith("num_batches_tracked") and name not in got
        if got.get(name) != wanted.get(name) and not is_old:
            raise InputError(
                f"{file} does not fit the trunk {settings.trunk} of `model` in params.yaml: its "
                f"tensor {name} is the first to differ, got {got.get(name, 'none')}, wanted "
                f"{wanted.get(name, 'none')}. Set `model.trunk`, or the dataset's, to the network "
                "that was trained, and `last_layer` to ''."
            )
    network.load_state_dict(
        {name: checkpoint.state.get(names[name], tensor) for name, tensor in ours.items()}
    )
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


def _load(file: Path) -> Any:
    numpy_names = [
        (_scalar, "numpy.core.multiarray.scalar"),
        (_scalar, "numpy._core.multiarray.scalar"),
        (_Dtype, "numpy.dtype"),
    ]
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals(numpy_names),
            file.open("rb") as opened,
        ):
            warnings.simplefilter(
                "ignore"
            )  # `encoding` for Python 2 is said to be ignored, and is not
            return torch.load(opened, map_location="cpu", weights_only=True, encoding="latin1")
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}.") from None
    except Exception as error:  # bytes that are no pickle raise whatever they happen to spell
        code = re.search(r"GLOBAL (\S+) (?:was not|whose)", str(error))
        if isinstance(error, pickle.UnpicklingError) and code:
            raise InputError(
                f"{file} was refused, and nothing of it was run: it asks for the Python object "
                f"{code[1]}, wanted tensors and numbers only. Take the checkpoint from somebody "
                "whom you trust."
            ) from None
        raise InputError(
            f"{file} is no checkpoint that torch can read ({type(error).__name__}). {WHOLE}"
        ) from None


class _Dtype:
    """Stands in for `numpy.dtype` while reading: the name of a type, and nothing that a file can
    reach.
    """

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Leave out byte order and the rest, which FLOATS knows."""


def _scalar(dtype: _Dtype, content: str | bytes) -> float | None:
    """Stands in for NumPy's own `scalar` while reading: the float of these bytes (Python 2's:
    text), else None.
    """
    content = content.encode("latin1") if isinstance(content, str) else content
    if dtype.name not in FLOATS or len(content) != struct.calcsize(FLOATS[dtype.name]):
        return None
    return struct.unpack(FLOATS[dtype.name], content)[0]


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"


def _told(content: Any) -> str:
    keys = (
        f" with the keys {', '.join(map(str, list(content)[:8]))}"
        if isinstance(content, dict)
        else ""
    )
    return f"a {type(content).__name__}{keys}"


def main() -> None:
    """Read one checkpoint, write model.safetensors, history.csv and training.json; say what it
    tells of itself.
    """
    parser = argparse.ArgumentParser(
        prog="python -m reid.tools.convert_checkpoint", description=__doc__
    )
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
        provenance.write(
            out / "training.json", provenance.converted(Path(args.checkpoint), checkpoint.epoch)
        )
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
