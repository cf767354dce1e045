"""Write one ranked list, or one alignment, as PNG.

Without `--gallery` the query and its ten nearest gallery images by a column, junk left out; with it
the two images, the costs of their stripes and the path of DMLI, or the diagonal by the column
`local`.
"""

import argparse
from pathlib import Path

import numpy as np

from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.page import pairs, rankings, thumbnails
from reid.page.run import View, read_views
from reid.prepared import Split
from reid.results import pictures
from reid.results.pictures import Picture
from reid.runtime import cli
from reid.runtime.errors import InputError
from reid.tools.parser import make as make_parser


def ranked_list(view: View, query: int, column: str, count: int, path: Path) -> None:
    """Draw a query and its `count` nearest gallery images by a column."""
    row, sides = np.asarray(view.columns[column][query]), view.sides
    images = rankings.nearest(row, query, sides, count)
    nearest = [
        _picture(
            view.gallery_images,
            image,
            f"{rank}\n{row[image]:.3f}",
            bool(sides.gallery.pids[image] == sides.queries.pids[query]),
        )
        for rank, image in enumerate(images, 1)
    ]
    precision = rankings.average_precision(row, query, sides)
    text = f"query\nAP {precision:.2f}"
    pictures.ranked_list(_picture(view.query_images, query, text), nearest, path)


def alignment(view: View, query: int, image: int, column: str, path: Path) -> None:
    """Draw a query, a gallery image and the path of DMLI, or by the column `local` the diagonal."""
    costs = pairs.stripe_costs(view.queries.stripes[query], view.gallery.stripes[image])
    diagonal = [(stripe, stripe) for stripe in range(len(costs))]
    cells = diagonal if column == "local" else pairs.cheapest_path(costs)
    total = sum(costs[cell] for cell in cells)
    is_match = bool(view.gallery.pids[image] == view.queries.pids[query])
    text = f"gallery\n{'Local' if column == 'local' else 'DMLI'} {total:.3f}"
    sides = (
        _picture(view.query_images, query, f"query\nperson {view.queries.pids[query]}"),
        _picture(view.gallery_images, image, text, is_match),
    )
    pictures.alignment(sides, costs, cells, path)


def find(images: Split, name: str) -> int:
    """Return the index of the image called `name`, or that is number `name`, from 0.

    Raises InputError when there is none.
    """
    if name in images.names:
        return images.names.index(name)
    if name.isdecimal() and int(name) < len(images):
        return int(name)
    raise InputError(
        f"{images.folder} has no image {name!r}: wanted a name in its manifest.csv, such as "
        f"{images.names[0]!r}, or a number from 0 to {len(images) - 1}."
    )


def _picture(images: Split, index: int, text: str, is_match: bool | None = None) -> Picture:
    return Picture(np.asarray(thumbnails.picture(images, index)), text, is_match)


def main() -> None:
    """Parse the command line, open the run's folders, and write the picture."""
    args = _parser().parse_args()
    views = read_views(args.data, args.features, args.distances, args.reranked)
    if args.protocol not in views:
        raise InputError(
            f"{args.distances} has no distances of the protocol {args.protocol}: name the other "
            "with --protocol."
        )
    view = views[args.protocol]
    query = find(view.query_images, args.query)
    with cli.atomic_output(args.out, is_file=True) as draft:
        if args.gallery is None:
            ranked_list(view, query, args.column, args.count, draft)
        else:
            image = find(view.gallery_images, args.gallery)
            alignment(view, query, image, args.column, draft)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "show", str(__doc__), "DATA FEATURES DISTANCES RERANKED list.png --query 0"
    )
    add = parser.add_argument
    add("data", type=Path, help="folder that the prepare stage wrote")
    add("features", type=Path, help="folder of the run that the extract stage wrote")
    add("distances", type=Path, help="folder of the run that the distances stage wrote")
    add("reranked", type=Path, help="folder of the run that the rerank stage wrote")
    add("out", type=Path, help="PNG file to write")
    add("--query", required=True, help="name of the query's image, or its number from 0")
    add("--gallery", help="likewise of a gallery image, whose alignment is drawn")
    column = f"{', '.join(COLUMNS)} (default: %(default)s)"
    add("--column", choices=COLUMNS, default="global_dmli_rk", metavar="COLUMN", help=column)
    add(
        "--count",
        type=_count,
        default=10,
        metavar="N",
        help="images of the list (default: %(default)s)",
    )
    protocol = f"{', '.join(PROTOCOLS)} (default: %(default)s)"
    add("--protocol", choices=PROTOCOLS, default="full", metavar="P", help=protocol)
    return parser


def _count(text: str) -> int:
    """A number of images, 1 to 50."""
    if not text.isdecimal() or not 1 <= int(text) <= 50:
        raise argparse.ArgumentTypeError(f"got {text}, wanted a whole number, 1 to 50")
    return int(text)


if __name__ == "__main__":
    cli.run(main)
