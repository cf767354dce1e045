"""Augmentation: crop, mirror and erase one batch of images at a time, on its device.

The recipe of AlignedReID++ (Luo et al., Pattern Recognition 94, 2019): resize, or enlarge by 1/8
and crop; flip. The set is decoded at both sizes beforehand, so that this is one gather on the
batch, and no loader waits. Beyond it: zero-padding and cropping (Luo et al., CVPRW 2019) and random
erasing (Zhong et al., arXiv 1708.04896). Everything is drawn on the CPU for the full batch, so that
each rank can take its images' draws.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from reid import images

Crop = Literal["enlarge", "pad", "none"]
PADDING = 10  # pixels on each side: Luo et al., CVPRW 2019, section 2
AREA, ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)  # of erased boxes: Luo et al., CVPRW 2019, section 3.2
TRIES = 8  # boxes drawn at once for an image; most images have one among them that fits


@dataclass(frozen=True)
class Draws:
    """Hold what was drawn for B images: one row of each tensor an image.

    `places` [B, 4] int64: whether the plain image is taken, the crop's top and left, whether it is
    mirrored. `boxes` [B, 4] int64, or None: top, left, bottom and right of what is erased, bottom
    and right excluded.
    """

    crop: str
    places: Tensor
    boxes: Tensor | None

    def select(self, rows: slice | Tensor) -> "Draws":
        """Return the draws of some of the images."""
        boxes = None if self.boxes is None else self.boxes[rows]
        return replace(self, places=self.places[rows], boxes=boxes)

    def to(self, device: torch.device | str) -> "Draws":
        """Return the same draws on a device."""
        boxes = None if self.boxes is None else self.boxes.to(device)
        return replace(self, places=self.places.to(device), boxes=boxes)


def enlarged_size(height: int, width: int) -> tuple[int, int]:
    """Return the size that the paper's recipe crops from: 9/8 of both, rounded."""
    return round(height * 9 / 8), round(width * 9 / 8)


def draw(
    rng: np.random.Generator, batch: int, size: tuple[int, int], crop: Crop, erasing: float
) -> Draws:
    """Draw for a batch of B images of size (height, width), places before boxes.

    Every image is mirrored with probability 1/2. `enlarge` takes the plain image with probability
    1/2, else a crop of the enlarged one, at a uniform place that is rounded to pixels, so that the
    first and last have half the weight, as in the published code; `pad` takes a crop of the image
    padded by 10 pixels, each place alike. `erasing` is an image's probability of losing a box.
    """
    places = torch.from_numpy(_draw_places(rng, batch, size, crop))
    if not erasing:
        return Draws(crop, places, None)
    return Draws(crop, places, torch.from_numpy(_draw_boxes(rng, batch, size, erasing)))


def augment(plain: Tensor, enlarged: Tensor | None, draws: Draws) -> Tensor:
    """uint8 [B, H, W, 3], enlarged ones or None, and what was drawn -> normalised float32 [B, 3,
    H, W], channels_last.

    Crops and mirrors, then normalises, then erases, on the images' device.
    """
    draws = draws.to(plain.device)
    batch = images.normalise(crop(plain, enlarged, draws))
    return batch if draws.boxes is None else erase(batch, draws.boxes)


def crop(plain: Tensor, enlarged: Tensor | None, draws: Draws) -> Tensor:
    """uint8 [B, H, W, 3] and, for the crop `enlarge`, the same enlarged, [B, H', W', 3] -> [B, H,
    W, 3], mirrored.

    Raises ValueError when enlarged images are missing, superfluous or not 9/8 as high and wide.
    """
    sizes = None if enlarged is None else tuple(enlarged.shape[1:3])
    wanted = enlarged_size(*plain.shape[1:3]) if draws.crop == "enlarge" else None
    if sizes != wanted:
        raise ValueError(
            f"crop {draws.crop}: enlarged images are {sizes} high and wide, wanted {wanted}"
        )
    if enlarged is None:
        index, extra = _padded_index(plain, draws), plain.new_zeros(1, 3)
    else:
        index, extra = _enlarged_index(plain, enlarged, draws), enlarged.reshape(-1, 3)
    pixels = torch.cat([plain.reshape(-1, 3), extra])  # one gather of both: 4 x faster than two
    return pixels.index_select(0, index.flatten()).view(plain.shape)


def _grid(plain: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """[B, H, W, 3] -> numbers of images [B, 1, 1], rows [H, 1] and columns [B, 1, W], mirrored."""
    batch, height, width = plain.shape[:3]
    image = torch.arange(batch, device=plain.device)[:, None, None]
    row = torch.arange(height, device=plain.device)[:, None]
    column = torch.arange(width, device=plain.device)
    is_mirrored = draws.places[:, 3, None, None].bool()
    return image, row, torch.where(is_mirrored, width - 1 - column, column)


def _padded_index(plain: Tensor, draws: Draws) -> Tensor:
    """[B, H, W, 3] -> which of its pixels each pixel of the crops takes, [B, H, W]; B * H * W in
    the padding.
    """
    batch, height, width = plain.shape[:3]
    image, row, column = _grid(plain, draws)
    tops, lefts = draws.places.T[1:3, :, None, None]
    row, column = row + tops, column + lefts
    is_inside = (0 <= row) & (row < height) & (0 <= column) & (column < width)
    index = (image * height + row) * width + column
    return torch.where(is_inside, index, batch * height * width)


def _enlarged_index(plain: Tensor, enlarged: Tensor, draws: Draws) -> Tensor:
    """[B, H, W, 3] and [B, H', W', 3] -> which pixel of both, one after the other, each pixel of
    the crops takes, [B, H, W].
    """
    batch, height, width = plain.shape[:3]
    rows, columns = enlarged.shape[1:3]
    image, row, column = _grid(plain, draws)
    is_plain, tops, lefts, _ = draws.places.T[:, :, None, None]
    in_plain = (image * height + row) * width + column
    row_starts = batch * height * width + (image * rows + tops + row) * columns + lefts  # [B, H, 1]
    return torch.where(is_plain.bool(), in_plain, row_starts + column)


def erase(batch: Tensor, boxes: Tensor) -> Tensor:
    """Normalised [B, 3, H, W] and boxes [B, 4] -> the images with 0, which is ImageNet's mean,
    inside the boxes.
    """
    tops, lefts, bottoms, rights = boxes.T[:, :, None]
    row, column = (torch.arange(side, device=batch.device) for side in batch.shape[2:])
    in_rows, in_columns = (tops <= row) & (row < bottoms), (lefts <= column) & (column < rights)
    is_inside = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
    return torch.where(is_inside, batch.new_zeros(()), batch)


def _draw_places(
    rng: np.random.Generator, batch: int, size: tuple[int, int], crop: str
) -> np.ndarray:
    """Draw the rows of `Draws.places`, [B, 4] int64, column by column."""
    is_plain, tops, lefts = np.zeros((3, batch), np.int64)
    if crop == "enlarge":
        is_plain = rng.integers(2, size=batch)
        slack = np.subtract(enlarged_size(*size), size)
        tops, lefts = (np.rint(rng.uniform(0, most, batch)).astype(np.int64) for most in slack)
    if crop == "pad":
        tops, lefts = (rng.integers(-PADDING, PADDING + 1, batch) for _ in range(2))
    return np.stack([is_plain, tops, lefts, rng.integers(2, size=batch)], axis=1)


def _draw_boxes(
    rng: np.random.Generator, batch: int, size: tuple[int, int], probability: float
) -> np.ndarray:
    """Draw boxes to erase, [B, 4] int64, empty for images that are left alone.

    Random erasing, algorithm 1: area, aspect and the upper left corner are drawn anew until the
    box lies within. Its sides are rounded to whole pixels.
    """
    height, width = size
    shape = (TRIES, batch)
    boxes = np.zeros((batch, 4), np.int64)
    is_wanted = rng.random(batch) < probability
    while is_wanted.any():
        areas, aspects = rng.uniform(*AREA, shape) * height * width, rng.uniform(*ASPECT, shape)
        tops, lefts = rng.integers(height, size=shape), rng.integers(width, size=shape)
        bottoms = tops + np.rint(np.sqrt(areas * aspects))
        rights = lefts + np.rint(np.sqrt(areas / aspects))
        fits = (bottoms <= height) & (rights <= width)
        drawn = np.stack([tops, lefts, bottoms, rights], axis=2)[fits.argmax(0), np.arange(batch)]
        is_drawn = is_wanted & fits.any(0)
        boxes[is_drawn] = drawn[is_drawn]
        is_wanted &= ~is_drawn
    return boxes
