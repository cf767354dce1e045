"""Folders whose file names say everything: each name -> pid and camera."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from reid.datasets.records import Record, Splits, first_few
from reid.runtime.errors import InputError

SUBFOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


def read_subfolders(folder: Path, pattern: str, example: str) -> Splits:
    """Market-1501's three subfolders, listed once each -> records of train, query and gallery,
    each sorted by name.

    `pattern` has the groups pid and camid, `example` is a name for messages. Raises InputError for
    a missing or empty subfolder and for names of another grammar.
    """
    require(folder, SUBFOLDERS.values())
    return {
        split: read_folder(folder / name, pattern, example) for split, name in SUBFOLDERS.items()
    }


def read_folder(folder: Path, pattern: str, example: str, camid: int | None = None) -> list[Record]:
    """Records of one flat folder, sorted by name; junk (pid -1) is dropped, hidden files and
    Thumbs.db are not seen.

    `camid` is the camera where `pattern` has no such group. Raises InputError as `read_subfolders`
    does.
    """
    records = []
    for match in _match_names(folder, pattern, example):
        camera = int(match["camid"]) if camid is None else camid
        records.append(Record(folder / match[0], match[0], int(match["pid"]), camera))
    records = [record for record in records if record.pid >= 0]
    if not records:
        raise InputError(
            f"{folder} holds no images: wanted names such as {example}. Unpack the archive again."
        )
    return records


def _match_names(folder: Path, pattern: str, example: str) -> list[re.Match[str]]:
    """Match each file name of a folder, sorted. Raises InputError for those of another grammar."""
    names = [name for name in sorted(os.listdir(folder)) if not _is_hidden(name)]
    matches = [re.fullmatch(pattern, name) if name.isprintable() else None for name in names]
    unknown = [name for name, match in zip(names, matches, strict=True) if not match]
    if unknown:
        raise InputError(
            f"{folder} has {len(unknown):,} names that are not the dataset's: "
            f"{first_few(unknown, 3)}; wanted names such as {example}. Move them away, or rename "
            "them."
        )
    return matches


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() == "thumbs.db"


def require(folder: Path, names: Collection[str]) -> None:
    """Raise InputError, saying what is there, unless `folder` holds each of the files or folders
    `names`.
    """
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        there = first_few(sorted(os.listdir(folder)), 8) if folder.is_dir() else "no such folder"
        raise InputError(
            f"{folder} lacks {', '.join(missing)}: wanted {', '.join(names)}, there: "
            f"{there or 'nothing'}. Unpack the archive again."
        )
