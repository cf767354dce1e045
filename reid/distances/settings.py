"""The settings of the distances stage."""

from typing import Annotated, Literal

from pydantic import Field

from reid.runtime.settings import Count, Device, settings_class

Tile = Annotated[int, Field(ge=1, le=16_384)]


@settings_class
class DistanceSettings:
    """`distances` in params.yaml: neighbours kept of each image; images in a tile's rows and
    columns; device.

    `precision` is that of the stripes in their product. All else, and the global distance, is fp32.
    """

    neighbours: Count
    tile_rows: Tile
    tile_columns: Tile
    precision: Literal["fp32", "bf16", "int8"]
    device: Device
