"""Checkpoints that can be no model of ours, told by the first tensor of what ours lacks."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from reid.images import MEAN, STD
from reid.runtime.errors import InputError
from reid.trunk import tensors

TELLING = (  # a tensor's name, and what it is of
    (r"(^|\.)(cls_token|pos_embed|patch_embed\..*|blocks\.0\..*)$", "a vision transformer"),
    (r"(^|\.)conv1\.conv\.weight$|\.conv2[a-d]\.", "an OSNet"),
    (r"(^|\.)IN\.", "a network with instance normalisation (IBN)"),
    (r"(^|\.)NL_\d\.", "a network with non-local blocks"),
    (r"\.se\.", "a network with squeeze-and-excitation"),
    (r"(^|\.)b\d+(_head)?\.|^classifier\.\d", "a network of several parts"),
    (r"\.pool_layer\.p$", "a network that pools by generalised means (GeM)"),
    (r"^fc\.0\.", "a network with a further layer behind the pooling"),
    (r"^fc\.weight$", "a classifier of pictures, whose file `model.weights` takes"),
    (r"^base\.conv1\.", "a network that may lack its first ReLU, as reid-strong-baseline's"),
)
REDUCTION = "heads.bottleneck.0.weight"  # a BatchNorm's [channels], or a convolution's
PIXELS = {"pixel_mean": MEAN, "pixel_std": STD}  # fast-reid's are of numbers up to 255


def refuse(state: Mapping[str, Tensor], file: str | Path) -> None:
    """Raise InputError with the first tensor that tells of a network that ours cannot be, and for
    images in other numbers than ours.
    """
    for name, tensor in state.items():
        kinds = [what for pattern, what in TELLING if re.search(pattern, name)]
        if name == REDUCTION and tensors.shape(tensor).count(","):
            kinds = ["a network with a further convolution behind the pooling"]
        if kinds:
            raise InputError(
                f"{file} gives no model: its tensor {name} {tensors.shape(tensor)} is of "
                f"{kinds[0]}. Wanted a plain ResNet of torchreid or fast-reid with mean pooling, "
                "or a checkpoint of the published AlignedReID code: what has other layers has "
                "other features."
            )
    for name in PIXELS:
        if name in state:
            _check_pixels(name, state[name], file)


def _check_pixels(name: str, tensor: Tensor, file: str | Path) -> None:
    """Raise InputError unless fast-reid's mean or deviation of images is ours."""
    wanted = 255 * torch.tensor(PIXELS[name])
    if not tensor.is_nested and tensor.numel() == len(wanted):
        wanted = wanted.reshape(tensor.shape)
    got = tensors.fit_one(name, tensor, wanted, file)
    if not torch.allclose(got, wanted, rtol=0, atol=0.5):
        raise InputError(
            f"{file} gives no model: its {name} is {got.flatten().tolist()}, wanted "
            f"{wanted.flatten().tolist()}: it takes images in other numbers than ours."
        )
