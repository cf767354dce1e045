"""The network of AlignedReID++ (Luo et al., 2019, section 3.1): a torchvision trunk, a training
head, test features.

Stripes are maxima over the width and over each stripe's share of the map's rows
(`adaptive_max_pool2d`): one row each for the paper's 8 x 4 map, several where the map is higher,
the same row twice where it is lower.

Beyond that paper, from Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person
Re-identification" (CVPRW 2019, sections 3.4 and 3.5): a last stride of 1, and BNNeck.
"""

import difflib
import json
import pickle
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
import torchvision
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional

from reid.runtime.errors import InputError
from reid.runtime.settings import Text, settings_class

HEADS = {"avgpool", "fc", "classifier"}
FAMILIES = (
    *("convnext", "densenet", "efficientnet", "mnasnet", "mobilenet", "regnet"),
    *("resnet", "resnext", "shufflenet", "squeezenet", "vgg", "wide_resnet"),
)
STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
STRIPE_CHANNELS = 128


@settings_class
class ModelSettings:
    """`model` in params.yaml: the trunk and where it ends, image size, stripes, first weights.

    `last_stride` 1 keeps the trunk's last layer from halving the map, 2 leaves it as it is.
    `bnneck` puts a BatchNorm between the global feature and the classifier.
    """

    trunk: Text
    last_layer: Text
    height: Annotated[int, Field(ge=32, le=4096)]
    width: Annotated[int, Field(ge=32, le=4096)]
    stripes: Annotated[int, Field(ge=1, le=256)]
    weights: Text
    last_stride: Literal[1, 2]
    bnneck: bool


class Outputs(NamedTuple):
    """What the losses are computed from: logits [N, people], global features [N, D], stripes [N, S,
    128] or None.

    Global features are those before BNNeck, the logits are of those after it.
    """

    logits: Tensor
    global_features: Tensor
    stripes: Tensor | None


class Network(nn.Module):
    """Trunk and heads: `forward` for training, `describe` for the features of distances."""

    def __init__(self, settings: ModelSettings, people: int) -> None:
        super().__init__()
        self.settings, self.people = settings, people
        self.trunk = make_trunk(settings)
        self.channels = _map_shape(self.trunk, settings)[0]
        self.classifier = nn.Linear(self.channels, people, bias=not settings.bnneck)
        self.bn = nn.BatchNorm2d(self.channels)
        self.conv = nn.Conv2d(self.channels, STRIPE_CHANNELS, kernel_size=1)
        self.neck = neck(self.channels) if settings.bnneck else nn.Identity()

    def forward(self, images: Tensor, with_stripes: bool = True) -> Outputs:
        """Normalised images [N, 3, H, W] -> what the losses need; stripes have unit length."""
        feature_map = self.trunk(images).float()
        with torch.autocast(images.device.type, enabled=False):  # bf16 is for the trunk alone
            global_features = feature_map.mean((2, 3))
            stripes = (
                training_stripes(feature_map, self.bn, self.conv, self.settings.stripes)
                if with_stripes
                else None
            )
            return Outputs(self.classifier(self.neck(global_features)), global_features, stripes)

    @torch.no_grad()
    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [N, 3, H, W] -> global features [N, D], after BNNeck, and unit stripes
        [N, S, D].
        """
        feature_map = self.trunk(images).float()
        return self.neck(feature_map.mean((2, 3))), test_stripes(feature_map, self.settings.stripes)


def neck(channels: int) -> nn.BatchNorm1d:
    """BNNeck (Luo et al., CVPRW 2019, section 3.5): BatchNorm of features [N, D] with the bias
    fixed at 0.
    """
    norm = nn.BatchNorm1d(channels)
    norm.bias.requires_grad_(False)
    return norm


def training_stripes(feature_map: Tensor, bn: nn.Module, conv: nn.Module, stripes: int) -> Tensor:
    """Feature map [N, C, H, W] -> unit stripes [N, S, 128]: BatchNorm, ReLU, maximum, 1x1
    convolution.
    """
    pooled = functional.adaptive_max_pool2d(functional.relu(bn(feature_map)), (stripes, 1))
    return functional.normalize(conv(pooled).squeeze(-1).transpose(1, 2), dim=-1)


def test_stripes(feature_map: Tensor, stripes: int) -> Tensor:
    """Feature map [N, C, H, W] -> unit stripes [N, S, C]: the maximum alone, unlike in training."""
    pooled = functional.adaptive_max_pool2d(feature_map, (stripes, 1))
    return functional.normalize(pooled.squeeze(-1).transpose(1, 2), dim=-1)


test_stripes.__test__ = False  # a word of the paper, not a test


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
    halved = _map_shape(trunk, settings)[1:]
    for module in trunk[-1].modules():
        if isinstance(module, STRIDED) and module.stride in (2, (2, 2)):
            module.stride = (1, 1)
    height, width = _map_shape(trunk, settings)[1:]
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
    """The torchvision model, with random weights, ImageNet's by name, or those of a .pth file."""
    if settings.weights == "none":
        return torchvision.models.get_model(settings.trunk, weights=None)
    if settings.weights.endswith((".pth", ".pt")):
        return _model_from_file(settings.trunk, Path(settings.weights))
    choices = torchvision.models.get_model_weights(settings.trunk).__members__
    if settings.weights not in choices:
        raise InputError(
            f"unknown weights '{settings.weights}' in `model.weights` for {settings.trunk}: choose "
            f"one of {', '.join(choices)}, none, or the path of a .pth file."
        )
    url = choices[settings.weights].url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    try:
        return torchvision.models.get_model(settings.trunk, weights=choices[settings.weights])
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"the ImageNet weights of {settings.trunk} cannot be had from {url}: {error}. Put that "
            f"file at {file}, or set `model.weights` to its path, or to none to train from random "
            "weights."
        ) from None


def _model_from_file(trunk: str, file: Path) -> nn.Module:
    network = torchvision.models.get_model(trunk, weights=None)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        # torchvision's DenseNet files name layers norm.1 where its code says norm1
        network.load_state_dict(
            {re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key): state[key] for key in state}
        )
    except (
        OSError,
        RuntimeError,
        EOFError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        raise InputError(
            f"`model.weights`: {file} holds no weights of torchvision's {trunk}: "
            f"{str(error)[:300]} Name another file, torchvision's name of the weights "
            "(IMAGENET1K_V1), or none."
        ) from None
    return network


def _map_shape(trunk: nn.Module, settings: ModelSettings) -> tuple[int, ...]:
    """The trunk's map of one image: (channels, height, width)."""
    was_training = trunk.training
    with torch.no_grad():
        shape = trunk.eval()(torch.zeros(1, 3, settings.height, settings.width)).shape
    trunk.train(was_training)
    if len(shape) != 4:
        raise InputError(
            f"trunk '{settings.trunk}' ends in shape {tuple(shape)}, wanted a map [N, C, H, W]."
        )
    return tuple(shape[1:])


def save(network: Network, file: str | Path) -> None:
    """Write a network as safetensors, with its settings and number of people in the header."""
    about = {"settings": asdict(network.settings), "people": network.people}
    header = {"network": json.dumps(about)}  # several entries would come in any order
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    # not save_file, which makes the file readable by its owner alone
    Path(file).write_bytes(save_tensors(tensors, metadata=header))


def load(file: str | Path) -> Network:
    """Read a network that `save` wrote. Raises InputError for a missing, cut or other file."""
    try:
        with safe_open(file, framework="pt") as opened:
            about = json.loads((opened.metadata() or {})["network"])
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
        settings = ModelSettings(**{**about["settings"], "weights": "none"})
        network = Network(settings, about["people"])
        network.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{file} is no model of this project: {' '.join(str(error).split())[:300]} "
            "Run its train stage anew."
        ) from None
    return network
