"""Any dataset listed in a CSV with the columns image, pid, camid (may be left out) and split."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from reid.datasets.records import Reader, Record, SourceSettings, Splits
from reid.runtime.errors import InputError, short
from reid.runtime.settings import Text, settings_class

SPLITS = ("train", "query", "gallery")
COLUMNS = ("image", "pid", "camid", "split")
HEADER = "wanted a first line image,pid,camid,split (camid may be left out), in any order"


@settings_class
class CsvSettings(SourceSettings):
    """file: the CSV's path, from the folder of the raw datasets."""

    file: Text


def read(folder: Path, settings: CsvSettings) -> Splits:
    """Records of train, query and gallery in the CSV's order; `image` is a path from the CSV's
    folder, and the name.

    Without a column camid every query is camera 0 and every gallery image camera 1, so that no
    image is junk. pid -1 is junk and dropped, 0 a distractor of the gallery. Raises InputError
    naming the line that is wrong.
    """
    path = folder / settings.file
    splits: Splits = {split: [] for split in SPLITS}
    lines: dict[tuple[str, str], int] = {}
    for line, row in _rows(path):
        split, record = _record(row, path, line)
        if record.pid < 0:
            continue
        first = lines.setdefault((split, record.name), line)
        if first != line:
            raise _wrong(path, line, "image", row["image"], f"it once: line {first} has it too")
        splits[split].append(record)
    return splits


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row that is not blank, by column, with the number of its last line."""
    table = csv.reader(io.StringIO(_text(path), newline=None), strict=True)
    try:
        columns = next(table, [])
        _check_columns(path, columns)
        for row in table:
            if row and len(row) != len(columns):
                raise InputError(
                    f"line {table.line_num} of {path} has {len(row)} fields, wanted "
                    f"{len(columns)}: {', '.join(columns)}. Put a name with a comma in quotes."
                )
            if row:
                yield table.line_num, dict(zip(columns, row, strict=True))
    except csv.Error as error:
        raise InputError(
            f"line {table.line_num} of {path} is not CSV: {error}. Look for a quote that is not "
            "closed there or above."
        ) from None


def _text(path: Path) -> str:
    """The file's text. Raises InputError when it cannot be read or is not text in UTF-8."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {path}: {error}. `file` of the dataset's source in params.yaml is the "
            "CSV's path from the folder of the raw datasets."
        ) from None
    try:
        text = content.decode("utf-8-sig")
        at, what = content.find(b"\0"), "a NUL character"
    except UnicodeDecodeError as error:
        at, what = error.start, "bytes that are not UTF-8"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        at, what = 0, "UTF-16"
    if at >= 0:
        line = content[:at].count(b"\n") + 1
        raise InputError(f"line {line} of {path} has {what}: save it as text, CSV in UTF-8.")
    return text


def _check_columns(path: Path, columns: list[str]) -> None:
    """Raise InputError unless each column is there once and no other is."""
    if sorted({*columns, "camid"}) == sorted(COLUMNS) and len({*columns}) == len(columns):
        return
    shown = ", ".join(map(repr, columns))[:300] if columns else "none"
    step = "Remove other columns, and spaces within the names."
    if not columns:
        step = "Is it the right file?"
    elif len(columns) == 1 and re.search("[;\t|]", columns[0]):
        step = "Separate by commas."
    elif not {*COLUMNS} & {column.strip().lower() for column in columns}:
        step = "Add that line on top."
    raise InputError(f"line 1 of {path}: the columns are {shown}, {HEADER}. {step}")


def _record(row: dict[str, str], path: Path, line: int) -> tuple[str, Record]:
    """Check one line: -> its split and record."""
    image, split = PurePosixPath(row["image"]), row["split"]
    if "\\" in row["image"]:
        raise _wrong(path, line, "image", row["image"], "/ in paths, not \\")
    if image == PurePosixPath() or image.is_absolute() or ".." in image.parts:
        raise _wrong(path, line, "image", row["image"], "a path below the CSV's folder")
    if split not in SPLITS:
        raise _wrong(path, line, "split", split, f"one of {', '.join(SPLITS)}")
    pid = _number(row, "pid", path, line, -1)
    if pid == 0 and split != "gallery":
        wanted = "people counted from 1: pid 0 is a distractor, which only a gallery has"
        raise _wrong(path, line, "pid", "0", wanted)
    camid = _number(row, "camid", path, line, 0) if "camid" in row else int(split == "gallery")
    where = f"line {line} of {path}"
    return split, Record(path.parent / image, str(image), pid, camid, line=where)


def _number(row: dict[str, str], column: str, path: Path, line: int, lowest: int) -> int:
    """The number in a column, of the digits 0 to 9 alone: Python's int reads 1_2 as 12, too."""
    if re.fullmatch("-1|[0-9]{1,19}", row[column]):
        number = int(row[column])
        if lowest <= number < 2**63:
            return number
    wanted = f"a whole number, {lowest} or more and less than 2^63, in digits alone"
    raise _wrong(path, line, column, row[column], wanted)


def _wrong(path: Path, line: int, column: str, got: str, wanted: str) -> InputError:
    return InputError(f"line {line} of {path}: `{column}` is {short(got)}, wanted {wanted}.")


READER = Reader(CsvSettings, read, ())
