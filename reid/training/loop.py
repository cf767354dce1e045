"""Training: the epoch loop of AlignedReID++ (Luo et al., 2019, section 4.1) on decoded images held
in memory.

Everything random comes from the run's seed: the weights, the batches of an epoch, the augmentation
of a step. So a run can stop after any step and go on to the same bytes.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from reid.runtime.errors import InputError
from reid.training import diagnostics, validation
from reid.training.batches import Batches, TrainingSet
from reid.training.checkpoint import Checkpoints, NoCheckpoints
from reid.training.progress import Progress
from reid.training.run import Run
from reid.training.sampling import steps_per_epoch
from reid.training.settings import CellSettings

NO_CHECKPOINTS = NoCheckpoints()


@contextmanager
def deterministic() -> Iterator[None]:
    """Give the same bytes at every run: without it, threads add up the gradients of a repeated
    index in any order.
    """
    was_on = torch.are_deterministic_algorithms_enabled()
    was_warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    did_fill = torch.utils.deterministic.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA's matrix products need it
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing reads uninitialised memory, and filling it takes a tenth of a step
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=was_warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = did_fill


@deterministic()
def train(
    data: TrainingSet,
    settings: CellSettings,
    checkpoints: Checkpoints | NoCheckpoints = NO_CHECKPOINTS,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Run:
    """Train, from a checkpoint if there is one -> the finished run.

    `report` gets the progress when the run goes on from a checkpoint, and after each epoch. Raises
    InputError when the loss is no longer a number or the batch leaves fewer than five steps an
    epoch, and Stopped when a signal has ended the run, its checkpoint saved.
    """
    data, held_out = _hold_out(data, settings)
    run = _start(data, settings, checkpoints)
    if run.progress.resumed:
        report(run.progress)
    batches = Batches(data, run.device, settings.train)
    started = time.perf_counter() - run.progress.seconds
    while run.progress.epoch <= settings.train.epochs:
        _train_epoch(run, batches, held_out, checkpoints, started)
        report(run.progress)
        checkpoints.after_step(run.state)
    return run


def _hold_out(data: TrainingSet, settings: CellSettings) -> tuple[TrainingSet, TrainingSet | None]:
    """Split off the held-out people, and check that what is left can be trained on."""
    if not len(data.labels):
        raise InputError(
            "the training split holds no image: look at statistics.json of the prepared dataset."
        )
    held_out = None
    if settings.train.held_out:
        rows = validation.split(data.labels, settings.train.held_out, settings.train.seed)
        data, held_out = data.select(~rows), data.select(rows)
    steps_per_epoch(int(data.labels.max()) + 1, settings.train.people)
    if settings.loss.trihard_global or settings.loss.trihard_local:
        diagnostics.check_people(data.labels, settings.train.images_each)
    return data, held_out


def _start(
    data: TrainingSet, settings: CellSettings, checkpoints: Checkpoints | NoCheckpoints
) -> Run:
    """Make the run, and restore its checkpoint if there is one."""
    run = Run(int(data.labels.max()) + 1, settings)
    state = checkpoints.load()
    if state:
        run.restore(state)
    checkpoints.check_ranks(run.progress.epoch, run.progress.steps)
    return run


def _train_epoch(
    run: Run,
    batches: Batches,
    held_out: TrainingSet | None,
    checkpoints: Checkpoints | NoCheckpoints,
    started: float,
) -> None:
    """Train the rest of the run's epoch, and end it.

    `started` is when the run would have begun without its interruptions, by `perf_counter`. A
    run that has diverged leaves no checkpoint.
    """
    epoch = run.progress.epoch
    run.set_learning_rate(run.settings.train.learning_rate_at(epoch))
    epoch_batches = batches.of_epoch(epoch)
    for step in range(run.progress.steps, len(epoch_batches)):
        torch.manual_seed(batches.seed(epoch, step))
        terms = run.step(*batches.load(epoch_batches[step], epoch, step))
        run.progress.add_step(terms, time.perf_counter() - started)
        if step + 1 < len(epoch_batches):  # after the last, the epoch is ended first
            checkpoints.after_step(run.state)
    run.end_epoch(epoch_batches.shape, _scores(run, held_out))
    try:
        diagnostics.check_epoch(run.progress.history, run.people)
    except InputError:
        checkpoints.remove()
        raise


def _scores(run: Run, held_out: TrainingSet | None) -> dict[str, float]:
    """Measure rank-1 and mAP on held-out people, at the epochs where they are wanted."""
    settings = run.settings.train
    if held_out is None or run.progress.epoch % settings.evaluate_epochs:
        return {}
    batch = settings.people * settings.images_each
    return validation.measure(run.networks[0], held_out, batch, run.device)
