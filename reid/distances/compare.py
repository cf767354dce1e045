"""Global, local and DMLI distances of two panels of images, tile by tile, all in memory.

Global: squared Euclidean on unit features, in [0, 4]. Local and DMLI (Luo et al., 2019, section
3.2) come from the same stripe costs. Agrees with the authors' published code.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from reid.arrays.features import Features
from reid.arrays.names import DISTANCES
from reid.cpu.threads import on_all_cores, one_by_one
from reid.distances import partition, probe
from reid.distances.settings import DistanceSettings
from reid.distances.tile import (
    LARGEST_INT8,
    Operand,
    TileBuffer,
    empty,
    fused_distances,
    operand,
    unit,
)
from reid.runtime import distributed
from reid.runtime.device import describe_device
from reid.runtime.errors import InputError

Result = TypeVar("Result")
Progress = Callable[[int], None]  # called with numbers of pairs


class Comparison:
    """How tiles are compared: settings, device, threads, and a pool of buffers for the threads.

    On the CPU each thread computes a tile; on a GPU tiles follow each other, as wide as a panel
    with `reid.distances.gpu_kernel`, which needs no buffer. Raises InputError for int8 on a GPU,
    and where products of the precision are not right on this machine (`probe`).
    """

    def __init__(self, settings: DistanceSettings, device: torch.device) -> None:
        if settings.precision == "int8" and device.type != "cpu":
            raise InputError(
                "distances.precision in params.yaml: int8 is for the CPU; on a GPU choose bf16 or "
                "fp32."
            )
        self.settings, self.device = settings, device
        self.fused = fused_distances(device)
        self.tile_columns = partition.PANEL if self.fused else settings.tile_columns
        self.map = on_all_cores if device.type == "cpu" else one_by_one
        self.buffers: list[TileBuffer] = []
        self.limit = LARGEST_INT8
        if self.fused:
            probe.check_fused(self.fused, settings.precision, device)
        elif settings.precision == "int8":
            self.limit = self._in_a_thread(probe.int8_limit)
            self.limit = -int(distributed.all_max(np.array([-self.limit]))[0])
        else:
            self._in_a_thread(lambda: probe.check_products(settings.precision, device))

    def _in_a_thread(self, function: Callable[[], Result]) -> Result:
        """What a function returns where a tile is computed."""
        results: list[Result] = []
        self.map(lambda _: function(), [None], results.append)
        return results[0]

    def machine(self) -> str:
        """Say what computes: the device, and for int8 the largest magnitude that it has."""
        name = describe_device(self.device)
        return f"{name}, int8 to {self.limit}" if self.settings.precision == "int8" else name

    def distances(self, a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
        """`local` and `dmli`, both [N, M], of N and M images."""
        if self.fused:
            return self.fused(a.stripes, b.stripes)
        try:
            buffer = self.buffers.pop()
        except IndexError:  # all are in use
            buffer = TileBuffer(self.settings.precision, self.device)
        distances = buffer.distances(a, b)
        self.buffers.append(buffer)
        return distances

    def stripes(self, features: Features, images: slice) -> Operand:
        """Read some images' stripes, as the product's operand."""
        stripes = features.stripes[images]
        return operand(stripes, self.settings.precision, self.device, self.limit)

    def global_features(self, features: Features, images: slice) -> Tensor:
        """Read some images' global features [N, D], of unit length."""
        array = np.asarray(features.global_features[images])
        return unit(torch.tensor(array).to(self.device))


@dataclass(frozen=True)
class Side:
    """The N images on one side of a tile: their places in the panel's set, unit global features
    [N, D], and stripes.
    """

    places: slice
    global_features: Tensor
    stripes: Operand

    def __len__(self) -> int:
        return len(self.stripes)

    def without(self, first: int) -> "Side":
        """All images but the `first` ones."""
        places = slice(self.places.start + first, self.places.stop)
        return Side(places, self.global_features[first:], self.stripes[first:])


class Panel:
    """Some images of a set, read and ready for the product, as sides of tiles of `size` images."""

    def __init__(
        self, features: Features, images: slice, comparison: Comparison, size: int
    ) -> None:
        def read(places: slice) -> Side:
            return Side(
                places,
                comparison.global_features(features, places),
                comparison.stripes(features, places),
            )

        self.images, self.sides = images, []
        comparison.map(read, list(slices(images.start, images.stop, size)), self.sides.append)
        features.release()

    def place(self, side: Side) -> slice:
        """Where a side's images are among the panel's, counted from 0."""
        return slice(side.places.start - self.images.start, side.places.stop - self.images.start)

    def __len__(self) -> int:
        return self.images.stop - self.images.start


def row_panel(features: Features, images: slice, comparison: Comparison) -> Panel:
    """The panel of a comparison's rows."""
    return Panel(features, images, comparison, comparison.settings.tile_rows)


def compare_across(
    rows: Panel, features: Features, columns: slice, comparison: Comparison, progress: Progress
) -> dict[str, Tensor]:
    """Distances of a panel's N images to M other images -> {global, local, dmli}, each [N, M]."""
    others = Panel(features, columns, comparison, comparison.tile_columns)
    matrices = _empty_matrices(len(rows), len(others), comparison)

    def fill(sides: tuple[Side, Side]) -> int:
        a, b = sides
        for name, tile in _tile(a, b, comparison).items():
            matrices[name][rows.place(a), others.place(b)] = tile
        return len(a) * len(b)

    comparison.map(fill, [(a, b) for b in others.sides for a in rows.sides], progress)
    return matrices


def compare_within(
    rows: Panel, features: Features, comparison: Comparison, progress: Progress
) -> dict[str, Tensor]:
    """Distances of a panel's N images to each other -> {global, local, dmli}, each [N, N].

    A tile's columns begin with its rows' first image; what lies right of its rows is mirrored.
    """
    columns = Panel(features, rows.images, comparison, comparison.tile_columns)
    matrices = _empty_matrices(len(rows), len(rows), comparison)

    def fill(sides: tuple[Side, Side]) -> int:
        a, b = sides
        down, along = rows.place(a), columns.place(b)
        right = slice(max(down.stop, along.start), along.stop)
        for name, tile in _tile(a, b, comparison).items():
            matrices[name][down, along] = tile
            matrices[name][right, down] = tile[:, right.start - along.start :].T
        return len(a) * len(b)

    known = [
        (a, b, max(a.places.start - b.places.start, 0)) for b in columns.sides for a in rows.sides
    ]
    pairs = [(a, b.without(left)) for a, b, left in known if left < len(b)]
    comparison.map(fill, pairs, progress)
    return matrices


def global_squares(a: Tensor, b: Tensor) -> Tensor:
    """Unit features [N, D] and [M, D] -> squared Euclidean distances [N, M], in [0, 4]."""
    return a.new_full((len(a), len(b)), 2.0).addmm_(a, b.T, alpha=-2).clamp_(min=0)


def slices(start: int, stop: int, size: int) -> Iterator[slice]:
    """Cut `start` ... `stop` into slices of `size`, the last one maybe shorter."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _empty_matrices(rows: int, columns: int, comparison: Comparison) -> dict[str, Tensor]:
    return {name: empty((rows, columns), torch.float32, comparison.device) for name in DISTANCES}


def _tile(a: Side, b: Side, comparison: Comparison) -> dict[str, Tensor]:
    """Distances of N and M images -> {global, local, dmli}, each [N, M]."""
    squares = global_squares(a.global_features, b.global_features)
    local, dmli = comparison.distances(a.stripes, b.stripes)
    return {"global": squares, "local": local, "dmli": dmli}
