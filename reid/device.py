"""Where tensors are computed with: which GPU, or the CPU."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from reid.errors import InputError

_held: list[FileLock] = []  # of the GPU that is ours until this process ends


def choose_device(name: str) -> torch.device:
    """`auto` -> a GPU if there is one, else the CPU; other names are torch's. Raises InputError if it is not.

    Under torchrun `auto` is the GPU of the process's LOCAL_RANK; else, of several, one that no other such process has.
    """
    if name == "auto":
        return _automatic()
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device '{name}' cannot be used: {str(error).splitlines()[0].rstrip('.')}. Choose auto, cpu or cuda."
        ) from None
    return device


def _automatic() -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not gpus:
        return torch.device("cpu")
    if "LOCAL_RANK" in os.environ:
        chosen = int(os.environ["LOCAL_RANK"])
        if chosen >= gpus:
            raise InputError(f"got process {chosen + 1} of this machine, which has {gpus} GPUs: start one for each.")
    else:
        chosen = free_gpu([torch.cuda.mem_get_info(gpu)[0] for gpu in range(gpus)], Path(tempfile.gettempdir()))
    torch.cuda.set_device(chosen)
    return torch.device("cuda", chosen)


def free_gpu(free_memory: Sequence[int], folder: Path) -> int:
    """Bytes free on each GPU -> the number of the one to take: most free memory first, but none that has been taken.

    Taken is one whose lock file in `folder` another process holds; ours is held until this process ends. Where all are
    taken, the one with most free memory is shared.
    """
    ordered = sorted(range(len(free_memory)), key=lambda gpu: -free_memory[gpu])
    for gpu in ordered:
        lock = FileLock(folder / f"reid-gpu-{gpu}.lock", timeout=0)
        try:
            lock.acquire()
        except (Timeout, OSError):  # OSError: another user's file
            continue
        _held.append(lock)
        return gpu
    return ordered[0]
