"""Partial-REID (Zheng et al., ICCV 2015) and Partial-iLIDS: partial queries, whole gallery images,
nothing to train on.

Neither has cameras: queries are camera 0 and gallery images camera 1, so that no image is junk.
"""

from pathlib import Path

from reid.datasets.filenames import read_folder, require
from reid.datasets.records import Counts, Reader, SourceSettings, Splits

FOLDERS = {
    "partialreid": [("partial_body_images", "whole_body_images")],
    "partialilids": [("Probe", "Gallery"), ("query", "gallery")],
}


def read(folder: Path, settings: SourceSettings) -> Splits:
    """Records of query and gallery, each sorted by name, and an empty train.

    A name begins with its pid, as 001_002.jpg or 001.jpg do. Raises InputError for missing or
    empty folders and for other names.
    """
    choices = FOLDERS[settings.reader]
    query, gallery = next((pair for pair in choices if (folder / pair[0]).is_dir()), choices[0])
    require(folder, [query, gallery])
    pattern = r"(?P<pid>[0-9]{1,4})(_[^/]*)?\.(jpg|jpeg|png|bmp|tif)"
    return {
        "train": [],
        "query": read_folder(folder / query, pattern, "001_001.jpg", 0),
        "gallery": read_folder(folder / gallery, pattern, "001_001.jpg", 1),
    }


def published(settings: SourceSettings) -> dict[str, Counts]:
    """60 people with five images a side, and 119 with one."""
    counts = Counts(60, 300) if settings.reader == "partialreid" else Counts(119, 119)
    return {"query": counts, "gallery": counts}


REID = Reader(
    SourceSettings,
    read,
    ("Partial-REID_Dataset", "Partial_REID", "Partial-REID", "PartialREID"),
    published,
)
ILIDS = Reader(SourceSettings, read, ("Partial_iLIDS", "Partial-iLIDS", "PartialiLIDS"), published)
