"""Extract features of a folder of any pictures, in the format of the stages.

Sub-folders named query and gallery (and query_partial) are those splits. Without them each picture
is a query and in the gallery, and itself left out where a CSV says who and which camera it is.
"""

import csv
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reid.arrays import features
from reid.arrays.names import SPLITS
from reid.lookup import labels, store
from reid.lookup.files import pictures_in, shown
from reid.lookup.labels import Labels
from reid.lookup.model import Model
from reid.lookup.store import Described
from reid.runtime import cli
from reid.tools import parser
from reid.tools.search import check_left_out


def main() -> None:
    """Describe the folder's pictures and write them as query and gallery."""
    arguments = parser.make("extract", str(__doc__), "FOLDER OUT --csv people.csv")
    add = arguments.add_argument
    add("folder", type=Path, help="folder of pictures, however deep")
    add("out", type=Path, help="folder to write query and gallery to")
    add("--csv", type=Path, help="table image,pid,camid (default: pid -1, nobody, and camid 0)")
    add("--model", help="model.safetensors (default: the headline's, of ./params.yaml)")
    add("--strict", action="store_true", help="end with 1 where a picture cannot be read")
    args = arguments.parse_args()
    table = Table(args.csv, labels.read(args.csv)) if args.csv else None
    model, left_out = Model.load(args.model), {}
    with cli.atomic_output(args.out) as out:
        for split, folder in splits_of(args.folder).items():
            described = store.describe(pictures_in(folder), model, folder.absolute())
            write(described, args.folder, table, out / split)
            left_out |= described.left_out
        check_left_out(left_out, args.strict)
        if not (out / "query").exists():
            shutil.copytree(out / "gallery", out / "query")


class Table(NamedTuple):
    """A CSV's path, and who is on which picture."""

    path: Path
    labels: Labels


def splits_of(folder: Path) -> dict[str, Path]:
    """Return the folder of each split: its sub-folders, or itself as the gallery."""
    if all((folder / name).is_dir() for name in ("query", "gallery")):
        return {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    return {"gallery": folder}


def write(described: Described, root: Path, table: Table | None, out: Path) -> None:
    """Write features, and pictures.csv, which says which picture each row is of."""
    names = [shown(path.relative_to(root).as_posix()) for path in described.paths]
    of_images, rows = described.features, [(-1, 0)] * len(names)
    if table is not None:
        rows = labels.of_pictures(table.labels, names, table.path)
    pids, camids = np.array(rows, np.int64).T
    stripes = of_images.stripes.shape[1:]
    written = features.create(out, pids, camids, of_images.global_features.shape[1], stripes)
    written.global_features[:], written.stripes[:] = of_images.global_features, of_images.stripes
    with (out / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(labels.COLUMNS)
        writer.writerows((name, *row) for name, row in zip(names, rows, strict=True))


if __name__ == "__main__":
    cli.run(main)
