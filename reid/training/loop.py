"""Training: the epoch loop of AlignedReID++ (Luo et al., 2019, section 4.1) on decoded images held
in memory.

Everything random comes from `train.seed`: the weights, the batches of an epoch, the augmentation
of a step. So a run can stop after any step and go on to the same bytes.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid import images
from reid.losses import LossSettings
from reid.model import ModelSettings
from reid.runtime import distributed
from reid.runtime.errors import InputError
from reid.training import augmentation, data_parallel, diagnostics, validation
from reid.training.checkpoint import Keeper
from reid.training.run import Run, TrainSettings
from reid.training.sampling import epoch_batches, steps_per_epoch


@dataclass(frozen=True)
class TrainingSet:
    """Decoded images, uint8 [N, H, W, 3], enlarged by 1/8 [N, H', W', 3] or None, labels and
    camids [N] int64.
    """

    plain: np.ndarray
    enlarged: np.ndarray | None
    labels: np.ndarray
    camids: np.ndarray

    def part(self, chosen: np.ndarray) -> "TrainingSet":
        """The images where `chosen` [N] is true, with labels from 0 again."""
        enlarged = None if self.enlarged is None else self.enlarged[chosen]
        return TrainingSet(
            self.plain[chosen], enlarged, labels_of(self.labels[chosen]), self.camids[chosen]
        )


def labels_of(pids: np.ndarray) -> np.ndarray:
    """Pids [N] -> labels [N] int64: classifier rows from 0, by sorted pid."""
    return np.unique(pids, return_inverse=True)[1].astype(np.int64)


@contextmanager
def deterministic() -> Iterator[None]:
    """The same bytes at every run: without it, threads add up the gradients of a repeated index in
    any order.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # what CUDA's matrix products need for it
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = (
        False  # nothing reads it, and filling takes a tenth of a step
    )
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill


class Batches:
    """The training images on the device where they fit, else in memory, and each step's augmented
    batch of them.
    """

    def __init__(self, data: TrainingSet, device: torch.device, settings: TrainSettings) -> None:
        self.data, self.device, self.settings = data, device, settings
        self.plain = _near(device, data.plain)
        self.enlarged = None if data.enlarged is None else _near(device, data.enlarged)
        self.labels = torch.from_numpy(data.labels).to(device)
        self.share = data_parallel.share(
            settings.people, distributed.rank(), distributed.count(), settings.images_each
        )

    def of_epoch(self, epoch: int) -> np.ndarray:
        """The epoch's batches: image numbers [steps, P x K]."""
        rng = np.random.default_rng([self.settings.seed, epoch])
        return epoch_batches(self.data.labels, self.settings.people, self.settings.images_each, rng)

    def seed(self, epoch: int, step: int) -> int:
        """What torch's generators start a step from, another in each process, for trunks that drop
        something.
        """
        sequence = np.random.SeedSequence(
            [self.settings.seed, epoch, step + 1, distributed.rank() + 1]
        )
        return int(sequence.generate_state(1, np.uint64)[0])

    def load(self, chosen: np.ndarray, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Image numbers [P x K] of a step -> this process's share of them, augmented and
        normalised, and all labels.
        """
        rng = np.random.default_rng(
            [self.settings.seed, epoch, step + 1]
        )  # a trailing 0 would repeat `of_epoch`'s
        draws = augmentation.draw(rng, len(chosen), self.plain.shape[1:3], self.settings).of(
            self.share
        )
        chosen = torch.from_numpy(chosen)
        mine = chosen[self.share].to(self.plain.device)
        plain = self.plain[mine].to(self.device, non_blocking=True)
        enlarged = (
            None
            if self.enlarged is None
            else self.enlarged[mine].to(self.device, non_blocking=True)
        )
        return augmentation.augment(plain, enlarged, draws), self.labels[chosen.to(self.device)]


@deterministic()
def train(
    data: TrainingSet,
    model_settings: ModelSettings,
    loss_settings: LossSettings,
    settings: TrainSettings,
    keeper: Keeper | None = None,
    progress: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Train, from the keeper's saved state if it has one -> the finished run.

    `progress` gets it when it goes on from a saved state, and after each epoch. Raises InputError
    when the loss is no longer a number or the batch leaves fewer than five steps an epoch, and
    Stopped when a signal has ended the run, its state saved.
    """
    if not len(data.labels):
        raise InputError(
            "the training split holds no image: look at statistics.json of the prepared dataset."
        )
    held_out = None
    if settings.held_out:
        is_held_out = validation.split(data.labels, settings.held_out, settings.seed)
        data, held_out = data.part(~is_held_out), data.part(is_held_out)
    people = int(data.labels.max(initial=-1)) + 1
    steps_per_epoch(people, settings.people)
    if loss_settings.trihard_global or loss_settings.trihard_local:
        diagnostics.check_people(data.labels, settings.images_each)
    run = Run(people, model_settings, loss_settings, settings)
    if keeper and (saved := keeper.load()):
        run.restore(saved)
        progress(run)
    if keeper:
        _check_alike(run, keeper)
    batches = Batches(data, run.device, settings)
    started = time.perf_counter() - run.seconds
    while run.epoch <= settings.epochs:
        for group in run.optimiser.param_groups:
            group["lr"] = settings.learning_rate_at(run.epoch)
        of_epoch = batches.of_epoch(run.epoch)
        for chosen in of_epoch[run.steps :]:
            torch.manual_seed(batches.seed(run.epoch, run.steps))
            terms = run.step(*batches.load(chosen, run.epoch, run.steps))
            run.totals = {name: run.totals.get(name, 0) + value for name, value in terms.items()}
            run.steps, run.seconds = run.steps + 1, time.perf_counter() - started
            if keeper and run.steps < len(of_epoch):
                keeper.after_step(run.state)
        run.end_epoch(of_epoch.shape, _measured(run, held_out))
        try:
            diagnostics.check_epoch(run.history, people)
        except InputError:
            if keeper:
                keeper.remove()  # what has diverged is not to go on
            raise
        progress(run)
        if keeper:
            keeper.after_step(run.state)
    return run


def _check_alike(run: Run, keeper: Keeper) -> None:
    """Raise InputError unless all processes are at the same step of the same run."""
    here = np.array([run.epoch, run.steps, int(keeper.file.stem[:12], 16)])
    if (distributed.largest(here) != -distributed.largest(-here)).any():
        raise InputError(
            f"process {distributed.rank()} is at epoch {run.epoch}, step {run.steps} of run "
            f"{keeper.file.stem}, and another process is not: all hosts need the same files, GPUs, "
            f"versions and OMP_NUM_THREADS, and one folder `{keeper.file.parent.name}`."
        )


def _near(device: torch.device, pixels: np.ndarray) -> Tensor:
    """On the device, or in memory that copies to it fast when it would take more than half of what
    is free there.
    """
    tensor = torch.from_numpy(pixels)
    if device.type == "cuda" and tensor.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return tensor.pin_memory()
    return tensor.to(device)


def _measured(run: Run, held_out: TrainingSet | None) -> dict[str, float]:
    """Rank-1 and mAP on held-out people, at the epochs where they are wanted."""
    if held_out is None or run.epoch % run.settings.evaluate_epochs:
        return {}
    network = run.networks[0].eval()
    pixels = torch.from_numpy(held_out.plain).split(run.settings.people * run.settings.images_each)
    features = torch.cat(
        [network.describe(images.normalise(some.to(run.device)))[0] for some in pixels]
    )
    network.train()
    labels, camids = (
        torch.from_numpy(array).to(run.device) for array in (held_out.labels, held_out.camids)
    )
    rank1, mean_ap = validation.scores(features, labels, camids)
    if math.isnan(mean_ap):
        raise InputError(
            "train.held_out in params.yaml: no held-out person has images of two cameras: hold "
            "out more."
        )
    return {"held_out_rank1": rank1, "held_out_mAP": mean_ap}
