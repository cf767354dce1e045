"""The trunk: a torchvision model up to its last feature map, with random weights, ImageNet's or
those of a file.

Beyond the paper's: a last stride of 1 (Luo et al., "Bag of Tricks and a Strong Baseline for Deep
Person Re-identification", CVPRW 2019, section 3.4).
"""

import difflib
import hashlib
import pickle
import re
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from reid.runtime.errors import InputError
from reid.trunk import files, tensors
from reid.trunk.settings import ModelSettings

HEADS = {"avgpool", "fc", "classifier"}
FAMILIES = (
    *("convnext", "densenet", "efficientnet", "mnasnet", "mobilenet", "regnet"),
    *("resnet", "resnext", "shufflenet", "squeezenet", "vgg", "wide_resnet"),
)
STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def make_trunk(settings: ModelSettings) -> nn.Sequential:
    """A torchvision model's layers up to its last feature map, or to `last_layer`: images
    [N, 3, H, W] -> [N, C, h, w].

    Raises InputError for an unknown name or layer, for weights that cannot be had, and for a last
    stride of 1 where the last layer does not halve the map.
    """
    layers = _layers_to_map(settings)
    if settings.last_layer and settings.last_layer not in layers:
        raise InputError(
            f"unknown layer '{settings.last_layer}' in `model.last_layer` for {settings.trunk}: "
            f"choose one of {', '.join(layers)}, or '' for the whole trunk."
        )
    trunk = nn.Sequential()
    for name, layer in layers.items():
        trunk.add_module(name, layer)
        if name == settings.last_layer:
            break
    if settings.has_file:  # old files lack num_batches_tracked
        trunk.load_state_dict(state_from_file(settings, trunk.state_dict()), strict=False)
    if settings.last_stride == 1:
        _remove_last_stride(trunk, settings)
    return trunk


def _layers_to_map(settings: ModelSettings) -> dict[str, nn.Module]:
    """The children of the torchvision model that lead to its last feature map, by name, in order.

    torchvision calls the children of these families one after another; only DenseNet's last ReLU is
    in its `forward` and no child.
    """
    choices = trunk_names()
    if settings.trunk not in choices:
        near = difflib.get_close_matches(settings.trunk, choices, 3)
        raise InputError(
            f"unknown trunk '{settings.trunk}' in `model.trunk`: wanted a torchvision model of the "
            f"families {', '.join(FAMILIES)}{'; near it: ' + ', '.join(near) if near else ''}."
        )
    children = _torchvision_model(settings).named_children()
    layers = {name: child for name, child in children if name not in HEADS}
    if settings.trunk.startswith("densenet"):
        layers["relu"] = nn.ReLU()
    return layers


def _remove_last_stride(trunk: nn.Sequential, settings: ModelSettings) -> None:
    """Set all strides of 2 in the last layer to 1: in a ResNet's, of one 3x3 convolution and of the
    shortcut beside it.

    Raises InputError unless the map's sides just double.
    """
    halved = map_shape(trunk, settings)[1:]
    for module in trunk[-1].modules():
        if isinstance(module, STRIDED) and module.stride in (2, (2, 2)):
            module.stride = (1, 1)
    height, width = map_shape(trunk, settings)[1:]
    doubles = ((height + 1) // 2, (width + 1) // 2) == halved != (height, width)
    if not doubles:
        raise InputError(
            f"`model.last_stride` is 1, but the last layer of {settings.trunk}, "
            f"`{list(trunk._modules)[-1]}`, does not halve the map once: it would be {height} x "
            f"{width} instead of {halved[0]} x {halved[1]}. Set last_stride to 2, or take a "
            "trunk whose last layer does, such as resnet50, or end it at one with "
            "`model.last_layer`."
        )


def trunk_names() -> list[str]:
    """The names that `model.trunk` may take, sorted."""
    return sorted(
        name
        for name in torchvision.models.list_models(torchvision.models)
        if name.startswith(FAMILIES)
    )


def _torchvision_model(settings: ModelSettings) -> nn.Module:
    """The torchvision model with random weights, or with ImageNet's by name."""
    if settings.weights == "none" or settings.has_file:
        return torchvision.models.get_model(settings.trunk, weights=None)
    choices = torchvision.models.get_model_weights(settings.trunk).__members__
    if settings.weights not in choices:
        raise InputError(
            f"unknown weights '{settings.weights}' in `model.weights` for {settings.trunk}: choose "
            f"one of {', '.join(choices)}, none, or the path of a file, such as ./weights.pth."
        )
    url = choices[settings.weights].url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    _check_download(file)
    try:
        return torchvision.models.get_model(settings.trunk, weights=choices[settings.weights])
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"the ImageNet weights of {settings.trunk} cannot be had from {url}: {error}. Put that "
            f"file at {file}, or set `model.weights` to its path, or to none to train from random "
            "weights."
        ) from None


def _check_download(file: Path) -> None:
    """Raise InputError where a file of torchvision is there and has not the digest in its name,
    which torch checks while it downloads, and not afterwards.
    """
    start = torch.hub.HASH_REGEX.search(file.name)
    if start and file.is_file():
        digest = hashlib.sha256(files.read_bytes(file)).hexdigest()
        if not digest.startswith(start[1]):
            raise InputError(
                f"{file} is damaged, or not the file of torchvision: its SHA-256 is {digest}, and "
                f"that in its name begins with {start[1]}. Remove it: it is downloaded anew."
            )


def state_from_file(settings: ModelSettings, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors of the file `model.weights` that a trunk wants, by torchvision's names.

    Raises InputError when the file has another SHA-256 than `model.weights_sha256` says, cannot be
    read or does not hold them.
    """
    file = Path(settings.weights)
    content = files.load(files.verified_bytes(file, settings.weights_sha256), file)
    # torchvision's DenseNet files name layers norm.1 where its code says norm1
    state = {
        re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", name): tensor
        for name, tensor in tensors.state_of(content, file).items()
    }
    return tensors.fit(state, wanted, file, f"torchvision's {settings.trunk}")


def map_shape(trunk: nn.Module, settings: ModelSettings) -> tuple[int, ...]:
    """The shape of the trunk's map of one image, (channels, height, width).

    Raises InputError where it ends in something else than a map.
    """
    was_training = trunk.training
    with torch.no_grad():
        shape = trunk.eval()(torch.zeros(1, 3, settings.height, settings.width)).shape
    trunk.train(was_training)
    if len(shape) != 4:
        raise InputError(
            f"trunk '{settings.trunk}' ends in shape {tuple(shape)}, wanted a map [N, C, H, W]."
        )
    return tuple(shape[1:])
