"""A prepared split -> decoded images -> normalised batches."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from reid.prepared import Split, dataset_of, decode_rgb
from reid.runtime.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]


def decode(
    split: Split, height: int, width: int, indices: Sequence[int] | None = None
) -> np.ndarray:
    """Images of a split as RGB, resized by PIL's bilinear filter: -> [N, H, W, 3] uint8.

    `indices` says which (None: all). Decodes in threads, with a progress bar past one second.
    Raises InputError naming the split and the image that cannot be decoded.
    """
    return decode_sizes(split, [(height, width)], indices)[0]


def decode_sizes(
    split: Split, sizes: Sequence[tuple[int, int]], indices: Sequence[int] | None = None
) -> list[np.ndarray]:
    """As `decode`, at several sizes (height, width) from one decoding: [N, H, W, 3] uint8 of each
    size.
    """
    indices = range(len(split)) if indices is None else indices
    images = [np.empty((len(indices), *size, 3), np.uint8) for size in sizes]

    def fill(row: int) -> None:
        for resized, image in zip(images, _decode_one(split, indices[row], sizes), strict=True):
            resized[row] = image

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(fill, range(len(indices)))
        for _ in tqdm(
            done, f"decoding {split.name}", len(indices), unit="image", delay=1, leave=False
        ):
            pass
    return images


def normalise(batch: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], ImageNet's mean 0 and deviation 1, in
    channels_last order.
    """
    return standardise(to_unit_range(batch))


def to_unit_range(batch: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [0, 1], in channels_last order."""
    return batch.permute(0, 3, 1, 2).float().div_(255)


def standardise(batch: Tensor) -> Tensor:
    """RGB in [0, 1], [B, 3, H, W] -> the same with ImageNet's mean 0 and deviation 1."""
    mean, std = (torch.tensor(values, device=batch.device)[:, None, None] for values in (MEAN, STD))
    return (batch - mean).div_(std)


def _decode_one(split: Split, index: int, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    content = split.content(index)
    try:
        rgb = decode_rgb(content)
    except ValueError as error:
        raise InputError(
            f"image {split.names[index]} of split {split.name} cannot be decoded: {error}. Replace "
            f"it in the raw dataset and run `dvc repro --force prepare@{dataset_of(split)}`."
        ) from None
    return [np.asarray(rgb.resize(size[::-1], Image.Resampling.BILINEAR)) for size in sizes]
