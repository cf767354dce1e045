"""MSMT17 (Wei et al., CVPR 2018) by its list files: V1, and V2, whose faces are blurred."""

import re
from pathlib import Path

from reid.datasets.filenames import require
from reid.datasets.records import Counts, Reader, Record, SourceSettings, Splits
from reid.runtime.errors import InputError, short
from reid.runtime.settings import settings_class

FOLDERS = {"msmt17": ("train", "test"), "msmt17_v2": ("mask_train_v2", "mask_test_v2")}
LINE = re.compile(
    r"[0-9]{4}/[0-9]{4}_[0-9]{3}_(?P<camid>0[1-9]|1[0-5])_[^ /]+\.jpg (?P<label>[0-9]{1,9})"
)


@settings_class
class Msmt17Settings(SourceSettings):
    """with_val: train on list_val.txt as well (the same people); the published tables do not."""

    with_val: bool


def read(folder: Path, settings: Msmt17Settings) -> Splits:
    """Records of train, query and gallery in the lists' order; a record's name is its path there.

    A pid is the list's label plus one, since labels start at 0 and pid 0 is a distractor. Labels
    of train and test are of different people. Raises InputError for missing folders or lists, and
    for a line of another form.
    """
    train, test = FOLDERS[settings.reader]
    lists = {"train": "list_train.txt", "query": "list_query.txt", "gallery": "list_gallery.txt"}
    val = ["list_val.txt"] if settings.with_val else []
    require(folder, [train, test, *lists.values(), *val])
    splits = {
        split: _read_list(folder / name, train if split == "train" else test)
        for split, name in lists.items()
    }
    if settings.with_val:
        splits["train"] += _read_list(folder / "list_val.txt", train)
    return splits


def published(settings: Msmt17Settings) -> dict[str, Counts]:
    """The published counts: val has 2,373 images of train's people."""
    train = 30_248 + 2_373 * settings.with_val
    return {
        "train": Counts(1_041, train),
        "query": Counts(3_060, 11_659),
        "gallery": Counts(3_060, 82_161),
    }


def _read_list(path: Path, images: str) -> list[Record]:
    lines = [
        line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    records = []
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        if match:
            name = line.split(" ")[0]
            records.append(
                Record(
                    path.parent / images / name, name, int(match["label"]) + 1, int(match["camid"])
                )
            )
        elif line:
            raise InputError(
                f"line {number} of {path}: got {short(line)}, wanted a line such as "
                "'0000/0000_000_01_0303morning_0015_0.jpg 0' with a camera from 01 to 15. Unpack "
                "the archive again."
            )
    return records


V1 = Reader(Msmt17Settings, read, ("MSMT17_V1", "MSMT17"), published)
V2 = Reader(Msmt17Settings, read, ("MSMT17_V2", "MSMT17"), published)
