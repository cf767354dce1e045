"""Who is on which picture: a CSV with the columns image, pid and camid, of a folder."""

import csv
import io
from pathlib import Path

from reid.runtime.errors import InputError, short

COLUMNS = ("image", "pid", "camid")
Labels = dict[str, tuple[int, int]]


def read(path: Path) -> Labels:
    """Read {image: (pid, camid)}; `image` is a path from the folder of pictures.

    Raises InputError that names the line that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"{path} cannot be read: {reason}.") from None
    labels: Labels = {}
    table = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if set(table.fieldnames or ()) != set(COLUMNS):
            raise ValueError(f"got the columns {short(table.fieldnames)}")
        for row in table:
            image = str(row["image"])
            if image in labels:
                raise ValueError(f"{short(image)} comes twice")
            labels[image] = _number(row["pid"]), _number(row["camid"])
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"line {max(table.line_num, 1)} of {path}: {error}, wanted a first line "
            "image,pid,camid, and for each picture its path from the folder, once, and two whole "
            "numbers."
        ) from None
    return labels


def _number(text: str | None) -> int:
    """A whole number that int64 holds. Raises ValueError."""
    if text is None or not text.strip().removeprefix("-").isdecimal() or len(text) > 18:
        raise ValueError(f"got {short(text)} for a number")
    return int(text)


def of_pictures(labels: Labels, names: list[str], path: Path) -> list[tuple[int, int]]:
    """The pid and camid of each name. Raises InputError for a name that `path` does not have."""
    missing = [name for name in names if name not in labels]
    if missing:
        raise InputError(
            f"{path} does not say who is on {len(missing)} of {len(names)} pictures, the first "
            f"{short(missing[0])}: add a line for each, with pid -1 for nobody."
        )
    return [labels[name] for name in names]
