"""The network of AlignedReID++ (Luo et al., 2019, section 3.1): a torchvision trunk, a training
head, test features.

Stripes are maxima over the width and over each stripe's share of the map's rows
(`adaptive_max_pool2d`): one row each for the paper's 8 x 4 map, several where the map is higher,
the same row twice where it is lower.

Beyond that paper, from Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person
Re-identification" (CVPRW 2019, sections 3.4 and 3.5): a last stride of 1, and BNNeck.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional

from reid.runtime.errors import InputError, paragraph
from reid.trunk import tensors
from reid.trunk.settings import ModelSettings
from reid.trunk.torchvision_model import make_trunk, map_shape

STRIPE_CHANNELS = 128


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
        self.channels = map_shape(self.trunk, settings)[0]
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
    """Read a network that `save` wrote.

    Raises InputError for a missing, cut or other file, and for tensors that do not fit or are not
    finite.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            about = json.loads((opened.metadata() or {})["network"])
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
        settings = ModelSettings(**{**about["settings"], "weights": "none", "weights_sha256": ""})
        with torch.device("meta"):  # shapes alone
            network = Network(settings, about["people"])
        wanted = network.state_dict()
        if odd := sorted(wanted.keys() ^ state.keys()):
            raise ValueError(f"its tensor {odd[0]} is absent or superfluous.")
        fitted = {name: tensors.fit_one(name, state[name], wanted[name], file) for name in wanted}
    except (
        *(InputError, OSError, SafetensorError, LookupError, ValueError, TypeError),
        *(RuntimeError, AttributeError),
    ) as error:
        raise InputError(
            f"{file} is no model of this project: {paragraph(error)[:400]} "
            "Run its train stage anew."
        ) from None
    network = network.to_empty(device="cpu")
    network.load_state_dict(fitted)
    return network
