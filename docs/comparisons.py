"""Print the differences that docs/results.md speaks of, as Markdown: `python docs/comparisons.py`.

Each row of the tables less the one before it, and columns of a row less each other: the mean
difference over the seeds, in points, and in how many seeds the paired test finds it above 0 (+)
and below (-).
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from tabulate import tabulate

from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.results import uncertainty
from reid.results.metrics import EvaluateSettings
from reid.results.tables import TITLES, TablesSettings
from reid.runtime import cli, config
from reid.tools import compare

Lines = list[list[str]]


class Differences:
    """The comparisons of one dataset's runs, whose folders lie under `root`."""

    def __init__(self, root: Path, dataset: str, tables: TablesSettings, params: dict) -> None:
        self.root, self.dataset, self.tables = root, dataset, tables
        self.settings = config.load(EvaluateSettings, params, "evaluate", dataset)

    def cell(self, first: tuple[str, str], second: tuple[str, str], protocol: str) -> str:
        """Two sides, each a loss and a column -> their difference by rank-1 and by mAP."""
        by_seed = []
        for seed in self.tables.seeds:
            sides = self._side(first, seed), self._side(second, seed)
            by_seed.append(compare.compare(self.root, sides, protocol, self.settings))
        return " / ".join(map(_text, zip(*by_seed, strict=True)))

    def _side(self, side: tuple[str, str], seed: int) -> compare.Side:
        return compare.parse(f"{self.dataset}/{side[0]}/{seed}:{side[1]}")

    def rows(self, protocol: str) -> Lines:
        """A line for each row and the one before it."""
        return [
            [
                f"{self.tables.name(after)} - {self.tables.name(before)}",
                *(self.cell((after, name), (before, name), protocol) for name in COLUMNS),
            ]
            for before, after in itertools.pairwise(self.tables.losses)
        ]

    def columns(self, protocol: str) -> Lines:
        """A line for each pair of columns that the tables test."""
        losses = self.tables.losses
        return [
            [
                f"{TITLES[first]} - {TITLES[second]}",
                *(self.cell((loss, first), (loss, second), protocol) for loss in losses),
            ]
            for first, second in uncertainty.COMPARISONS
        ]


def _text(of_seeds: tuple[compare.Line, ...]) -> str:
    """The seeds' lines of one measure -> <mean difference> (<seeds above 0>+ <below>-)."""
    sure = [line.difference for line in of_seeds if line.p < uncertainty.NOISE]
    above, below = sum(value > 0 for value in sure), sum(value < 0 for value in sure)
    return f"{np.mean([line.difference for line in of_seeds]):+.1f} ({above}+ {below}-)"


def main() -> None:
    """Print two tables for each protocol."""
    parser = argparse.ArgumentParser(prog="python docs/comparisons.py", description=__doc__)
    parser.add_argument("--root", type=Path, default=".", help="folder that holds features, ...")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()
    params = config.read(args.params)
    tables = config.load(TablesSettings, params, "tables")
    differences = Differences(args.root, params["dataset"], tables, params)
    for protocol in PROTOCOLS:
        print(f"\n{protocol} queries, seeds {tables.seeds}, rank-1 / mAP\n")
        print(tabulate(differences.rows(protocol), ["rows", *TITLES.values()], "github"), "\n")
        names = [*map(tables.name, tables.losses)]
        print(tabulate(differences.columns(protocol), ["columns", *names], "github"))


if __name__ == "__main__":
    cli.run(main)
