"""What training does to images: one batch at a time, on its device.

The recipe of AlignedReID++ (Luo et al., Pattern Recognition 94, 2019): resize, or enlarge by 1/8
and crop; flip. The set is decoded at both sizes beforehand, so that this is one gather on the
batch, and no loader waits. Beyond it: zero-padding and cropping (Luo et al., CVPRW 2019), random
erasing (Zhong et al., arXiv 1708.04896) and colour jitter. Everything is drawn on the CPU for a
whole batch, so that each of several processes can take its images' share.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from reid import images
from reid.runtime.errors import InputError

GREY = (0.2989, 0.587, 0.114)  # of red, green and blue: torchvision's
CROPS = ("enlarge", "pad", "none")
PADDING = 10  # pixels on each side: Luo et al., CVPRW 2019, section 2
JITTER = (0.8, 1.2)  # of brightness, contrast and saturation: ours, no paper's
AREA, ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)  # of erased boxes: Luo et al., CVPRW 2019, section 3.2
TRIES = 8  # boxes drawn at once for an image; most images find one that fits among so many


@dataclass(frozen=True)
class AugmentSettings:
    """The keys of `train` in params.yaml that say what is done to images besides mirroring.

    `crop` is enlarge, pad or none; `jitter` and `erasing` are probabilities for an image.
    """

    crop: str
    jitter: float
    erasing: float

    def __post_init__(self) -> None:
        if self.crop not in CROPS or not (0 <= self.jitter <= 1 and 0 <= self.erasing <= 1):
            raise InputError(
                f"`train` in params.yaml: got crop {self.crop!r}, jitter {self.jitter}, erasing "
                f"{self.erasing}; wanted a crop of {', '.join(CROPS)}, and probabilities in [0, 1]."
            )


@dataclass(frozen=True)
class Draws:
    """What was drawn for B images: one row of each tensor an image.

    `places` [B, 4] int64: whether the plain image is taken, the crop's top and left, whether it is
    mirrored. `factors` [B, 3] float32, or None: of brightness, contrast and saturation. `boxes`
    [B, 4] int64, or None: top, left, bottom and right of what is erased, bottom and right
    excluded.
    """

    crop: str
    places: Tensor
    factors: Tensor | None
    boxes: Tensor | None

    def of(self, chosen: slice | Tensor) -> "Draws":
        """The draws of some of the images."""
        factors, boxes = (
            None if rows is None else rows[chosen] for rows in (self.factors, self.boxes)
        )
        return replace(self, places=self.places[chosen], factors=factors, boxes=boxes)

    def to(self, device: torch.device | str) -> "Draws":
        """The same on a device."""
        factors, boxes = (
            None if rows is None else rows.to(device) for rows in (self.factors, self.boxes)
        )
        return replace(self, places=self.places.to(device), factors=factors, boxes=boxes)


def enlarged_size(height: int, width: int) -> tuple[int, int]:
    """The size that the paper's recipe crops from: 9/8 of both, rounded."""
    return round(height * 9 / 8), round(width * 9 / 8)


def draw(
    rng: np.random.Generator, batch: int, size: tuple[int, int], settings: AugmentSettings
) -> Draws:
    """Draw for a batch of so many images of size (height, width), in the order of the fields of
    `Draws`.

    Every image is mirrored with probability 1/2. `enlarge` takes the plain image with probability
    1/2, else a crop of the enlarged one at a uniform place; `pad` takes a crop of the image padded
    by 10 pixels. `settings` may be anything with the fields of AugmentSettings.
    """
    slack = {"pad": (2 * PADDING, 2 * PADDING), "none": (0, 0)}
    slack["enlarge"] = tuple(
        large - small for large, small in zip(enlarged_size(*size), size, strict=True)
    )
    is_plain = (
        rng.integers(2, size=batch) if settings.crop == "enlarge" else np.zeros(batch, np.int64)
    )
    tops, lefts = (rng.integers(most + 1, size=batch) for most in slack[settings.crop])
    if settings.crop == "pad":
        tops, lefts = tops - PADDING, lefts - PADDING
    places = np.stack([is_plain, tops, lefts, rng.integers(2, size=batch)], axis=1)
    factors = _draw_factors(rng, batch, settings.jitter) if settings.jitter else None
    boxes = _draw_boxes(rng, batch, size, settings.erasing) if settings.erasing else None
    return Draws(
        settings.crop,
        *(None if rows is None else torch.from_numpy(rows) for rows in (places, factors, boxes)),
    )


def augment(plain: Tensor, enlarged: Tensor | None, draws: Draws) -> Tensor:
    """uint8 [B, H, W, 3], enlarged ones or None, and what was drawn -> normalised float32 [B, 3,
    H, W], channels_last.

    Cropped and mirrored, then jittered, then normalised, then erased. On the images' device.
    """
    draws = draws.to(plain.device)
    batch = images.to_unit_range(crop(plain, enlarged, draws))
    if draws.factors is not None:
        batch = jitter(batch, draws.factors)
    batch = images.standardise(batch)
    return batch if draws.boxes is None else erase(batch, draws.boxes)


def crop(plain: Tensor, enlarged: Tensor | None, draws: Draws) -> Tensor:
    """uint8 [B, H, W, 3] and, for the crop `enlarge`, the same enlarged, [B, H', W', 3] -> [B, H,
    W, 3], mirrored.

    Raises ValueError when enlarged images are missing, superfluous or not 9/8 as high and wide.
    """
    batch, height, width = plain.shape[:3]
    got = None if enlarged is None else tuple(enlarged.shape[1:3])
    wanted = enlarged_size(height, width) if draws.crop == "enlarge" else None
    if got != wanted:
        raise ValueError(
            f"crop {draws.crop}: enlarged images are {got} high and wide, wanted {wanted}"
        )
    is_plain, tops, lefts, is_mirrored = draws.places.T[:, :, None, None]
    image = torch.arange(batch, device=plain.device)[:, None, None]
    row = torch.arange(height, device=plain.device)[:, None]
    column = torch.arange(width, device=plain.device)
    column = torch.where(is_mirrored.bool(), width - 1 - column, column)
    if enlarged is None:
        row, column = row + tops, column + lefts
        is_inside = (0 <= row) & (row < height) & (0 <= column) & (column < width)
        index = torch.where(
            is_inside, (image * height + row) * width + column, batch * height * width
        )
        others = plain.new_zeros(1, 3)  # the padding
    else:
        rows, columns = enlarged.shape[1:3]
        in_enlarged = (
            batch * height * width + (image * rows + tops + row) * columns + lefts + column
        )
        index = torch.where(is_plain.bool(), (image * height + row) * width + column, in_enlarged)
        others = enlarged.reshape(-1, 3)
    pixels = torch.cat([plain.reshape(-1, 3), others])  # one gather of both: 4 x faster than two
    return pixels.index_select(0, index.flatten()).view(plain.shape)


def jitter(batch: Tensor, factors: Tensor) -> Tensor:
    """RGB in [0, 1], [B, 3, H, W], and factors [B, 3] of brightness, contrast and saturation,
    applied in this order.

    Each as torchvision's `adjust_...` on floats: a blend with black, with the image's mean grey,
    with its grey image.
    """
    brightness, contrast, saturation = factors.T[:, :, None, None, None]
    grey = torch.tensor(GREY, device=batch.device)[:, None, None]
    batch = (batch * brightness).clamp(0, 1)
    mean = (batch * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    batch = torch.lerp(mean, batch, contrast).clamp(0, 1)
    return torch.lerp((batch * grey).sum(1, keepdim=True), batch, saturation).clamp(0, 1)


def erase(batch: Tensor, boxes: Tensor) -> Tensor:
    """Normalised [B, 3, H, W] and boxes [B, 4] -> the same with 0, which is ImageNet's mean,
    inside the boxes.
    """
    tops, lefts, bottoms, rights = boxes.T[:, :, None]
    row, column = (torch.arange(side, device=batch.device) for side in batch.shape[2:])
    in_rows, in_columns = (tops <= row) & (row < bottoms), (lefts <= column) & (column < rights)
    is_inside = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
    return torch.where(is_inside, batch.new_zeros(()), batch)


def _draw_factors(rng: np.random.Generator, batch: int, probability: float) -> np.ndarray:
    """Factors [B, 3] float32 of colour jitter, all 1 for images that are left alone."""
    is_jittered = rng.random((batch, 1)) < probability
    return np.where(is_jittered, rng.uniform(*JITTER, (batch, 3)), 1).astype(np.float32)


def _draw_boxes(
    rng: np.random.Generator, batch: int, size: tuple[int, int], probability: float
) -> np.ndarray:
    """Boxes [B, 4] int64 to erase, empty for images that are left alone.

    Random erasing, algorithm 1: area, aspect and the upper left corner are drawn anew until the
    box lies within. Its sides are rounded to whole pixels.
    """
    (height, width), shape = size, (TRIES, batch)
    boxes, is_wanted = np.zeros((batch, 4), np.int64), rng.random(batch) < probability
    while is_wanted.any():
        areas, aspects = rng.uniform(*AREA, shape) * height * width, rng.uniform(*ASPECT, shape)
        tops, lefts = rng.integers(height, size=shape), rng.integers(width, size=shape)
        bottoms, rights = (
            tops + np.rint(np.sqrt(areas * aspects)),
            lefts + np.rint(np.sqrt(areas / aspects)),
        )
        fits = (bottoms <= height) & (rights <= width)
        drawn = np.stack([tops, lefts, bottoms, rights], axis=2)[fits.argmax(0), np.arange(batch)]
        is_found = is_wanted & fits.any(0)
        boxes[is_found] = drawn[is_found]
        is_wanted &= ~is_found
    return boxes
