"""What every reader gives: the images of each split as records; and how a reader is described to
the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from reid.runtime.errors import InputError
from reid.runtime.settings import Text, settings_class


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a dataset; pid 0 is a distractor. Without `extract` its bytes are those of the
    file `path`.

    With `extract` they are what it returns, read when asked for, and `path` is only what to call
    the image in a message: the file that holds it, then its name in there. `line` says where the
    user's own list names the image.
    """

    path: Path
    name: str
    pid: int
    camid: int
    extract: Callable[[], bytes] | None = None
    line: str = field(default="", compare=False)

    def content(self) -> bytes:
        """The bytes of the image file. Raises InputError when it cannot be read."""
        if self.extract is not None:
            return self.extract()
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {self}: {error.strerror or error}.") from None

    def __str__(self) -> str:
        return f"{self.path} ({self.line})" if self.line else str(self.path)


Splits = dict[str, list[Record]]


class Counts(NamedTuple):
    """What is published of a split: people (distractors are none), images (distractors included),
    distractors.

    `images` is None where nothing is published.
    """

    people: int
    images: int | None
    distractors: int = 0


@settings_class
class SourceSettings:
    """Section `datasets.<name>.source`: the reader's name, and in subclasses the reader's keys."""

    reader: Text


class Extra(NamedTuple):
    """A second archive that a dataset needs: its key in `official.ARCHIVES`, and what finds its
    folder, given the dataset's folder.
    """

    archive: str
    find: Callable[[Path], Path | None]


def no_counts(settings: SourceSettings) -> dict[str, Counts]:
    """Nothing is published of the dataset."""
    return {}


def no_extras(settings: SourceSettings) -> tuple[Extra, ...]:
    """The dataset is one archive."""
    return ()


@dataclass(frozen=True)
class Reader:
    """How one dataset is read.

    settings: the dataclass of its source. read: the dataset's folder and those settings -> records
    of train, query and gallery. folders: the names its folder goes by, the official one first;
    none means the raw folder itself. published: the settings -> the published counts of each
    split. names: the file names of each split, where there is a list of them, to say which are
    missing. extras: the settings -> further archives to unpack. draw: draws the dataset into an
    empty folder, where it is drawn and not found.
    """

    settings: type[SourceSettings]
    read: Callable[[Path, Any], Splits]
    folders: tuple[str, ...]
    published: Callable[[Any], dict[str, Counts]] = no_counts
    names: Callable[[], dict[str, list[str]]] | None = None
    extras: Callable[[Any], tuple[Extra, ...]] = no_extras
    draw: Callable[[Any, Path], None] | None = None


def count(records: Sequence[Record]) -> Counts:
    """Count the people, images and distractors of one split."""
    distractors = sum(record.pid == 0 for record in records)
    people = {record.pid for record in records if record.pid > 0}
    return Counts(len(people), len(records), distractors)


def first_few(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and how many more there are, for a message; what is not UTF-8 is escaped."""
    names = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"
