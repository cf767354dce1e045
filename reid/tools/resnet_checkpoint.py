"""ResNets that torchreid and fast-reid trained: their trunk, classifier and BNNeck become ours.

Both call a ResNet's tensors as torchvision does. They have no local branch, whose layers only
training needs: stripes at test are maxima of the trunk's map. What has layers that ours lacks is
refused by its first such tensor, since features without them are others.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from reid.model import Network
from reid.runtime.errors import InputError
from reid.tools import other_networks
from reid.trunk import tensors
from reid.trunk.settings import ModelSettings


class Layout(NamedTuple):
    """Where a project keeps the tensors of the trunk, the classifier and BNNeck (any one of
    several names), and the last stride that its networks have by default, which no tensor tells.
    """

    project: str
    trunk: str
    classifiers: tuple[str, ...]
    necks: tuple[str, ...]
    last_stride: int


TORCHREID = Layout("torchreid", "", ("classifier.",), (), 2)
FAST_REID = Layout(
    "fast-reid",
    "backbone.",
    ("heads.", "heads.classifier."),
    ("heads.bottleneck.0.", "heads.bnneck."),
    1,
)


def layout_of(state: Mapping[str, Tensor]) -> Layout:
    """Whose tensors these are, by their names: fast-reid's, else torchreid's."""
    return FAST_REID if any(name.startswith(FAST_REID.trunk) for name in state) else TORCHREID


def epochs_before(state: Mapping[str, Tensor]) -> int:
    """How many epochs have ended when a file counts 0: torchreid alone counts them from 1."""
    return 0 if "layer1.0.conv1.weight" in state else 1


def to_network(
    state: Mapping[str, Tensor], settings: ModelSettings, file: str | Path, last_stride: int | None
) -> Network:
    """Tensors of torchreid or fast-reid -> our network with BNNeck where they have it, and as many
    people as their classifier has, 1 without.

    `last_stride` None is the project's default. Raises InputError with the first tensor that does
    not fit `settings` and what it is of, where that is known.
    """
    other_networks.refuse(state, file)
    layout = layout_of(state)
    neck = _prefix(state, layout.necks, "weight")
    classifier = _prefix(state, layout.classifiers, "weight")
    settings = dataclasses.replace(
        settings,
        weights="none",
        weights_sha256="",
        last_stride=last_stride or layout.last_stride,
        bnneck=neck is not None,
    )
    people = 1 if classifier is None else _people(state, f"{classifier}weight", file)
    with torch.device("meta"):  # shapes alone
        wanted = Network(settings, people).state_dict()
    prefixes = {"trunk": layout.trunk, "neck": neck, "classifier": classifier}
    names = _names(state, wanted, prefixes)
    _check_shapes(state, {names[name]: wanted[name] for name in names}, settings, file)
    fitted = {
        name: tensors.fit_one(theirs, state[theirs], wanted[name], file)
        for name, theirs in names.items()
        if theirs in state
    }
    if classifier is not None and "classifier.bias" not in names and not settings.bnneck:
        fitted["classifier.bias"] = torch.zeros(people)
    return _with_weights(settings, people, fitted)


def _prefix(state: Mapping[str, Tensor], prefixes: tuple[str, ...], name: str) -> str | None:
    """The first prefix under which there is a tensor `name`."""
    return next((prefix for prefix in prefixes if prefix + name in state), None)


def _people(state: Mapping[str, Tensor], name: str, file: str | Path) -> int:
    """The rows of a classifier [people, channels]. Raises InputError when it is something else."""
    tensor = state[name]
    if tensor.is_nested or tensor.ndim != 2 or not len(tensor):
        raise InputError(
            f"tensor {name} in {file}: got {tensors.shape(tensor)}, wanted [people, channels] of a "
            "classifier."
        )
    return len(tensor)


def _names(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefixes: Mapping[str, str | None]
) -> dict[str, str]:
    """Our names of the parts in `prefixes` -> theirs. A bias of the classifier may be absent."""
    names = {}
    for name in wanted:
        part, _, rest = name.partition(".")
        prefix = prefixes.get(part)
        if prefix is not None and (name != "classifier.bias" or prefix + rest in state):
            names[name] = prefix + rest
    return names


def _check_shapes(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    settings: ModelSettings,
    file: str | Path,
) -> None:
    """Raise InputError with the first tensor that is absent, superfluous or of another shape."""
    for name in [*wanted, *(name for name in state if name not in other_networks.PIXELS)]:
        got, expected = (
            tensors.shape(side[name]) if name in side else "none" for side in (state, wanted)
        )
        is_old = name.endswith("num_batches_tracked") and "none" in (got, expected)
        if got != expected and not is_old:
            raise InputError(
                f"{file} does not fit the trunk {settings.trunk} of `model` in params.yaml: its "
                f"tensor {name} is the first to differ, got {got}, wanted {expected}. Set "
                "`model.trunk` to the ResNet that was trained, and `last_layer` to ''; a network "
                "with other layers gives no model."
            )


def _with_weights(settings: ModelSettings, people: int, fitted: dict[str, Tensor]) -> Network:
    """A network with these tensors, and the same start as any other of those that are absent."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(settings, people)
    network.load_state_dict(fitted, strict=False)
    return network


def notes(state: Mapping[str, Tensor], network: Network) -> list[str]:
    """Say, in sentences, what the file could not tell of the network that it has become."""
    layout, stride = layout_of(state), network.settings.last_stride
    default = " by default" if stride == layout.last_stride else ""
    sentences = [
        f"The file is {layout.project}'s: it has no local branch, which only training needs.",
        f"The last stride is {stride}{default}: no tensor tells it, `--last-stride` sets it.",
    ]
    if _prefix(state, layout.classifiers, "weight") is None:
        sentences.append("It has no classifier: one of 1 person stands in, which no feature needs.")
    if layout is FAST_REID:
        sentences.append("Later fast-reid sees pictures 2 pixels aside: see docs/checkpoints.md.")
    return sentences
