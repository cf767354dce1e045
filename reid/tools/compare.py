"""Two runs, or two columns of runs, against each other: difference, 95 % interval and p-value.

Paired by test people, as in `reid.results.uncertainty`; read from the folders of features,
distances and re-ranked distances. It says whether other test people would have shown the same
difference between these two models, and not whether another training would: compare several seeds
for that.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from reid.arrays import features, matrices
from reid.arrays.features import Identities
from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.results import metrics, uncertainty
from reid.results.metrics import EvaluateSettings, Scores
from reid.runtime import cli, config
from reid.runtime.errors import InputError
from reid.tools.parser import make as make_parser

FOLDERS = ("features", "distances", "reranked")
HEADERS = ("A", "B", "measure", "A %", "B %", "A - B", "95 % interval", "p")
FORMATS = ("", "", "", ".2f", ".2f", "+.2f", "", ".4f")


class Side(NamedTuple):
    """A run <dataset>/<loss>/<seed>, and one of its columns, or all where that is empty."""

    run: str
    column: str


def parse(text: str) -> Side:
    """<dataset>/<loss>/<seed>[:<column>] -> a side. Raises InputError for anything else."""
    run, _, column = text.partition(":")
    if len([part for part in run.split("/") if part]) != 3 or (column and column not in COLUMNS):
        raise InputError(
            f"`{text}` names no run: wanted <dataset>/<loss>/<seed>, such as synthetic/ls/0, and "
            f"for one column a colon and one of {', '.join(COLUMNS)} behind it."
        )
    return Side(run, column)


class Line(NamedTuple):
    """One measure of two columns: its values in percent, and a - b in points."""

    first: str
    second: str
    measure: str
    a: float
    b: float
    difference: float
    interval: str
    p: float


def compare(
    root: Path, sides: tuple[Side, Side], protocol: str, settings: EvaluateSettings
) -> list[Line]:
    """Two sides, whose folders lie under `root` -> a line for each pair of columns and measure.

    Raises InputError for folders that are missing or broken, and for runs of different images.
    """
    images = [_identities(root, side.run, protocol) for side in sides]
    _check_same_images(sides, images)
    scores = [_scores(root, side, protocol, settings) for side in sides]
    pairs = {
        tuple(f"{side.run}:{name}" for side, name in zip(sides, names, strict=True)): tuple(
            of_side[name] for of_side, name in zip(scores, names, strict=True)
        )
        for names in zip(*scores, strict=True)
    }
    tests = uncertainty.differences_of(pairs, images[0][0].pids, settings.seed)
    lines = []
    for names, test in tests.items():
        for measure, of_query in uncertainty.PER_QUERY.items():
            values = (round(100 * float(np.nanmean(of_query(score))), 2) for score in pairs[names])
            difference, interval, p = test[measure].values()
            text = "{:+.2f} to {:+.2f}".format(*interval)
            lines.append(Line(*names, measure, *values, difference, text, p))
    return lines


def _identities(root: Path, run: str, protocol: str) -> tuple[Identities, Identities]:
    """A run's queries and gallery."""
    folder = root / "features" / run
    names = (PROTOCOLS[protocol], "gallery")
    return features.read_identities(folder / names[0]), features.read_identities(folder / names[1])


def _check_same_images(
    sides: tuple[Side, Side], identities: list[tuple[Identities, Identities]]
) -> None:
    """Raise InputError unless both runs have the same queries and gallery."""
    arrays = [[*queries, *gallery] for queries, gallery in identities]
    if not all(map(np.array_equal, *arrays)):
        raise InputError(
            f"{sides[0].run} and {sides[1].run} were not tested on the same images: their pids and "
            "camids differ, so that nothing is paired. Name two runs of one dataset."
        )


def _scores(root: Path, side: Side, protocol: str, settings: EvaluateSettings) -> dict[str, Scores]:
    """{column: scores} of one side's column, or of all."""
    queries, gallery = _identities(root, side.run, protocol)
    folders = [root / name / side.run / protocol for name in FOLDERS[1:]]
    columns = matrices.read_columns(*folders, (len(queries.pids), len(gallery.pids)))
    wanted = [side.column] if side.column else [*COLUMNS]
    return {name: metrics.score(columns[name], queries, gallery, settings) for name in wanted}


def main() -> None:
    """Parse the command line and print the table."""
    parser = make_parser("compare", str(__doc__), "synthetic/softmax/0 synthetic/ls/0")
    parser.add_argument("a", help="<dataset>/<loss>/<seed>, or :<column> behind it for one column")
    parser.add_argument("b", help="likewise: as many columns as A")
    parser.add_argument(
        "--protocol", choices=PROTOCOLS, default="full", help="default: %(default)s"
    )
    parser.add_argument(
        "--root", type=Path, default=".", help="folder that holds features, distances, reranked"
    )
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()
    sides = parse(args.a), parse(args.b)
    if bool(sides[0].column) != bool(sides[1].column):
        raise InputError(
            f"got {args.a} and {args.b}: name a column of both, or of neither to compare each "
            "column with the same one."
        )
    dataset = sides[0].run.split("/")[0]
    settings = config.load(EvaluateSettings, config.read(args.params), "evaluate", dataset)
    lines = compare(args.root, sides, args.protocol, settings)
    print(tabulate(lines, HEADERS, tablefmt="github", floatfmt=FORMATS))


if __name__ == "__main__":
    cli.run(main)
