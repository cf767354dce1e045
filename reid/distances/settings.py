"""The settings of the distances stage."""

from dataclasses import dataclass

from reid.distances.tile import PRODUCTS
from reid.runtime.errors import InputError


@dataclass(frozen=True)
class DistanceSettings:
    """`distances` in params.yaml: neighbours kept of each image; images in a tile's rows and
    columns; device.

    `precision` is that of the stripes in their product: fp32, bf16 or int8. All else, and the
    global distance, is fp32.
    """

    neighbours: int
    tile_rows: int
    tile_columns: int
    precision: str
    device: str

    def __post_init__(self) -> None:
        if min(self.neighbours, self.tile_rows, self.tile_columns) < 1:
            raise InputError(
                f"`distances` in params.yaml: wanted numbers of at least 1, got {self}."
            )
        if self.precision not in PRODUCTS:
            raise InputError(
                f"distances.precision in params.yaml: got {self.precision!r}, wanted one of "
                f"{', '.join(PRODUCTS)}."
            )
