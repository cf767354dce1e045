"""Features, the arrays between extraction and everything after, and their files.

A folder a split: global_features.npy [N, D] float32, stripes.npy [N, S, C] float32, pids.npy [N]
and camids.npy [N] int64. Any system's features can be put there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reid.arrays.npy import release
from reid.runtime.errors import InputError

CHUNK = 4096
LARGEST = 1e15  # the square of more does not fit into float32


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
        """Give back the memory of what is mapped (`arrays.release`)."""
        for array in (self.global_features, self.stripes):
            release(array)


class Identities(NamedTuple):
    """Whose image it is and which camera's: pids [N] and camids [N] int64."""

    pids: np.ndarray
    camids: np.ndarray


def create(
    folder: Path, pids: np.ndarray, camids: np.ndarray, dimension: int, stripes: tuple[int, int]
) -> Features:
    """Make a split's folder with room for N images, to be filled: memory-mapped arrays, pids and
    camids written.
    """
    folder.mkdir(parents=True)
    np.save(folder / "pids.npy", pids.astype(np.int64))
    np.save(folder / "camids.npy", camids.astype(np.int64))
    shapes = {"global_features": (len(pids), dimension), "stripes": (len(pids), *stripes)}
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
        for name, shape in shapes.items()
    }
    return Features(**arrays, pids=pids, camids=camids)


def read(folder: str | Path) -> Features:
    """Read a split's features, the large arrays memory-mapped.

    Raises InputError for a missing or broken file, shapes that do not agree, and numbers that are
    not finite or all the same.
    """
    folder = Path(folder)
    arrays = {
        name: _array(folder / f"{name}.npy")
        for name in ("global_features", "stripes", "pids", "camids")
    }
    images = len(arrays["pids"])
    for name, dimensions in {"global_features": 2, "stripes": 3, "pids": 1, "camids": 1}.items():
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
    """A split's pids and camids, without touching its features. Raises InputError as `read`
    does.
    """
    return Identities(*(_array(Path(folder) / f"{name}.npy") for name in ("pids", "camids")))


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


def _array(file: Path) -> np.ndarray:
    """Read pids or camids, or memory-map features. Raises InputError for a missing or broken file,
    or another type.
    """
    is_whole = file.stem in ("pids", "camids")
    try:
        array = np.load(file, mmap_mode=None if is_whole else "r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(
            f"{file} is missing: wanted the features of a split. Run the extract stage first."
        ) from None
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{file} cannot be read as an array: {error}. Extract the split anew."
        ) from None
    if not isinstance(array, np.ndarray) or (
        array.dtype.kind not in "iu" if is_whole else array.dtype != np.float32
    ):
        raise InputError(
            f"{file} holds {getattr(array, 'dtype', 'several arrays')}, wanted one array of "
            f"{'whole numbers' if is_whole else 'float32'}. Save it with numpy.save as that."
        )
    if is_whole and array.ndim != 1:
        raise InputError(f"{file} has shape {list(array.shape)}, wanted one number an image, [N].")
    return array.astype(np.int64) if is_whole else array


def _check_numbers(array: np.ndarray, file: Path) -> None:
    constant = len(array) > 1
    for start in range(0, len(array), CHUNK):
        chunk = array[start : start + CHUNK]
        smallest, largest = chunk.min(-1), chunk.max(-1)
        if not (smallest.min() > -LARGEST and largest.max() < LARGEST):  # NaN is neither
            finite = (np.abs(chunk) < LARGEST).reshape(len(chunk), -1).all(1)
            raise InputError(
                f"{file} holds NaN, infinity or more than {LARGEST:g}, first for image "
                f"{start + int(finite.argmin())} (counted from 0): wanted finite numbers. The "
                "model has diverged or an image is broken; train or extract anew."
            )
        zero = ((smallest == 0) & (largest == 0)).reshape(len(chunk), -1).any(1)
        if zero.any():
            raise InputError(
                f"{file} holds a feature of length 0, first for image {start + int(zero.argmax())} "
                "(counted from 0): it has no direction to compare. The model is not trained, or a "
                "layer is dead; train anew."
            )
        constant = constant and bool((chunk == array[0]).all())
        release(array)
    if constant:
        raise InputError(
            f"{file} is constant: all {len(array)} images have the same feature, so that no "
            "distance tells them apart. The model has collapsed; lower train.learning_rate and "
            "train anew."
        )
