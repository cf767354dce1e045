"""What the distances stage will need, told before it starts: pairs, memory and disk; a refusal
where there is less.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from reid.arrays.features import Features
from reid.arrays.neighbours import COLUMNS_AT_ONCE, RANKED
from reid.distances.all_pairs import NAMES, PANEL, DistanceSettings, pairs_to_compute
from reid.distances.tile import OPERANDS, PRODUCTS
from reid.runtime import distributed
from reid.runtime.errors import InputError


@dataclass(frozen=True)
class Plan:
    """What it takes: pairs of images to compare; bytes of memory for tiles and panels, and for
    lists; bytes on disk.

    `processes` compare them, of which `here` share this host's memory; all these need is `panels`
    and `lists`.
    """

    pairs: int
    panels: int
    lists: int
    disk: int
    processes: int
    here: int

    @property
    def memory(self) -> int:
        """Bytes of memory on this host, beyond what Python and its libraries take (about 0.4 GB a
        process).
        """
        return self.panels + self.lists

    def __str__(self) -> str:
        several = (
            f" by {self.processes} processes, {self.here} of them on this host"
            if self.processes > 1
            else ""
        )
        return f"distances of {self.pairs:,} pairs{several}: {_gb(self.memory)} of memory, {_gb(self.disk)} on disk"


def plan(gallery: Features, queries: list[Features], settings: DistanceSettings) -> Plan:
    """The plan for a gallery and its query sets. Features are memory-mapped, so they take no
    memory of their own.

    Each process has lists of all images, for the pairs that are its own.
    """
    here = distributed.local_world_size()
    counts, kept = [len(images) for images in queries], settings.neighbours
    most = max(counts)
    per_image = len(RANKED) * kept
    return Plan(
        pairs=pairs_to_compute(len(gallery), counts, settings),
        panels=here * _panels(gallery, max(most, len(gallery)), settings),
        # running lists of the gallery's (8 bytes a place), and of all images with what is written
        # of them (8 + 12)
        lists=here * (8 * per_image * len(gallery) + 20 * per_image * (len(gallery) + most)),
        disk=sum(
            4 * len(NAMES) * count * len(gallery) + 12 * per_image * (count + len(gallery))
            for count in counts
        ),
        processes=distributed.world_size(),
        here=here,
    )


def check(planned: Plan, settings: DistanceSettings, output: str | Path) -> None:
    """Raise InputError, with what would help, when memory or the output's disk is smaller than
    planned.
    """
    available, free = available_memory(), free_disk(Path(output))
    if planned.memory > available:
        help_ = "close other programs or take a larger machine"
        if planned.panels < available:
            fitting = settings.neighbours * (available - planned.panels) // planned.lists
            help_ = f"set distances.neighbours to {fitting} or less (rerank.k1 + 1 are needed)"
        if planned.here > 1:
            help_ = "start fewer processes"
        raise InputError(f"{planned}, but {_gb(available)} of memory are available: {help_}.")
    if planned.disk > free:
        raise InputError(
            f"{planned}, but {_gb(free)} are free where {output} is to be: free some, or name an "
            "output folder on a larger disk. Without the features' query_partial it takes about "
            "half."
        )


def available_memory() -> int:
    """Bytes that programs can have without swapping, or all there is where the system does not
    tell; a container's.
    """
    meminfo, container = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    told = (
        dict(line.split(":") for line in meminfo.read_text().splitlines())
        if meminfo.exists()
        else {}
    )
    limit = container.read_text().strip() if container.exists() else "max"
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if "MemAvailable" in told:
        available = int(told["MemAvailable"].split()[0]) * 1024
    return available if limit == "max" else min(available, int(limit))


def free_disk(output: Path) -> int:
    """Bytes free on the disk where `output` is or will be."""
    output = output.absolute()
    return shutil.disk_usage(
        next(folder for folder in (output, *output.parents) if folder.exists())
    ).free


def _panels(features: Features, largest: int, settings: DistanceSettings) -> int:
    """Bytes for a panel of rows and one of columns, each thread's cells of a tile, and the
    distances of two panels.
    """
    images, (_, stripes, channels) = min(PANEL, largest), features.stripes.shape
    rows, columns = min(settings.tile_rows, images), min(settings.tile_columns, images)
    operand, product = OPERANDS[settings.precision].itemsize, PRODUCTS[settings.precision].itemsize
    ready = 2 * images * (stripes * channels * operand + features.global_features.shape[1] * 4)
    tiles = torch.get_num_threads() * rows * columns * stripes**2 * product
    places = images * min(COLUMNS_AT_ONCE, images)
    return ready + tiles + images * images * 4 * (len(NAMES) + 1 + len(RANKED)) + 40 * places


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
