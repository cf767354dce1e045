"""Any dataset listed in a CSV with the columns image, pid, camid (may be left out) and split."""

import csv
from pathlib import Path, PurePosixPath

from reid.datasets.records import Reader, Record, SourceSettings, Splits
from reid.runtime.errors import InputError, short
from reid.runtime.settings import Text, settings_class

SPLITS = ("train", "query", "gallery")


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
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            unknown = {*(table.fieldnames or [])} ^ {"image", "pid", "camid", "split"}
            if unknown - {"camid"}:
                raise InputError(
                    f"the columns of {path} are {table.fieldnames}, wanted image, pid, camid, "
                    "split."
                )
            rows = [_record(row, path, table.line_num) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"cannot read {path}: {error}. `file` of the dataset's source in params.yaml is the "
            "CSV's path from the folder of the raw datasets."
        ) from None
    return {
        split: [record for name, record in rows if name == split and record.pid >= 0]
        for split in SPLITS
    }


def _record(row: dict[str, str], path: Path, line: int) -> tuple[str, Record]:
    """Check one line: -> its split and record."""
    image, split = PurePosixPath(row["image"] or ""), row["split"]
    if image == PurePosixPath() or image.is_absolute() or ".." in image.parts:
        raise _wrong(path, line, "image", row["image"], "a path below the CSV's folder")
    if split not in SPLITS:
        raise _wrong(path, line, "split", split, f"one of {', '.join(SPLITS)}")
    pid = _number(row, "pid", path, line, -1)
    if pid == 0 and split != "gallery":
        raise _wrong(
            path,
            line,
            "pid",
            "0",
            "people counted from 1: pid 0 is a distractor, which only a gallery has",
        )
    camid = _number(row, "camid", path, line, 0) if "camid" in row else int(split == "gallery")
    return split, Record(path.parent / image, str(image), pid, camid)


def _number(row: dict[str, str], column: str, path: Path, line: int, lowest: int) -> int:
    try:
        number = int(row[column])
    except (TypeError, ValueError):
        number = lowest - 1
    if number < lowest:
        raise _wrong(path, line, column, row[column], f"a whole number, {lowest} or more")
    return number


def _wrong(path: Path, line: int, column: str, got: str | None, wanted: str) -> InputError:
    return InputError(f"line {line} of {path}: `{column}` is {short(got)}, wanted {wanted}.")


READER = Reader(CsvSettings, read, ())
