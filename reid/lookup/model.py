"""A trained model that describes any pictures. Its network is loaded when the first is described:
torchvision alone takes a second and a half to import.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray
from PIL import Image
from tqdm import tqdm

from reid.arrays.features import SMALLEST, Features
from reid.lookup import project
from reid.lookup.files import pictures_in, read_bytes, shown
from reid.runtime import made_by
from reid.runtime.errors import InputError

if TYPE_CHECKING:
    from reid.model import Network

Picture = str | Path | bytes | Image.Image | ndarray
Take = Callable[[slice, ndarray, ndarray], None]


class Model:
    """A model's file, the SHA-256 of all that its features depend on, and what describes pictures.

    Make it with `Model.load`.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Model":
        """Open a model.safetensors; without a path, that of the project's headline.

        Raises InputError where there is none.
        """
        path = project.default_model() if path is None else Path(path)
        try:
            digest = hashlib.sha256(read_bytes(path))
        except ValueError as error:
            raise InputError(
                f"{shown(path)} is no model: {error}. Name a model.safetensors with --model."
            ) from None
        code = made_by.code_digest("reid.extraction"), made_by.versions("reid.extraction")
        digest.update(repr(code).encode())
        return cls(path, digest.hexdigest())

    @functools.cached_property
    def network(self) -> "Network":
        """The network. Raises InputError where the file is of another kind or version."""
        from reid import model  # here, for torchvision's sake

        return model.load(self.path)

    @property
    def shapes(self) -> tuple[tuple[int], tuple[int, int]]:
        """The shapes of an image's global feature (D,) and stripes (S, C)."""
        channels = self.network.channels
        return (channels,), (self.network.settings.stripes, channels)

    def describe(self, images: str | Path | Iterable[Picture]) -> Features:
        """Describe a folder's pictures, or paths, PIL images and RGB arrays [H, W, 3] uint8 ->
        their global features [N, D] and unit stripes [N, S, C]; pids are -1, camids 0.

        All are in memory. Raises InputError that names the first that is no picture.
        """
        is_folder = isinstance(images, str | Path)
        pictures: list[Picture] = [*(pictures_in(images) if is_folder else images)]
        if not pictures:
            raise InputError("there is no picture to describe: wanted at least one.")
        arrays = [np.empty((len(pictures), *shape), np.float32) for shape in self.shapes]

        def take(rows: slice, global_features: ndarray, stripes: ndarray) -> None:
            arrays[0][rows], arrays[1][rows] = global_features, stripes

        reasons = self.describe_each(lambda row: as_rgb(pictures[row]), len(pictures), take)
        if reasons:
            row = min(reasons)
            is_path = isinstance(pictures[row], str | Path)
            name = shown(pictures[row]) if is_path else f"number {row}, from 0,"
            raise InputError(f"picture {name} cannot be described: {reasons[row]}.")
        return anonymous(*arrays)

    def describe_each(
        self, rgb: Callable[[int], Image.Image], count: int, take: Take
    ) -> dict[int, str]:
        """Describe `count` pictures batch by batch and `take` the features -> why some rows, which
        then hold anything, have none.

        `rgb` decodes the picture of a row, in any thread, or raises ValueError.
        """
        # here, for torchvision's sake
        from reid import extraction
        from reid.lookup.settings import load
        from reid.runtime.device import choose_device

        settings = load(extraction.ExtractSettings, "extract")
        device, reasons = choose_device(settings.device), {}
        extraction.check_memory(self.network, count, settings.batch, device)
        height, width = self.network.settings.height, self.network.settings.width
        at_once = 1 if device.type == "cpu" else os.cpu_count() or 1  # each core has a batch there
        decode = _decoder(rgb, (height, width), reasons, at_once)

        def write(rows: slice, global_features: Any, stripes: Any) -> None:
            arrays = global_features.numpy(), stripes.numpy()
            for row in _without_direction(*arrays):
                reasons.setdefault(
                    rows.start + row, "the model gives it features that are not finite, or zero"
                )
            take(rows, *arrays)
            bar.update(rows.stop - rows.start)

        batches = _batches(count, settings.batch)
        with tqdm(total=count, desc="describing", unit="picture", delay=1) as bar:
            extraction.describe(self.network, decode, batches, device, write)
        return reasons


def anonymous(global_features: ndarray, stripes: ndarray) -> Features:
    """Features [N, D] and [N, S, C] of pictures of whom nobody says anything: pid -1, camid 0."""
    pids = np.full(len(global_features), -1, np.int64)
    return Features(global_features, stripes, pids, np.zeros_like(pids))


def as_rgb(picture: Picture) -> Image.Image:
    """Decode a file or its bytes, or take an image or array as it is, as RGB. Raises
    ValueError.
    """
    if isinstance(picture, str | Path):
        picture = read_bytes(Path(picture))
    if isinstance(picture, bytes):
        from reid.prepared import decode_rgb  # here, for the sake of pandas

        return decode_rgb(picture)
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        got = f"{array.dtype} {list(array.shape)}"
        raise ValueError(f"got an array of {got}, wanted RGB [H, W, 3] uint8")
    return Image.fromarray(array)


def _decoder(
    rgb: Callable[[int], Image.Image], size: tuple[int, int], reasons: dict[int, str], at_once: int
) -> Callable[[slice], ndarray]:
    """A function from rows to pixels [B, H, W, 3] uint8 of `size`, decoded in `at_once` threads.

    Of what cannot be decoded they are 0, and `reasons` says why.
    """

    def decode(rows: slice) -> ndarray:
        pixels = np.zeros((rows.stop - rows.start, *size, 3), np.uint8)

        def fill(place: int) -> None:
            try:
                image = rgb(rows.start + place).resize(size[::-1], Image.Resampling.BILINEAR)
                pixels[place] = image
            except ValueError as error:
                reasons[rows.start + place] = str(error)

        if at_once == 1:
            for place in range(len(pixels)):
                fill(place)
        else:
            with ThreadPoolExecutor(at_once) as threads:
                list(threads.map(fill, range(len(pixels))))
        return pixels

    return decode


def _batches(count: int, batch: int) -> Sequence[slice]:
    return [slice(start, min(start + batch, count)) for start in range(0, count, batch)]


def _without_direction(global_features: ndarray, stripes: ndarray) -> list[int]:
    """The rows whose features [B, D] or stripes [B, S, C] are not finite, or too short."""
    lengths = [
        np.linalg.norm(array, axis=-1).reshape(len(array), -1).min(1)
        for array in (global_features, stripes)
    ]
    is_good = [np.isfinite(of_array) & (of_array >= SMALLEST) for of_array in lengths]
    return np.flatnonzero(~(is_good[0] & is_good[1])).tolist()
