"""A model's folder: train on a prepared split, and write model.safetensors, history.csv,
training.json and made_by.json.
"""

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from reid import model
from reid.prepared import Split
from reid.runtime import distributed, made_by
from reid.runtime.device import choose_device
from reid.training import batches, checks, identity, loop, provenance
from reid.training.checkpoint import CheckpointFile, Checkpoints, ResumeSettings
from reid.training.progress import Progress
from reid.training.provenance import Summary
from reid.training.run import Run
from reid.training.settings import CellSettings
from reid.training.stop_requests import StopRequests


def train(
    split: Split, settings: CellSettings, resume: ResumeSettings, out: str | Path, name: str
) -> None:
    """Train on the split, or go on with an unfinished run, and write the folder `out`.

    The progress bar shows `name`. Raises Stopped when a signal has ended the run, its checkpoint
    saved.
    """
    device, is_first = choose_device(settings.train.device), distributed.rank() == 0
    checks.check(split, settings, device)
    identity_values = identity.describe(split, settings, device, distributed.world_size())
    file = CheckpointFile(identity.checkpoint_path(identity_values), is_writer=is_first)
    stop_requests = StopRequests(is_first)
    checkpoints = Checkpoints(file, stop_requests, resume)
    _warn_of_other_runs(file)
    title = f"training {name}"
    with ExitStack() as until_removed:
        with (
            distributed.shared_output(out) as draft,
            tqdm(
                desc=title, total=settings.train.epochs, unit="epoch", disable=not is_first
            ) as bar,
        ):
            until_removed.enter_context(file.lock())
            distributed.create_shared_folder(draft)
            with stop_requests.listening():
                data = batches.decode(split, settings.model, settings.train.crop)
                run = loop.train(data, settings, checkpoints, _reporter(bar, title))
                if is_first:
                    write(draft, run, split)
        checkpoints.remove()


def write(folder: Path, run: Run, split: Split) -> None:
    """Write the finished run's model, its history and what it was trained with into the folder."""
    network, kept_epoch = run.result()
    progress = run.progress
    model.save(network, folder / "model.safetensors")
    pd.DataFrame(progress.history).to_csv(folder / "history.csv", index=False)
    summary = Summary(
        progress.seconds,
        progress.images_per_second(),
        distributed.world_size(),
        progress.resumed,
        kept_epoch,
    )
    content = provenance.training(split, run.settings.train.seed, run.device, summary)
    provenance.write(folder / "training.json", content)
    machine = identity.machine(run.device, distributed.world_size())
    inputs = {"data": made_by.of_file(split.folder / "manifest.csv")}
    document = made_by.document("stages.train", run.settings, inputs, machine)
    content = made_by.file_digest(folder / "model.safetensors")
    made_by.write(folder, {**document, "content": content})


def _warn_of_other_runs(file: CheckpointFile) -> None:
    """Warn of checkpoints that no command may ever take up."""
    paths = file.of_other_runs()
    if paths and file.is_writer:
        warnings.warn(
            f"{len(paths)} unfinished runs of other settings, data, code or machines lie in "
            f"{file.path.parent}",
            stacklevel=2,
        )


def _reporter(bar: tqdm, title: str) -> Callable[[Progress], None]:
    """Return a function that shows a run's progress in the bar."""

    def report(progress: Progress) -> None:
        if progress.resumed:
            bar.set_description(f"{title}, resumed", refresh=False)
        bar.n = progress.epoch - 1
        if progress.history:
            loss, speed = progress.history[-1]["loss"], progress.images_per_second()
            bar.set_postfix_str(f"loss {loss:.3f}, {speed:.0f} images/s")

    return report
