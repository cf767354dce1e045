"""Memory and disk that a process can still have."""

import os
import shutil
from pathlib import Path


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


def gigabytes(size: int) -> str:
    """A number of bytes as text, in GB of 10^9."""
    return f"{size / 1e9:,.1f} GB"
