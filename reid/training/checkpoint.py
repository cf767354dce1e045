"""Checkpoints of an unfinished training run: when to save one, and its file.

A file is complete or not there: it is written beside its place and moved there. One run at a time
has it, by its lock: another that would be the same run waits, as two queued experiments that train
the same cell do.
"""

import os
import pickle
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from reid.runtime import distributed, outputs
from reid.runtime.errors import InputError
from reid.runtime.settings import settings_class
from reid.training.stop_requests import Stopped, StopRequests

BROKEN = (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


@settings_class
class ResumeSettings:
    """`resume` in params.yaml: minutes between two saves of an unfinished run's state, 0 for one
    after each step.
    """

    minutes: Annotated[float, Field(ge=0, le=1_000_000)]


class CheckpointFile:
    """Save, load and remove a run's checkpoint at `path`. `is_writer` is true on rank 0 alone."""

    def __init__(self, path: Path, is_writer: bool = True) -> None:
        self.path, self.is_writer = path, is_writer

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved, on the CPU, or None when there is no file.

        A broken file is renamed, with a warning. Raises InputError when it cannot be read.
        """
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"the checkpoint {self.path} cannot be read: {error}. Try again, or remove it to "
                "start anew."
            ) from None
        except BROKEN as error:
            self._put_aside(f"{type(error).__name__} {error}".splitlines()[0])
            return None

    def _put_aside(self, reason: str) -> None:
        """Rename the broken file, so that the run can start anew."""
        renamed = self.path.with_suffix(".broken")
        warnings.warn(
            f"the checkpoint {self.path} is broken ({reason}): it is now {renamed}, training "
            "starts anew.",
            stacklevel=3,
        )
        if self.is_writer:
            os.replace(self.path, renamed)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the file's lock, and wait, saying so, while another process has it."""
        return outputs.lock(self.path, wait=True) if self.is_writer else nullcontext()

    def save(self, state: dict[str, Any]) -> None:
        """Write the state in one piece, within `lock`. Raises InputError when there is no room."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with outputs.draft(self.path) as draft:
                with open(draft, "wb") as opened:
                    torch.save(state, opened)
                    opened.flush()
                    os.fsync(opened.fileno())
                outputs.move(draft, self.path)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"the checkpoint cannot be saved to {self.path}: {error}. Make room there; the "
                "last one that was saved is kept."
            ) from None

    def remove(self) -> None:
        """Remove the file: the run has ended, or diverged."""
        if self.is_writer:
            outputs.remove(self.path)

    def of_other_runs(self) -> list[Path]:
        """List the checkpoints beside this one, of other runs that have not ended."""
        return sorted(path for path in self.path.parent.glob("*.pt") if path != self.path)


class Checkpoints:
    """Save a run's state every `minutes` and when a stop is requested, and give it back to the
    next run.
    """

    def __init__(
        self, file: CheckpointFile, stop_requests: StopRequests, settings: ResumeSettings
    ) -> None:
        self.file, self.stop_requests = file, stop_requests
        self.interval = 60 * settings.minutes  # seconds
        self.saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None when there is none."""
        return self.file.load()

    def check_ranks(self, epoch: int, step: int) -> None:
        """Raise InputError unless all ranks are at the same step of the same run."""
        here = np.array([epoch, step, int(self.file.path.stem[:12], 16)])
        if (distributed.all_max(here) != -distributed.all_max(-here)).any():
            raise InputError(
                f"process {distributed.rank()} is at epoch {epoch}, step {step} of run "
                f"{self.file.path.stem}, and another process is not: all hosts need the same "
                "files, GPUs, versions and OMP_NUM_THREADS, and one folder "
                f"`{self.file.path.parent.name}`."
            )

    def after_step(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save if it is time to; without room, warn and go on. Only rank 0 saves.

        Raises Stopped when a stop is requested, and InputError when there is no room for the state
        then.
        """
        is_due = time.monotonic() - self.saved_at >= self.interval
        if not self.file.is_writer or not (self.stop_requests.signal or is_due):
            return
        try:
            self.file.save(state())
        except InputError as error:
            if self.stop_requests.signal:
                raise
            warnings.warn(str(error), stacklevel=2)
        else:
            if self.stop_requests.signal:
                raise Stopped(self.stop_requests.signal)
        self.saved_at = time.monotonic()

    def remove(self) -> None:
        """Remove the checkpoint: the run has ended, or diverged."""
        self.file.remove()


class NoCheckpoints:
    """Save nothing, so that a run that is stopped is lost."""

    def load(self) -> None:
        """Return no state."""

    def check_ranks(self, epoch: int, step: int) -> None:
        """Check nothing."""

    def after_step(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save nothing."""

    def remove(self) -> None:
        """Remove nothing."""
