"""The memory and disk that this machine has left, and an error where they cannot do."""

import os
import shutil
from pathlib import Path

from reid.runtime.errors import InputError


def available_memory() -> int:
    """Bytes that programs can have without swapping, within the container's limit.

    All of the machine's memory where the system does not say.
    """
    meminfo, container = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    lines = meminfo.read_text(encoding="utf-8").splitlines() if meminfo.exists() else []
    entries = dict(line.split(":") for line in lines)
    limit = container.read_text(encoding="utf-8").strip() if container.exists() else "max"
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if "MemAvailable" in entries:
        available = int(entries["MemAvailable"].split()[0]) * 1024
    return available if limit == "max" else min(available, int(limit))


def free_disk(output: Path) -> int:
    """Bytes free on the disk where `output` is or will be."""
    output = output.absolute()
    return shutil.disk_usage(
        next(folder for folder in (output, *output.parents) if folder.exists())
    ).free


def check_memory(size: int, what: str, advice: str) -> None:
    """Raise InputError, with advice, where `what` needs more bytes than are available."""
    available = available_memory()
    if size > available:
        raise InputError(
            f"{what} needs {gigabytes(size)} of memory, but {gigabytes(available)} are available: "
            f"{advice}."
        )


def gigabytes(size: int) -> str:
    """Bytes as text, such as `2.0 GB`."""
    return f"{size / 1e9:,.1f} GB" if size < 1e18 else "more than a billion GB"
