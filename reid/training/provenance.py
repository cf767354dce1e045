"""training.json, written beside a model: the machine, versions, code and data it was trained with.

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
class Summary:
    """Sum up a training: its time, images a second, processes, how often it was resumed, and the
    epoch that was kept.
    """

    seconds: float
    images_per_second: float
    processes: int
    resumed: int
    kept_epoch: int


def training(split: Split, seed: int, device: torch.device, summary: Summary) -> dict[str, Any]:
    """Describe a training that has just ended, on `device`, in this process, for training.json."""
    return {
        "environment": environment(device),
        "data": {
            "fingerprint": fingerprint(split),
            "people": len(set(split.pids.tolist())),
            "images": len(split),
        },
        "seed": seed,
        **asdict(summary),
        "seconds": round(summary.seconds, 1),
        "images_per_second": round(summary.images_per_second, 1),
        "peak_memory_gb": peak_memory_gb(),
        "peak_gpu_memory_gb": peak_gpu_memory_gb(device),
    }


def converted(file: Path, epoch: int | None) -> dict[str, Any]:
    """Describe a model that was converted from a checkpoint, for training.json: the file's name,
    SHA-256, and epoch.
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
    file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


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
    """Describe Python, system, processor, cores that this process may use, torch's threads, GPU or
    null, versions, revision.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": _processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "gpu": _gpu(device),
        "versions": {name: version(name) for name in PACKAGES},
        "code": revision(Path(__file__).parents[2]),
    }


def revision(project: Path) -> dict[str, Any]:
    """Return {"revision", "dirty"}: the commit of the code in `project`, and whether tracked code
    differs from it.

    Both are null without git, and where `project` lies in somebody else's repository, as an
    installed copy may.
    """
    git = ("git", "--no-optional-locks", "-C", str(project))
    commit = None
    if _output_of(*git, "ls-files", "--error-unmatch", "reid/__init__.py") is not None:
        commit = _output_of(*git, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return {"revision": None, "dirty": None}
    changed = _output_of(*git, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return {"revision": commit, "dirty": bool(changed)}


def peak_memory_gb() -> float:
    """Return the most memory that this process has had resident, in GB of 10^9 bytes."""
    # on Linux `getrusage` may tell the peak of the process that started this one
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    if peaks:
        return round(int(peaks[0]) * 1024 / 1e9, 3)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)


def peak_gpu_memory_gb(device: torch.device) -> float | None:
    """Return the most memory that tensors of this process have had on a GPU, in GB of 10^9 bytes;
    None on a CPU.
    """
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 3)


def _processor() -> str:
    """Return the processor's name, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else _output_of("sysctl", "-n", "machdep.cpu.brand_string")
    return name or platform.machine()


def _gpu(device: torch.device) -> dict[str, Any] | None:
    """Return the GPU's name and memory, its driver's version, where nvidia-smi tells it, and
    that of CUDA; None for a CPU.
    """
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    drivers = _output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return {
        "name": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "driver": drivers.splitlines()[0] if drivers else None,
        "cuda": torch.version.cuda,
    }


def _output_of(*command: str) -> str | None:
    """Return what a command prints, or None where there is no such command or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
