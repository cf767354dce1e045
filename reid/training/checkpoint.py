"""Unfinished training runs: their state on disk, found again by everything that determines the
result.

State lies outside DVC's outputs, which DVC deletes before it runs a stage; `DVC_ROOT` names the
main repository from queued and temporary runs too. A file is complete or not there: it is written
beside its place and moved there.
"""

import hashlib
import json
import math
import os
import pickle
import platform
import signal
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision

from reid.runtime.errors import InputError

FOLDER = "unfinished"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
BROKEN = (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


@dataclass(frozen=True)
class ResumeSettings:
    """`resume` in params.yaml: minutes between two saves of an unfinished run's state, 0 for one
    after each step.
    """

    minutes: float

    def __post_init__(self) -> None:
        if not 0 <= self.minutes < math.inf:
            raise InputError(
                f"resume.minutes in params.yaml: got {self.minutes}, wanted 0 (after each step) or "
                "more."
            )


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A signal asked training to stop: its number; the state has been saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def place(identity: dict[str, Any]) -> Path:
    """The file for the state of a run that is determined by `identity` (plain values), in the main
    repository.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return Path(os.environ.get("DVC_ROOT", ".")) / FOLDER / f"{digest}.pt"


def machine(device: torch.device, processes: int) -> dict[str, Any]:
    """What bytes depend on besides settings, data and code: versions, processor, device, threads
    and processes.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    versions = [torch.__version__, torchvision.__version__, np.__version__, PIL.__version__]
    instructions = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    return {
        "device": name,
        "cpu": instructions,
        "versions": versions,
        "threads": threads,
        "processes": processes,
    }


def weights_digest(weights: str) -> str | None:
    """SHA-256 of the file that `model.weights` names, None where it names none."""
    file = Path(weights)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def others(place: Path) -> list[Path]:
    """The states of other runs that have not ended."""
    return sorted(file for file in place.parent.glob("*.pt") if file != place)


def code_digest() -> str:
    """SHA-256 of the project's modules that this process has imported, the stage itself
    included.
    """
    names = sorted(
        name for name in sys.modules if name.split(".")[0] in ("reid", "stages", "__main__")
    )
    files = (getattr(sys.modules[name], "__file__", None) for name in names)
    digest = hashlib.sha256()
    for file in filter(None, files):
        digest.update(Path(file).name.encode() + hashlib.sha256(Path(file).read_bytes()).digest())
    return digest.hexdigest()


class Keeper:
    """Saves a run's state every `minutes` and at SIGINT and SIGTERM, and gives it back to the next
    run.

    `writes` is False in all processes but the first.
    """

    def __init__(self, file: Path, settings: ResumeSettings, writes: bool = True) -> None:
        self.file, self.seconds, self.writes = file, 60 * settings.minutes, writes
        self.saved_at = time.monotonic()
        self.signal = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, SIGINT and SIGTERM ask for a save at the end of the step; a second SIGINT does
        not wait for it.

        A second SIGTERM changes nothing: schedulers send one to each process, and torchrun hands
        on its own.
        """
        before = {number: signal.signal(number, self._heard) for number in SIGNALS}
        try:
            yield
        except (
            RuntimeError
        ):  # of a process that has lost the first, which has saved the state and ended
            if self.signal and not self.writes:
                raise SystemExit(128 + self.signal) from None
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: object) -> None:
        self.signal = number
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    def load(self) -> dict[str, Any] | None:
        """The saved state, on the CPU, or None when there is none. One that is broken is put
        aside, with a warning.

        Raises InputError when it is there and cannot be read.
        """
        try:
            return torch.load(self.file, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"the state of this run in {self.file} cannot be read: {error}. Try again, or "
                "remove it to start anew."
            ) from None
        except BROKEN as error:
            why = f"{type(error).__name__} {error}".splitlines()[0]
            aside = self.file.with_suffix(".broken")
            warnings.warn(
                f"the state {self.file} is broken ({why}): it is now {aside}, training starts "
                "anew.",
                stacklevel=2,
            )
            if self.writes:
                os.replace(self.file, aside)
            return None

    def after_step(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save if it is time to; without room, warn and go on. Only the first process saves.

        Raises Stopped when a signal has come, and InputError when there is no room for the state
        then.
        """
        if not self.writes or not (self.signal or time.monotonic() - self.saved_at >= self.seconds):
            return
        try:
            self.save(state())
        except InputError as error:
            if self.signal:
                raise
            warnings.warn(str(error), stacklevel=2)
            self.saved_at = time.monotonic()
        if self.signal:
            raise Stopped(self.signal)

    def save(self, state: dict[str, Any]) -> None:
        """Write the state in one piece. Raises InputError when there is no room."""
        draft = self.file.with_name(f".{self.file.stem}.{platform.node()}.{os.getpid()}.partial")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(draft, "wb") as opened:
                torch.save(state, opened)
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(draft, self.file)
        except (OSError, RuntimeError) as error:
            draft.unlink(missing_ok=True)
            raise InputError(
                f"the state of this run cannot be saved to {self.file}: {error}. Make room there; "
                "the last state that was saved is kept."
            ) from None
        self.saved_at = time.monotonic()

    def remove(self) -> None:
        """Forget the run: it has succeeded, or its state is broken. Drafts of killed processes of
        this machine go too.

        Another process may be at the same run, as when two queued experiments train the same cell:
        its draft stays.
        """
        if not self.writes:
            return
        self.file.unlink(missing_ok=True)
        for draft in self.file.parent.glob(f".{self.file.stem}.{platform.node()}.*.partial"):
            if not _is_alive(int(draft.suffixes[-2][1:])):
                draft.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
