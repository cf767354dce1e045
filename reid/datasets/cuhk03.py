"""CUHK03 (Li et al., "DeepReID", CVPR 2014): its MATLAB file, or CUHK03-NP's folders.

The new protocol is Zhong et al.'s, "Re-ranking Person Re-identification with k-reciprocal
Encoding", CVPR 2017.
"""

import io
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import scipy.io
from PIL import Image
from pydantic import Field

from reid.datasets.filenames import read_subfolders
from reid.datasets.records import Counts, Reader, Record, SourceSettings, Splits
from reid.runtime.errors import InputError
from reid.runtime.settings import settings_class

INDICES = {"train": "train_idx", "query": "query_idx", "gallery": "gallery_idx"}

# pair, person and column of an image, from 1; columns 1-5 are view 1, 6-10 view 2
Cell = tuple[int, int, int]
NP_PATTERN = r"(?P<pid>[0-9]{4})_c(?P<camid>[12])_[0-9]+\.png"  # CUHK03-NP's file names
MAT_PATTERN = r"([1-5])_([0-9]{3})_([12])_([0-9]{2})\.png"  # pair, person, view, column


@settings_class
class Cuhk03Settings(SourceSettings):
    """boxes: detected or labeled. protocol: new, or classic with the test people of `split`."""

    boxes: Literal["detected", "labeled"]
    protocol: Literal["new", "classic"]
    split: Annotated[int, Field(ge=0, le=19)]


def read(folder: Path, settings: Cuhk03Settings) -> Splits:
    """Records of train, query and gallery, each sorted by name; cameras are the two views.

    New protocol: from CUHK03-NP's folders if they are there, else from cuhk-03.mat and the
    protocol's own file. Classic: every image of the split's 100 people is a query and in the
    gallery, where the camera rule leaves the other view; all other people are for training. Images
    in the .mat become PNG when read. Raises InputError.
    """
    if settings.protocol == "new" and (folder / settings.boxes).is_dir():
        return read_subfolders(folder / settings.boxes, NP_PATTERN, "0001_c1_1.png")
    releases = [folder, folder / "cuhk03_release", folder.parent / "cuhk03_release"]
    path = _find("cuhk-03.mat", releases, settings)
    if settings.protocol == "new":
        places = list(dict.fromkeys([path.parent, folder, path.parent.parent]))
        protocol = _find(f"cuhk03_new_protocol_config_{settings.boxes}.mat", places, settings)
        people, images, _ = _open(path, settings.boxes)
        return _new_splits(path, protocol, images)
    people, images, testsets = _open(path, settings.boxes)
    return _classic_splits(path, people, images, testsets[settings.split])


def published(settings: Cuhk03Settings) -> dict[str, Counts]:
    """The published counts of the new protocol; of the classic one's people, which have other
    images in each split.
    """
    if settings.protocol == "classic":
        return {
            "train": Counts(1_367, None),
            "query": Counts(100, None),
            "gallery": Counts(100, None),
        }
    train, gallery = (7_365, 5_332) if settings.boxes == "detected" else (7_368, 5_328)
    return {
        "train": Counts(767, train),
        "query": Counts(700, 1_400),
        "gallery": Counts(700, gallery),
    }


def _find(name: str, places: list[Path], settings: Cuhk03Settings) -> Path:
    """The file `name` in the first of the folders that has it."""
    for place in places:
        if (place / name).is_file():
            return place / name
    also = (
        f", or the folder {settings.boxes} of CUHK03-NP in {places[0]}"
        if settings.protocol == "new"
        else ""
    )
    raise InputError(
        f"CUHK03's {settings.protocol} protocol needs {name}: looked in "
        f"{', '.join(map(str, places))}{also}. Put it there."
    )


def _open(path: Path, boxes: str) -> tuple[list[int], dict[Cell, partial[bytes]], list[np.ndarray]]:
    """cuhk-03.mat -> people of each pair, what reads each image, and the test people [100, 2] of
    each classic split.

    The file stays open for as long as any of its images may be read. HDF5 has MATLAB's axes in
    reverse, and an empty cell as the two numbers of its size.
    """
    import h5py  # only this form of one dataset needs it

    try:
        file = h5py.File(path)
        pairs = [file[pair][()] for pair in file[boxes][()].ravel()]  # each [10, people]
        testsets = [file[testset][()].T for testset in file["testsets"][()].ravel()]
        images = {
            (pair, person + 1, column + 1): partial(_png, file, cells[column, person])
            for pair, cells in enumerate(pairs, 1)
            for column, person in np.ndindex(cells.shape)
            if file[cells[column, person]].ndim == 3
        }
        if len(testsets) != 20 or any(testset.shape[1:] != (2,) for testset in testsets):
            raise ValueError("testsets are not 20 lists of pairs and persons")
    except Exception as error:  # a damaged file raises nearly anything
        raise InputError(
            f"{path} is not CUHK03's MATLAB 7.3 file, with cells {boxes} and testsets ({error}): "
            "unpack the archive again."
        ) from None
    return [cells.shape[1] for cells in pairs], images, testsets


def _png(file: Any, cell: object) -> bytes:
    """One image of the open cuhk-03.mat as PNG: [3, W, H] there. Raises InputError when it is
    damaged.
    """
    content = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(file[cell][()].T)).save(content, "PNG")
    except Exception as error:
        raise InputError(
            f"the image {file[cell].name} of {file.filename} is damaged ({error}): unpack the "
            "archive again."
        ) from None
    return content.getvalue()


def _new_splits(path: Path, protocol: Path, images: dict[Cell, partial[bytes]]) -> Splits:
    """The new protocol's splits; an image that cuhk-03.mat lacks keeps a record that cannot
    be read.
    """
    try:
        config = scipy.io.loadmat(protocol)
        names = [str(name.item()) for name in config["filelist"].ravel()]
        matches = [re.fullmatch(MAT_PATTERN, name) for name in names]
        cells = [(int(match[1]), int(match[2]), int(match[4])) for match in matches]
        labels, views = (config[key].ravel().tolist() for key in ("labels", "camId"))
        splits = {}
        for split, key in INDICES.items():
            rows = (int(index) - 1 for index in config[key].ravel())
            splits[split] = [
                Record(
                    path / names[row], names[row], labels[row], views[row], images.get(cells[row])
                )
                for row in rows
            ]
    except Exception as error:  # a damaged file raises nearly anything
        raise InputError(
            f"{protocol} is not a CUHK03 protocol file, with filelist, labels, camId and "
            f"{', '.join(INDICES.values())} ({type(error).__name__} {error}): fetch it again."
        ) from None
    return {
        split: sorted(records, key=lambda record: record.name) for split, records in splits.items()
    }


def _classic_splits(
    path: Path, people: list[int], images: dict[Cell, partial[bytes]], testset: np.ndarray
) -> Splits:
    """One classic split; a pid is the person's number over all pairs, as in the new protocol."""
    test_people = {(int(pair), int(person)) for pair, person in testset}
    first = np.cumsum([0, *people])
    train, test = [], []
    for (pair, person, column), extract in images.items():
        view = 1 if column <= 5 else 2
        name = f"{pair}_{person:03d}_{view}_{column:02d}.png"
        record = Record(path / name, name, int(first[pair - 1]) + person, view, extract)
        (test if (pair, person) in test_people else train).append(record)
    train, test = (sorted(records, key=lambda record: record.name) for records in (train, test))
    return {"train": train, "query": test, "gallery": list(test)}


READER = Reader(
    Cuhk03Settings,
    read,
    ("cuhk03_release", "cuhk03-np", "cuhk03_np", "cuhk03np", "cuhk03", "cuhk-03"),
    published,
)
