"""What can be refused before the training images are decoded: the model's settings and weights, and
more memory than there is.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from reid.prepared import Split
from reid.runtime import distributed
from reid.runtime.errors import InputError
from reid.runtime.resources import available_memory, gigabytes
from reid.training import augmentation
from reid.training.settings import CellSettings
from reid.trunk.settings import ModelSettings
from reid.trunk.torchvision_model import make_trunk, map_shape, state_from_file

COPIES = 4  # of each parameter: itself, its gradient and Adam's two means


@dataclass(frozen=True)
class Estimate:
    """Bytes that each process needs at least: for the decoded images, and for its networks with the
    maps that a step keeps.
    """

    images: int
    networks: int


def check(split: Split, settings: CellSettings, device: torch.device) -> None:
    """Raise InputError for a trunk that there is not, for a file of weights that does not fit, and
    where memory cannot do.
    """
    trunk = empty_trunk(settings.model)
    if settings.model.has_file:
        state_from_file(settings.model, trunk.state_dict())
    check_memory(estimate(len(split), settings), device)


def check_memory(estimated: Estimate, device: torch.device) -> None:
    """Raise InputError, with what would help, where this host or the GPU has less memory."""
    processes = distributed.local_world_size()
    is_gpu = device.type == "cuda"
    networks = 0 if is_gpu else estimated.networks
    available = available_memory()
    if processes * (estimated.images + networks) > available:
        several = f"each of {processes} processes of " if processes > 1 else ""
        raise InputError(
            f"{several}training takes at least {gigabytes(estimated.images)} of memory for the "
            f"decoded images and {gigabytes(networks)} for the model with its batch, but "
            f"{gigabytes(available)} are available: lower `model.height` and `model.width`, or "
            "`train.people` and `train.images_each`, or take a larger machine."
        )
    if is_gpu and estimated.networks > (free := torch.cuda.mem_get_info(device)[0]):
        raise InputError(
            f"training takes {gigabytes(estimated.networks)} of the GPU's memory at least, but "
            f"{gigabytes(free)} are free: lower `train.people`, `train.images_each`, or "
            "`model.height` and `model.width`."
        )


def estimate(images: int, settings: CellSettings) -> Estimate:
    """Estimate what training on a number of images takes; it will be some more."""
    height, width = settings.model.height, settings.model.width
    pixels = height * width
    if settings.train.crop == "enlarge":
        rows, columns = augmentation.enlarged_size(height, width)
        pixels += rows * columns
    copies = 2 if settings.train.held_out else 1  # the images, and those of each part
    networks = 2 if settings.loss.mutual else 1
    batch = settings.train.people * settings.train.images_each // distributed.world_size()
    trunk = empty_trunk(settings.model)
    parameters = sum(parameter.numel() for parameter in trunk.parameters())
    bits = 16 if settings.train.precision == "bf16" else 32
    maps = kept_numbers(trunk, settings.model) * batch * bits // 8
    return Estimate(3 * images * pixels * copies, networks * (4 * COPIES * parameters + maps))


def empty_trunk(settings: ModelSettings) -> torch.nn.Sequential:
    """The trunk without numbers, which takes no memory. Raises InputError as `make_trunk` does."""
    plain = dataclasses.replace(settings, weights="none", weights_sha256="")
    with torch.device("meta"):
        trunk = make_trunk(plain)
        map_shape(trunk, plain)
    return trunk


def kept_numbers(trunk: torch.nn.Module, settings: ModelSettings) -> int:
    """Numbers of an image's maps that torch keeps for the gradients."""
    parameters = {parameter.untyped_storage()._cdata for parameter in trunk.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            kept[storage._cdata] = storage  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # two, since a batch of one has no variance
        trunk.train()(torch.zeros(2, 3, settings.height, settings.width, device="meta"))
    return sum(storage.nbytes() for storage in kept.values()) // (2 * 4)
