"""The training images in memory, and each step's augmented batch of them.

Everything random comes from the run's seed, anew for each epoch and step, so that a run can stop
after any step and go on with the same batches.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid import images, prepared
from reid.runtime import distributed
from reid.training import augmentation, data_parallel
from reid.training.sampling import epoch_batches
from reid.training.settings import TrainSettings
from reid.trunk.settings import ModelSettings


@dataclass(frozen=True)
class TrainingSet:
    """Hold decoded images, uint8 [N, H, W, 3], enlarged by 1/8 [N, H', W', 3] or None, labels and
    camids [N] int64.
    """

    plain: np.ndarray
    enlarged: np.ndarray | None
    labels: np.ndarray
    camids: np.ndarray

    def select(self, rows: np.ndarray) -> "TrainingSet":
        """Return the images where `rows` [N] is true, with labels from 0 again."""
        enlarged = None if self.enlarged is None else self.enlarged[rows]
        labels = labels_of(self.labels[rows])
        return TrainingSet(self.plain[rows], enlarged, labels, self.camids[rows])


def labels_of(pids: np.ndarray) -> np.ndarray:
    """Pids [N] -> labels [N] int64: classifier rows from 0, by sorted pid."""
    return np.unique(pids, return_inverse=True)[1].astype(np.int64)


def decode(split: prepared.Split, model: ModelSettings, crop: str) -> TrainingSet:
    """Decode the split's images once, at the sizes that the augmentation `crop` needs."""
    size = (model.height, model.width)
    sizes = [size]
    if crop == "enlarge":
        sizes.append(augmentation.enlarged_size(*size))
    plain, *enlarged = images.decode_sizes(split, sizes)
    labels = labels_of(split.pids)
    return TrainingSet(plain, enlarged[0] if enlarged else None, labels, split.camids)


class Batches:
    """Hold the training images on the device where they fit, else in memory, and load each step's
    augmented batch of them.
    """

    def __init__(self, data: TrainingSet, device: torch.device, settings: TrainSettings) -> None:
        self.data, self.device, self.settings = data, device, settings
        self.plain = _place(data.plain, device)
        self.enlarged = None if data.enlarged is None else _place(data.enlarged, device)
        self.labels = torch.from_numpy(data.labels).to(device)
        self.shard = data_parallel.rows_of_rank(
            settings.people, settings.images_each, distributed.rank(), distributed.world_size()
        )

    def of_epoch(self, epoch: int) -> np.ndarray:
        """Draw the epoch's batches: image numbers [steps, P x K]."""
        rng = np.random.default_rng([self.settings.seed, epoch])
        return epoch_batches(self.data.labels, self.settings.people, self.settings.images_each, rng)

    def seed(self, epoch: int, step: int) -> int:
        """Return what torch's generators start a step from, another on each rank, for trunks that
        drop something.
        """
        entropy = [self.settings.seed, epoch, step + 1, distributed.rank() + 1]
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])

    def load(self, batch: np.ndarray, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Image numbers [P x K] of a step -> this rank's images of them, [N, 3, H, W], augmented
        and normalised, and all labels [P x K].
        """
        # step + 1, since a trailing 0 would repeat the draws of `of_epoch`
        rng = np.random.default_rng([self.settings.seed, epoch, step + 1])
        size, settings = self.plain.shape[1:3], self.settings
        draws = augmentation.draw(rng, len(batch), size, settings.crop, settings.erasing)
        numbers = torch.from_numpy(batch)
        local = numbers[self.shard].to(self.plain.device)
        plain = self.plain[local].to(self.device, non_blocking=True)
        enlarged = None
        if self.enlarged is not None:
            enlarged = self.enlarged[local].to(self.device, non_blocking=True)
        augmented = augmentation.augment(plain, enlarged, draws.select(self.shard))
        return augmented, self.labels[numbers.to(self.device)]


def _place(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Pixels [N, H, W, 3] -> the same on the device, or in memory that copies to it fast when they
    would take more than half of what is free there.
    """
    tensor = torch.from_numpy(pixels)
    if device.type == "cuda" and tensor.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return tensor.pin_memory()
    return tensor.to(device)
