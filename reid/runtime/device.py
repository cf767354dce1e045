"""Where tensors are computed with: which GPU, or the CPU."""

import functools
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from reid.runtime import fp32
from reid.runtime.errors import InputError

_held: list[FileLock] = []  # of the GPU that is ours until this process ends


def choose_device(name: str) -> torch.device:
    """`auto` -> a GPU if there is one, else the CPU; `cpu`, `cuda` or `cuda:1` -> that. Raises
    InputError if it is not there, or if float32 is not float32 on it (`fp32.check`).

    Under torchrun `auto` and `cuda` are the GPU of the process's LOCAL_RANK; else, of several, one
    that no other such process has, the same at each call.
    """
    is_automatic = name == "auto" or (name == "cuda" and torch.cuda.is_available())
    device = _automatic() if is_automatic else _named(name)
    fp32.check(device)
    return device


def _named(name: str) -> torch.device:
    """The CPU, or one GPU by its number. Raises InputError for another device, or none."""
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"{device.type} is no device that this project computes on")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device '{name[:60]}' cannot be used: {str(error).splitlines()[0][:200].rstrip('.')}. "
            "Choose auto, cpu or cuda."
        ) from None
    if device.type == "cuda" and int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:
        raise InputError(
            f"device '{name}' is one GPU, for several processes: choose auto, cpu or cuda."
        )
    return device


def describe_device(device: torch.device) -> str:
    """Return the GPU's name, or the processor's architecture and the widest instructions in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


@functools.cache
def _automatic() -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not gpus:
        return torch.device("cpu")
    if "LOCAL_RANK" in os.environ:
        chosen = int(os.environ["LOCAL_RANK"])
        if chosen >= gpus:
            raise InputError(
                f"got process {chosen + 1} of this machine, which has {gpus} GPUs: start one for "
                "each."
            )
    else:
        names = [str(torch.cuda.get_device_properties(gpu).uuid) for gpu in range(gpus)]
        free = [torch.cuda.mem_get_info(gpu)[0] for gpu in range(gpus)]
        chosen = free_gpu(names, free, Path(tempfile.gettempdir()))
    torch.cuda.set_device(chosen)
    return torch.device("cuda", chosen)


def free_gpu(names: Sequence[str], free_memory: Sequence[int], folder: Path) -> int:
    """GPUs' names and bytes free -> the number of the one to take: most free memory first, but
    none that is taken.

    Taken is one whose lock file in `folder` another process of this user holds; ours is held until
    this process ends. Where all are taken, the one with most free memory is shared.
    """
    # of this user: by number, for not every user has a name
    ordered = sorted(range(len(names)), key=lambda gpu: -free_memory[gpu])
    for gpu in ordered:
        lock = FileLock(folder / f"reid-{os.getuid()}-{names[gpu]}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        _held.append(lock)
        return gpu
    return ordered[0]
