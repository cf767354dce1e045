"""The settings of the distances stage."""

from typing import Literal

from reid.runtime.settings import Count, settings_class


@settings_class
class DistanceSettings:
    """`distances` in params.yaml: neighbours kept of each image; images in a tile's rows and
    columns; device.

    `precision` is that of the stripes in their product. All else, and the global distance, is fp32.
    """

    neighbours: Count
    tile_rows: Count
    tile_columns: Count
    precision: Literal["fp32", "bf16", "int8"]
    device: str
