"""A prepared split -> decoded images -> augmented and normalised batches.

The recipe of AlignedReID++ (Luo et al., Pattern Recognition 94, 2019): resize, or enlarge by 1/8 and crop; flip. The
set is decoded once at both sizes, so that augmenting is one gather on the batch, on any device, and no loader waits.
"""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from reid.errors import InputError
from reid.packs import Split

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]


def decode(split: Split, height: int, width: int, indices: Sequence[int] | None = None) -> np.ndarray:
    """The images `indices` (None: all) of a split as RGB, resized by PIL's bilinear filter: [N, H, W, 3] uint8.

    Decodes in threads, with a progress bar past one second. Raises InputError naming the split and the image that is
    corrupt.
    """
    indices = range(len(split)) if indices is None else indices
    images = np.empty((len(indices), height, width, 3), np.uint8)

    def fill(row: int) -> None:
        images[row] = _decode_one(split, indices[row], height, width)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(fill, range(len(indices)))
        for _ in tqdm(done, f"decoding {split.name}", len(indices), unit="image", delay=1, leave=False):
            pass
    return images


def enlarged_size(height: int, width: int) -> tuple[int, int]:
    """The size that `augment` crops from: 9/8 of both, rounded."""
    return round(height * 9 / 8), round(width * 9 / 8)


def augment(plain: torch.Tensor, enlarged: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """uint8 [B, H, W, 3] and the same images enlarged, [B, H', W', 3] -> [B, H, W, 3] on their device.

    Each image, with probability 1/2, is the plain one, else a crop of the enlarged one at a uniform place; and then,
    with probability 1/2, is mirrored. Drawn on the CPU in this order: plain [B], tops [B], lefts [B], mirrored [B].
    Raises ValueError when the enlarged images are smaller.
    """
    (batch, height, width), (rows, columns) = plain.shape[:3], enlarged.shape[1:3]
    draws = [rng.integers(2, size=batch), rng.integers(rows - height + 1, size=batch)]
    draws += [rng.integers(columns - width + 1, size=batch), rng.integers(2, size=batch)]
    is_plain, tops, lefts, is_mirrored = torch.from_numpy(np.stack(draws)).to(plain.device)[:, :, None, None]
    image = torch.arange(batch, device=plain.device)[:, None, None]
    row = torch.arange(height, device=plain.device)[:, None]
    column = torch.arange(width, device=plain.device)
    column = torch.where(is_mirrored.bool(), width - 1 - column, column)
    in_plain = (image * height + row) * width + column
    in_enlarged = batch * height * width + (image * rows + tops + row) * columns + lefts + column
    pixels = torch.cat([plain.reshape(-1, 3), enlarged.reshape(-1, 3)])  # one gather of both: 4 x faster than two
    return pixels.index_select(0, torch.where(is_plain.bool(), in_plain, in_enlarged).flatten()).view(plain.shape)


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], ImageNet's mean 0 and deviation 1, in channels_last order."""
    mean, std = (torch.tensor(values, device=batch.device)[:, None, None] for values in (MEAN, STD))
    return (batch.permute(0, 3, 1, 2).float() / 255 - mean) / std


def _decode_one(split: Split, index: int, height: int, width: int) -> np.ndarray:
    content = split.content(index)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    except Exception as error:  # a damaged file raises nearly anything
        raise InputError(
            f"image {split.names[index]} of split {split.name} is corrupt ({type(error).__name__}): "
            f"replace it in the raw dataset and run `dvc repro prepare@...` again."
        ) from None
