"""Checkpoints of github.com/michuanhaohao/AlignedReID.

`base.0` ... `base.7` there are a ResNet's children in torchvision's order, our trunk; its `conv1`
is our `conv`.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from reid.model import Network
from reid.runtime.errors import InputError
from reid.trunk import tensors
from reid.trunk.settings import ModelSettings


def is_published(state: Mapping[str, Tensor]) -> bool:
    """Whether these tensors are called as in the published code."""
    return any(re.match(r"base\.\d", name) for name in state)


def to_network(
    state: Mapping[str, Tensor], settings: ModelSettings, file: str | Path = "the checkpoint"
) -> Network:
    """Published tensors -> our network with these weights and as many people as the classifier has.

    Raises InputError with the first tensor that does not fit `settings`,
    what it is and what it should be. `num_batches_tracked` may be missing: older files lack it, and
    features do not depend on it.
    """
    classifier = state.get("classifier.weight")
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
    got = {name: tensors.shape(tensor) for name, tensor in state.items()}
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
            state.get(names[name], torch.zeros((), dtype=torch.int64)),
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
