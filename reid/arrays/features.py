"""Features of a split, which extraction hands to every later stage, and their files.

A folder a split: global_features.npy [N, D] float32, stripes.npy [N, S, C] float32, pids.npy [N]
and camids.npy [N] int64. Any system's features can be put there.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reid.arrays import npy
from reid.arrays.names import PROTOCOLS, SPLITS
from reid.runtime import made_by
from reid.runtime.errors import InputError

CHUNK = 4096
SAMPLE = 256  # images of a split
DIMENSIONS = {"global_features": 2, "stripes": 3, "pids": 1, "camids": 1}
LARGEST = 1e15  # of a number: the square of more does not fit into float32
SMALLEST = 1e-15  # of a length: the squares of less lose their digits in float32


@dataclass(frozen=True)
class Features:
    """One split's features: global [N, D] and stripes [N, S, C] (float32, maybe memory-mapped),
    pids, camids [N].
    """

    global_features: np.ndarray
    stripes: np.ndarray
    pids: np.ndarray
    camids: np.ndarray

    def __len__(self) -> int:
        return len(self.pids)

    def release(self) -> None:
        """Free the memory of the mapped arrays (`npy.release`)."""
        for array in (self.global_features, self.stripes):
            npy.release(array)


class Identities(NamedTuple):
    """Each image's person and camera: pids [N] and camids [N] int64."""

    pids: np.ndarray
    camids: np.ndarray


def create(
    folder: Path, pids: np.ndarray, camids: np.ndarray, dimension: int, stripes: tuple[int, int]
) -> Features:
    """Create a split's folder: pids and camids [N] written, mapped [N, D] and [N, S, C] to fill,
    NaN until then.
    """
    folder.mkdir(parents=True)
    np.save(folder / "pids.npy", pids.astype(np.int64))
    np.save(folder / "camids.npy", camids.astype(np.int64))
    shapes = {"global_features": (len(pids), dimension), "stripes": (len(pids), *stripes)}
    files = {name: npy.create(folder / f"{name}.npy", shape).file for name, shape in shapes.items()}
    arrays = {name: np.lib.format.open_memmap(file, "r+") for name, file in files.items()}
    return Features(**arrays, pids=pids, camids=camids)


def read(folder: str | Path) -> Features:
    """Read a split's features, the large arrays memory-mapped.

    Raises InputError for a missing or broken file, shapes that do not agree, numbers that are not
    finite or all the same, and lengths below SMALLEST. All else is made unit exactly by what
    compares it, in float32.
    """
    folder = Path(folder)
    arrays = {name: _read_array(folder, name) for name in DIMENSIONS}
    images = len(arrays["pids"])
    for name, dimensions in DIMENSIONS.items():
        shape = arrays[name].shape
        if len(shape) != dimensions or shape[0] != images or 0 in shape:
            raise InputError(
                f"{folder / name}.npy has shape {list(shape)}, wanted {dimensions} dimensions, the "
                f"first of them {images or 'at least one'} as in pids.npy. Extract the split anew."
            )
    for name in ("global_features", "stripes"):
        _check_numbers(arrays[name], folder / f"{name}.npy")
    return Features(**arrays)


def read_identities(folder: str | Path) -> Identities:
    """Read a split's pids and camids, and no features. Raises InputError as `read` does."""
    return Identities(*(_read_array(Path(folder), name) for name in Identities._fields))


def read_protocols(folder: Path) -> tuple[Features, dict[str, Features]]:
    """Read a folder of splits -> the gallery, and the queries by protocol.

    `query_partial` may be absent. Raises InputError as `read` and `check_alike` do.
    """
    gallery = read(folder / "gallery")
    queries = {
        protocol: read(folder / split)
        for protocol, split in PROTOCOLS.items()
        if split == "query" or (folder / split).exists()
    }
    for protocol, features in queries.items():
        check_alike(features, gallery, folder / PROTOCOLS[protocol])
    return gallery, queries


def made_by_of(folder: str | Path) -> made_by.Document:
    """The document of a folder of splits, as `made_by.of_content`: it holds what `digest` says."""
    return made_by.of_content(folder, digest(folder))


def digest(folder: str | Path) -> str:
    """SHA-256 of the features of a folder of splits: SAMPLE images of each, evenly spaced, since
    all of them would take minutes. Raises InputError for a missing or broken file.
    """
    whole = hashlib.sha256()
    for split in SPLITS:
        if split == "gallery" or (Path(folder) / split).exists():
            for name in ("global_features", "stripes"):
                array = _read_array(Path(folder) / split, name)
                whole.update(f"{split} {name} {array.shape}".encode())
                step = max(1, -(-len(array) // SAMPLE))
                whole.update(np.ascontiguousarray(array[::step]).tobytes())
    return whole.hexdigest()


def check_alike(queries: Features, gallery: Features, where: str | Path) -> None:
    """Raise InputError unless both have the same D, S and C, as images of one model do."""
    for name in ("global_features", "stripes"):
        shapes = [list(getattr(side, name).shape[1:]) for side in (queries, gallery)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{name} of the queries in {where} have shape {shapes[0]} an image, those of the "
                f"gallery {shapes[1]}: they come from different models. Extract both with the same "
                "one."
            )


def _read_array(folder: Path, name: str) -> np.ndarray:
    """Read pids or camids [N] as int64, or memory-map float32 features. Raises InputError."""
    file, wanted = folder / f"{name}.npy", f"the {name} of a split's features"
    if name not in Identities._fields:
        return npy.read(file, np.float32, wanted)
    array = npy.read(file, np.integer, wanted, is_mapped=False)
    if array.ndim != 1:
        raise InputError(f"{file} has shape {list(array.shape)}, wanted one number an image, [N].")
    if array.dtype == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
        raise InputError(f"{file} holds {array.max()}, wanted numbers below 2^63.")
    return array.astype(np.int64)


def _check_numbers(array: np.ndarray, file: Path) -> None:
    """Raise InputError unless features [N, ...] are finite, long enough and not all equal."""
    is_constant = len(array) > 1
    for start in range(0, len(array), CHUNK):
        chunk = array[start : start + CHUNK]
        _check_chunk(chunk, start, file)
        is_constant = is_constant and bool((chunk == array[0]).all())
        npy.release(array)
    if is_constant:
        raise InputError(
            f"{file} is constant: all {len(array)} images have the same feature, so that no "
            "distance tells them apart. The model has collapsed; lower train.learning_rate and "
            "train anew."
        )


def _check_chunk(chunk: np.ndarray, start: int, file: Path) -> None:
    """Check the images from number `start` on, and name the first that is not as wanted."""
    smallest, largest = chunk.min(-1), chunk.max(-1)
    if not (smallest.min() > -LARGEST and largest.max() < LARGEST):  # NaN is neither
        is_finite = (np.abs(chunk) < LARGEST).reshape(len(chunk), -1).all(1)
        raise InputError(
            f"{file} holds NaN, infinity or more than {LARGEST:g}, first for image "
            f"{start + int(is_finite.argmin())} (counted from 0): wanted finite numbers. The "
            "model has diverged, an image is broken, or the extraction was ended before it was "
            "done; train or extract anew."
        )
    squares = np.einsum("...c,...c->...", chunk, chunk)
    is_short = (squares < SMALLEST**2).reshape(len(chunk), -1).any(1)
    if is_short.any():
        image = int(is_short.argmax())
        length = np.linalg.norm(chunk[image].astype(np.float64), axis=-1).min()
        raise InputError(
            f"{file} holds a feature of length {length:.3g}, first for image {start + image} "
            f"(counted from 0), wanted {SMALLEST:g} or more: it has no direction that float32 can "
            "compare. The model is not trained, or a layer is dead: train anew; or multiply "
            "another system's features by one number."
        )
