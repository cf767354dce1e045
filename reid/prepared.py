"""A prepared dataset: a folder of images.zip and manifest.csv for each split, and statistics.json;
and the one way from an image file's bytes to pixels.

The zips are stored, not compressed, with fixed timestamps, so that equal images make equal bytes.
A zip's own CRC-32 is checked whenever an image is read; the manifest's SHA-256 tells which image
of two copies differs.
"""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from reid.runtime.errors import InputError, paragraph

COLUMNS = {"name": str, "pid": np.int64, "camid": np.int64, "sha256": str}  # of manifest.csv
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
ORIENTATION = 0x0112  # EXIF's tag; what turns a picture of each value upright:
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a prepared dataset: names, pids and camids [N] int64, SHA-256 checksums, the
    bytes of image i.
    """

    name: str
    names: list[str]
    pids: np.ndarray
    camids: np.ndarray
    checksums: list[str]
    archive: zipfile.ZipFile = field(repr=False)
    lock: threading.Lock = field(repr=False, default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def folder(self) -> Path:
        """The folder that the split was read from."""
        return Path(self.archive.filename).parent

    def content(self, index: int) -> bytes:
        """The file's bytes of image `index`; many threads may ask. Raises InputError when they are
        damaged.
        """
        try:
            with self.lock:
                return self.archive.read(self.names[index])
        except Exception as error:  # a damaged file raises nearly anything
            raise _damaged(Path(self.archive.filename), f"{self.names[index]}: {error}") from None


def decode_rgb(content: bytes) -> Image.Image:
    """Decode an image file's bytes to 8-bit RGB, upright as its EXIF orientation says.

    Of several frames it is the first; transparency is ignored; 16-bit gray levels are divided by
    257. Raises ValueError saying why the bytes are no picture that can be used.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(*image.size)
            image.load()
            rgb = _as_eight_bits(image).convert("RGB")
            turn = UPRIGHT.get(_orientation(image))
    except Image.UnidentifiedImageError:
        raise ValueError(f"it is none of {', '.join(FORMATS)}") from None
    except Exception as error:  # a damaged file raises nearly anything
        raise ValueError(paragraph(error)[:300] or type(error).__name__) from None
    return rgb if turn is None else rgb.transpose(turn)


def write(
    folder: Path, splits: Mapping[str, Iterable[tuple[str, int, int, bytes]]]
) -> dict[str, dict[str, int]]:
    """Write each split's (name, pid, camid, bytes), taken one at a time, to `folder`/<split>, and
    return the statistics also written.

    Statistics: people (distractors are none), images, cameras of each split, and the gallery's
    distractors (pid 0). Raises InputError for a name that comes twice in a split or is not UTF-8.
    """
    folder, statistics = Path(folder), {}
    for name, images in splits.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        manifest = _write_images(folder / name / "images.zip", images)
        manifest.to_csv(folder / name / "manifest.csv", index=False, lineterminator="\n")
        statistics[name] = _count(manifest)
        if name == "gallery":
            statistics[name]["distractors"] = int((manifest["pid"] == 0).sum())
    (folder / "statistics.json").write_text(
        json.dumps(statistics, indent=2) + "\n", encoding="utf-8"
    )
    return statistics


def read(folder: Path) -> Split:
    """Open the split in `folder`, which has its name, in the order it was written.

    Raises InputError when a file is absent or damaged, or the two files do not match.
    """
    folder = Path(folder)
    if (folder / "statistics.json").is_file():
        raise InputError(
            f"{folder} is a prepared dataset: wanted one of its splits, such as {folder / 'train'}."
        )
    manifest = _read_manifest(folder / "manifest.csv")
    names, path = manifest["name"].tolist(), folder / "images.zip"
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise _damaged(path, "no such file") from None
    except Exception as error:  # a damaged file raises nearly anything
        raise _damaged(path, f"{type(error).__name__} {error}") from None
    if archive.namelist() != names:
        count = len(archive.namelist())
        raise _damaged(
            path, f"its {count:,} images are not the {len(names):,} that manifest.csv names"
        )
    pids, camids = (manifest[key].to_numpy(copy=True) for key in ("pid", "camid"))
    return Split(folder.absolute().name, names, pids, camids, manifest["sha256"].tolist(), archive)


def dataset_of(split: Split) -> str:
    """The name of the dataset that a split is part of: its folder's parent is called so."""
    return _dataset(Path(split.archive.filename))


def _dataset(path: Path) -> str:
    return path.absolute().parent.parent.name


def _damaged(path: Path, how: str) -> InputError:
    dataset = _dataset(path)
    return InputError(
        f"the prepared dataset is incomplete or damaged: {path}: {how}. Make it with `dvc repro "
        f"prepare@{dataset}`, or again with `dvc repro --force prepare@{dataset}`."
    )


def _write_images(path: Path, images: Iterable[tuple[str, int, int, bytes]]) -> pd.DataFrame:
    """Write the images in their order and return their manifest."""
    rows, names = [], set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, pid, camid, content in images:
            _check_row(name, pid, camid)
            if name in names:
                raise InputError(f"two images of one split are called {name}: rename one of them.")
            names.add(name)
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
            rows.append((name, pid, camid, hashlib.sha256(content).hexdigest()))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _check_row(name: str, pid: int, camid: int) -> None:
    """Raise InputError for what a zip or a manifest cannot hold."""
    shown = name.encode("utf-8", "backslashreplace").decode()
    if shown != name or {*name} & {*"\0\r\n"}:
        raise InputError(f"the image name {shown!r} is not one line of UTF-8: rename the file.")
    for key, number in (("pid", pid), ("camid", camid)):
        if not -(2**63) <= number < 2**63:
            raise InputError(
                f"image {name}: {key} is {number}, wanted less than 2^63: number them anew."
            )


def _read_manifest(path: Path) -> pd.DataFrame:
    """manifest.csv with its exact columns; a name such as NA or 1e5 is text. Raises InputError."""
    try:
        manifest = pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise _damaged(path, "no such file") from None
    except Exception as error:  # a damaged file raises nearly anything
        raise _damaged(path, f"{type(error).__name__} {error}") from None
    if list(manifest.columns) != list(COLUMNS):
        columns = ", ".join(map(str, manifest.columns))
        raise _damaged(path, f"its columns are {columns}, wanted {', '.join(COLUMNS)}")
    if not manifest["sha256"].str.fullmatch("[0-9a-f]{64}").all():
        raise _damaged(path, "it has a sha256 that is none")
    if manifest["name"].duplicated().any():
        raise _damaged(path, "it has a name twice")
    return manifest


def _count(manifest: pd.DataFrame) -> dict[str, int]:
    """People without distractors and junk, images and cameras."""
    pids = manifest["pid"]
    return {
        "people": int(pids[pids > 0].nunique()),
        "images": len(manifest),
        "cameras": int(manifest["camid"].nunique()),
    }


def _check_size(width: int, height: int) -> None:
    """Raise ValueError for a picture without pixels, or of more than Pillow takes for sane."""
    if not 0 < width * height <= Image.MAX_IMAGE_PIXELS:
        raise ValueError(
            f"it has {width:,} x {height:,} pixels, wanted 1 to {Image.MAX_IMAGE_PIXELS:,} of them"
        )


def _as_eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture that converts to RGB without loss or warning. Raises ValueError for levels
    whose black and white are not known.
    """
    if image.mode == "F":
        raise ValueError("its levels are floating-point numbers: save it with 8 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65_535:
            raise ValueError("its levels take more than 16 bits: save it with 8 bits")
        if 0 < levels.max() < 256:
            raise ValueError(
                f"it is {image.mode}, deeper than 8 bits, but its levels end at {levels.max()}: "
                "scaled it would be black; save it with 8 bits"
            )
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))  # to the nearest
    is_palette = image.mode == "P" and "transparency" in image.info
    return image.convert("RGBA") if is_palette else image


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1, upright, where there is none that can be read."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged header raises nearly anything
        return 1
