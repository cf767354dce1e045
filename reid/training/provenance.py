"""What a model was made with: machine, versions, code and data. It is written beside the model, as
training.json.

`reid.results.provenance` reads the file, without torch.
"""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from reid.prepared import Split

PACKAGES = ("torch", "torchvision", "numpy", "Pillow", "safetensors")
CODE = ("reid", "stages")  # the tracked folders whose uncommitted changes make a revision dirty


@dataclass(frozen=True)
class Course:
    """How a training went: its time, images a second, processes, how often it was resumed, the
    epoch that was kept.
    """

    seconds: float
    images_per_second: float
    processes: int
    resumed: int
    kept_epoch: int


def training(split: Split, seed: int, device: torch.device, course: Course) -> dict[str, Any]:
    """What training.json holds of a training that has just ended, on `device`, in this process."""
    return {
        "environment": environment(device),
        "data": {
            "fingerprint": fingerprint(split),
            "people": len(set(split.pids.tolist())),
            "images": len(split),
        },
        "seed": seed,
        **asdict(course),
        "seconds": round(course.seconds, 1),
        "images_per_second": round(course.images_per_second, 1),
        "peak_memory_gb": peak_memory_gb(),
        "peak_gpu_memory_gb": peak_gpu_memory_gb(device),
    }


def converted(file: Path, epoch: int | None) -> dict[str, Any]:
    """What training.json holds of a model that was converted from a checkpoint: its name, SHA-256,
    and epoch.
    """
    with file.open("rb") as opened:
        checksum = hashlib.file_digest(opened, "sha256").hexdigest()
    cpu = torch.device("cpu")
    return {
        "environment": environment(cpu),
        "converted_from": file.name,
        "sha256": checksum,
        "epoch": epoch,
    }


def write(file: Path, content: dict[str, Any]) -> None:
    """Write `content` of `training` or `converted` as JSON."""
    file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def fingerprint(split: Split) -> str:
    """A split -> SHA-256 of its names, pids, camids and images' checksums, in order. It reads no
    image.
    """
    digest = hashlib.sha256()
    for row in zip(
        split.names, split.pids.tolist(), split.camids.tolist(), split.checksums, strict=True
    ):
        digest.update(f"{json.dumps(row)}\n".encode())
    return digest.hexdigest()


def environment(device: torch.device) -> dict[str, Any]:
    """Python, system, processor, cores that this process may use, torch's threads, GPU or null,
    versions, revision.
    """
    may_use = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": _processor(),
        "cores": may_use,
        "threads": torch.get_num_threads(),
        "gpu": _gpu(device),
        "versions": {name: version(name) for name in PACKAGES},
        "code": revision(Path(__file__).parents[2]),
    }


def revision(project: Path) -> dict[str, Any]:
    """{"revision", "dirty"}: the commit of the code in `project`, and whether tracked code differs
    from it.

    Both are null without git, and where `project` lies in somebody else's repository, as an
    installed copy may.
    """
    is_tracked = (
        _told("git", "-C", str(project), "ls-files", "--error-unmatch", "reid/__init__.py")
        is not None
    )
    commit = (
        _told("git", "-C", str(project), "rev-parse", "--verify", "HEAD") if is_tracked else None
    )
    if commit is None:
        return {"revision": None, "dirty": None}
    changed = _told(
        "git",
        "--no-optional-locks",
        "-C",
        str(project),
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        *CODE,
    )
    return {"revision": commit, "dirty": bool(changed)}


def peak_memory_gb() -> float:
    """The most memory that this process has had resident, in GB of 10^9 bytes."""
    status = Path(
        "/proc/self/status"
    )  # on Linux, where `getrusage` may tell the peak of the process that started us
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    if peaks:
        return round(int(peaks[0]) * 1024 / 1e9, 3)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)


def peak_gpu_memory_gb(device: torch.device) -> float | None:
    """The most memory that tensors of this process have had on a GPU, in GB of 10^9 bytes; None on
    a CPU.
    """
    return (
        round(torch.cuda.max_memory_allocated(device) / 1e9, 3) if device.type == "cuda" else None
    )


def _processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    told = names[0] if names else _told("sysctl", "-n", "machdep.cpu.brand_string")
    return told or platform.machine()


def _gpu(device: torch.device) -> dict[str, Any] | None:
    """The GPU's name and memory, its driver's version, where nvidia-smi tells it, and that of
    CUDA; None for a CPU.
    """
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    drivers = _told("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return {
        "name": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "driver": drivers.splitlines()[0] if drivers else None,
        "cuda": torch.version.cuda,
    }


def _told(*command: str) -> str | None:
    """What a command prints, or None where there is no such command or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
