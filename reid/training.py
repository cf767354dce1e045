"""Training: the epoch loop of AlignedReID++ (Luo et al., 2019, section 4.1) on decoded images held in memory.

Everything random comes from `train.seed`: the weights, and per epoch the batches and the augmentation.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from reid.augmentation import AugmentSettings, augment, draw
from reid.device import choose_device
from reid.errors import InputError
from reid.losses import LossSettings, parts
from reid.model import ModelSettings, Network
from reid.sampling import epoch_batches, steps_per_epoch


@dataclass(frozen=True)
class TrainSettings:
    """`train` in params.yaml: the batch (people x images_each), Adam, StepLR in epochs, the hinges' margin."""

    epochs: int
    people: int
    images_each: int
    learning_rate: float
    weight_decay: float
    decay_epochs: int
    decay_factor: float
    margin: float
    seed: int
    device: str
    crop: str
    jitter: float
    erasing: float
    warmup_epochs: int

    def __post_init__(self) -> None:
        AugmentSettings(self.crop, self.jitter, self.erasing)
        counts = self.epochs, self.people, self.images_each, self.decay_epochs
        amounts = self.learning_rate, self.weight_decay, self.decay_factor, self.margin
        if min(counts) < 1 or not all(0 <= amount < math.inf for amount in amounts) or not 0 <= self.seed < 2**32:
            raise InputError(
                "`train` in params.yaml: epochs, people, images_each and decay_epochs must be at least 1; "
                "learning_rate, weight_decay, decay_factor and margin finite and not negative; seed in [0, 2^32); "
                f"got {self}."
            )


@dataclass(frozen=True)
class TrainingSet:
    """Images, uint8 [N, H, W, 3] as they are and the same enlarged by 1/8 (for that crop), and labels [N] int64."""

    plain: np.ndarray
    enlarged: np.ndarray | None
    labels: np.ndarray


def labels_of(pids: np.ndarray) -> np.ndarray:
    """Pids [N] -> labels [N] int64: classifier rows from 0, by sorted pid."""
    return np.unique(pids, return_inverse=True)[1].astype(np.int64)


@contextmanager
def deterministic() -> Iterator[None]:
    """The same bytes at every run: without it, threads add up the gradients of a repeated index in any order."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA's matrix products need for it
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing reads it, and filling takes a tenth of a step
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill


@deterministic()
def train(
    images: TrainingSet,
    model_settings: ModelSettings,
    loss_settings: LossSettings,
    settings: TrainSettings,
    progress: Callable[[dict[str, float]], None] = lambda row: None,
) -> tuple[Network, list[dict[str, float]]]:
    """Train a network -> it, and its history, one row of numbers an epoch; `progress` gets each row as it is made.

    Raises InputError when the loss is no longer a number, or the batch leaves fewer than five steps an epoch.
    """
    if not len(images.labels):
        raise InputError("the training split holds no image: look at statistics.json of the prepared dataset.")
    people = int(images.labels.max()) + 1
    steps_per_epoch(people, settings.people)
    device = choose_device(settings.device)
    torch.manual_seed(settings.seed)
    network = Network(model_settings, people).to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, settings.decay_epochs, settings.decay_factor)
    arrays = images.plain, images.enlarged, images.labels
    tensors = [None if array is None else torch.from_numpy(array).to(device) for array in arrays]
    history = []
    for epoch in range(1, settings.epochs + 1):
        rng = np.random.default_rng([settings.seed, epoch])
        started, totals = perf_counter(), {}
        batches = epoch_batches(images.labels, settings.people, settings.images_each, rng)
        for indices in torch.from_numpy(batches).to(device):
            plain, enlarged, labels = (None if tensor is None else tensor[indices] for tensor in tensors)
            batch = augment(plain, enlarged, draw(rng, len(indices), images.plain.shape[1:3], settings))
            terms = step(network, optimiser, batch, labels, loss_settings, settings.margin)
            totals = {name: totals.get(name, 0) + value for name, value in terms.items()}
        row = _history_row(epoch, totals, batches.shape, perf_counter() - started, optimiser)
        schedule.step()
        history.append(row)
        progress(row)
    return network, history


def step(
    network: Network,
    optimiser: torch.optim.Optimizer,
    batch: Tensor,
    labels: Tensor,
    loss_settings: LossSettings,
    margin: float,
) -> dict[str, Tensor]:
    """One step on normalised images [N, 3, H, W] with labels [N] -> the loss, its terms and the accuracy, detached."""
    outputs = network(batch, with_stripes=loss_settings.trihard_local)
    terms = parts(outputs, labels, loss_settings, margin)
    optimiser.zero_grad(set_to_none=True)
    loss = sum(terms.values())
    loss.backward()
    optimiser.step()
    accuracy = (outputs.logits.argmax(1) == labels).float().mean()
    return {name: value.detach() for name, value in {"loss": loss, **terms, "accuracy": accuracy}.items()}


def _history_row(
    epoch: int, totals: dict[str, Tensor], batches: tuple[int, int], seconds: float, optimiser: torch.optim.Optimizer
) -> dict[str, float]:
    steps, images = batches[0], batches[0] * batches[1]
    means = {name: float(total) / steps for name, total in totals.items()}
    if not np.isfinite(means["loss"]):
        raise InputError(
            f"the loss is {means['loss']} after epoch {epoch}: training has diverged, got terms {means}. "
            "Lower train.learning_rate, and look for images that are all one colour."
        )
    return {
        "epoch": epoch,
        **means,
        "learning_rate": optimiser.param_groups[0]["lr"],
        "iterations": epoch * steps,
        "images": epoch * images,
        "images_per_second": images / seconds,
    }
