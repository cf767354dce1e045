"""A prepared dataset: one zip of original image bytes per split, manifest.csv and statistics.json.

The zips are stored, not compressed, with fixed timestamps, so that equal images make equal bytes.
A zip's own CRC-32 is checked whenever an image is read; the manifest's SHA-256 tells which image
of two copies differs.
"""

import csv
import hashlib
import json
import threading
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reid.runtime.errors import InputError

COLUMNS = ("split", "name", "pid", "camid", "sha256")


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

    def content(self, index: int) -> bytes:
        """The file's bytes of image `index`; many threads may ask. Raises InputError when they are
        damaged.
        """
        try:
            with self.lock:
                return self.archive.read(self.names[index])
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise _damaged(Path(self.archive.filename), f"{self.names[index]}: {error}") from None


def write(
    folder: Path, splits: Mapping[str, Iterable[tuple[str, int, int, bytes]]]
) -> dict[str, dict[str, int]]:
    """Write each split's (name, pid, camid, bytes), read one at a time, and return the statistics
    also written.

    Statistics: people (distractors are none), images, cameras of each split, and the gallery's
    distractors (pid 0). Raises InputError when a name comes twice in a split.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    statistics = {}
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file, lineterminator="\n")
        manifest.writerow(COLUMNS)
        for split, images in splits.items():
            rows = _write_zip(folder / f"{split}.zip", images)
            manifest.writerows((split, *row) for row in rows)
            statistics[split] = _statistics(split, rows)
    (folder / "statistics.json").write_text(json.dumps(statistics, indent=2) + "\n")
    return statistics


def read(folder: Path, split: str) -> Split:
    """Open one split, in the order it was written. Raises InputError when a file is absent,
    truncated or no match.
    """
    manifest, pack = Path(folder) / "manifest.csv", Path(folder) / f"{split}.zip"
    try:
        with open(manifest, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == split]
        names, pids, camids, checksums = ([row[key] for row in rows] for key in COLUMNS[1:])
        if not all(len(checksum) == 64 for checksum in checksums):
            raise ValueError("with a sha256 that is none")
        archive = zipfile.ZipFile(pack)
        if archive.namelist() != names:
            raise _damaged(
                pack, f"it holds {len(archive.namelist()):,} images and manifest.csv {len(names):,}"
            )
        return Split(
            split, names, np.array(pids, np.int64), np.array(camids, np.int64), checksums, archive
        )
    except FileNotFoundError as error:
        raise _damaged(Path(error.filename), "no such file") from None
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise _damaged(manifest, f"{type(error).__name__} {error}") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise _damaged(pack, str(error)) from None


def _damaged(path: Path, how: str) -> InputError:
    dataset = path.absolute().parent.name
    return InputError(
        f"the prepared dataset is incomplete or damaged: {path}: {how}. Make it with `dvc repro "
        f"prepare@{dataset}`, or again with `dvc repro --force prepare@{dataset}`."
    )


def _write_zip(
    path: Path, images: Iterable[tuple[str, int, int, bytes]]
) -> list[tuple[str, int, int, str]]:
    """Write the images in their order and return (name, pid, camid, SHA-256) of each."""
    rows, seen = [], set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, pid, camid, content in images:
            if name in seen:
                raise InputError(f"two images of one split are called {name}: rename one of them.")
            seen.add(name)
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
            rows.append((name, pid, camid, hashlib.sha256(content).hexdigest()))
    return rows


def _statistics(split: str, rows: list[tuple[str, int, int, str]]) -> dict[str, int]:
    pids = [pid for _, pid, _, _ in rows]
    counts = {
        "people": len(set(pids) - {0}),
        "images": len(rows),
        "cameras": len({camid for _, _, camid, _ in rows}),
    }
    return counts | ({"distractors": pids.count(0)} if split == "gallery" else {})
