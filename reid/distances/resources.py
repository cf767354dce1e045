"""The pairs, memory and disk that the distances stage needs, estimated before it starts; an error
where there is less.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from reid.arrays.features import Features
from reid.arrays.names import DISTANCES, RERANKED
from reid.distances import partition
from reid.distances.all_pairs import pairs_to_compute
from reid.distances.nearest import COLUMNS_AT_ONCE
from reid.distances.settings import DistanceSettings
from reid.distances.tile import OPERANDS, PRODUCTS
from reid.runtime import distributed
from reid.runtime.errors import InputError
from reid.runtime.resources import available_memory, free_disk, gigabytes


@dataclass(frozen=True)
class Estimate:
    """Pairs of images to compare; bytes of memory for panels with their tiles, and for lists;
    bytes on disk.

    `processes` compare them, of which `processes_here` share this host's memory: `panels` and
    `lists` are of all these.
    """

    pairs: int
    panels: int
    lists: int
    disk: int
    processes: int
    processes_here: int

    @property
    def memory(self) -> int:
        """Bytes of memory on this host, beyond Python's libraries (about 0.4 GB a process)."""
        return self.panels + self.lists

    def __str__(self) -> str:
        several = f" by {self.processes} processes, {self.processes_here} of them on this host"
        return (
            f"distances of {self.pairs:,} pairs{several if self.processes > 1 else ''}: "
            f"{gigabytes(self.memory)} of memory, {gigabytes(self.disk)} on disk"
        )


def estimate(gallery: Features, queries: list[Features], settings: DistanceSettings) -> Estimate:
    """Estimate what a gallery and its query sets need.

    Features are memory-mapped and not counted. Each process has lists of all images, for the pairs
    of its share.
    """
    processes_here = distributed.local_world_size()
    counts = [len(images) for images in queries]
    most = max(counts)
    per_image = len(RERANKED) * settings.neighbours
    return Estimate(
        pairs=pairs_to_compute(len(gallery), counts, settings),
        panels=processes_here * _panel_bytes(gallery, max(most, len(gallery)), settings),
        # running lists of the gallery's (8 bytes a place), and of all images with what is written
        # of them (8 + 12)
        lists=processes_here
        * (8 * per_image * len(gallery) + 20 * per_image * (len(gallery) + most)),
        disk=sum(
            4 * len(DISTANCES) * count * len(gallery) + 12 * per_image * (count + len(gallery))
            for count in counts
        ),
        processes=distributed.world_size(),
        processes_here=processes_here,
    )


def check(estimated: Estimate, settings: DistanceSettings, output: str | Path) -> None:
    """Raise InputError, with what would help, when memory or the output's disk is too small."""
    available, free = available_memory(), free_disk(Path(output))
    if estimated.memory > available:
        raise InputError(
            f"{estimated}, but {gigabytes(available)} of memory are available: "
            f"{_memory_advice(estimated, settings, available)}."
        )
    if estimated.disk > free:
        raise InputError(
            f"{estimated}, but {gigabytes(free)} are free where {output} is to be: free some, or "
            "name an output folder on a larger disk. Without the features' query_partial it takes "
            "about half."
        )


def _memory_advice(estimated: Estimate, settings: DistanceSettings, available: int) -> str:
    if estimated.processes_here > 1:
        return "start fewer processes"
    fitting = settings.neighbours * (available - estimated.panels) // estimated.lists
    if fitting < 1:
        return (
            "close other programs, lower distances.tile_rows and distances.tile_columns, or take a "
            "larger machine"
        )
    return f"set distances.neighbours to {fitting} or less (rerank.k1 + 1 are needed)"


def _panel_bytes(features: Features, largest: int, settings: DistanceSettings) -> int:
    """Bytes for a panel of rows and one of columns, each thread's cells of a tile, and the
    distances of two panels.
    """
    panel = partition.panels(largest, partition.PANEL, settings.tile_rows)[0]
    images, (_, stripes, channels) = panel.stop, features.stripes.shape
    rows, columns = min(settings.tile_rows, images), min(settings.tile_columns, images)
    operand, product = OPERANDS[settings.precision].itemsize, PRODUCTS[settings.precision].itemsize
    sides = 2 * images * (stripes * channels * operand + features.global_features.shape[1] * 4)
    tiles = torch.get_num_threads() * rows * columns * stripes**2 * product
    distances = images * images * 4 * (len(DISTANCES) + 1 + len(RERANKED))
    keys = 40 * images * min(COLUMNS_AT_ONCE, images)
    return sides + tiles + distances + keys
