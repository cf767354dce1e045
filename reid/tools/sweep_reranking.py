"""Rank-1 and mAP of the re-ranked distances for every combination of some k1, k2 and lambda, in
seconds.

What a combination shares with the one before is not computed again: sets and weights depend on k1,
their mean and the Jaccard distances on k1 and k2, and another lambda is another sum. The scores
are those of the stages rerank and evaluate; no file lies between.
"""

import argparse
import csv
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from reid.arrays import features, matrices, neighbours
from reid.arrays.features import Identities
from reid.arrays.matrices import Matrix
from reid.arrays.names import PROTOCOLS, RERANKED
from reid.arrays.neighbours import Neighbours
from reid.reranking import rerank
from reid.reranking.pair_distances import pair_distances
from reid.reranking.rerank import PairDistances, RerankSettings
from reid.results import metrics
from reid.results.metrics import EvaluateSettings, Scores
from reid.runtime import cli, config, made_by
from reid.runtime.errors import InputError
from reid.runtime.resources import check_memory
from reid.runtime.settings import make
from reid.tools.parser import make as make_parser


def sweep(
    distances: Matrix,
    nearest: Neighbours,
    missing_pairs: PairDistances,
    grid: list[RerankSettings],
    score: Callable[[Matrix], Scores],
) -> dict[RerankSettings, Scores]:
    """Distances [Q, G] and neighbours of all Q + G images, as for `rerank` -> scores by settings.

    Holds one matrix [Q, G] of Jaccard distances. Raises InputError when too few neighbours are
    stored for any settings, and when memory cannot hold that matrix.
    """
    for settings in grid:
        rerank.check_neighbours(distances.shape, nearest, settings)
    _check_matrix(*distances.shape)
    scores = {}
    by_k1 = sorted(grid, key=lambda settings: (settings.k1, settings.k2, settings.lambda_value))
    for k1, same_k1 in itertools.groupby(by_k1, lambda settings: settings.k1):
        encoding = rerank.encode(nearest, missing_pairs, k1)
        for k2, same_k2 in itertools.groupby(same_k1, lambda settings: settings.k2):
            mean = rerank.mean_of_nearest(encoding, nearest, k2)
            by_rows = rerank.jaccard_matrix(mean, distances.shape)
            jaccard = rerank.fill(np.empty(distances.shape, np.float32), by_rows)
            for settings in same_k2:
                lambda_value = settings.lambda_value
                scores[settings] = score(
                    rerank.mixed_matrix(jaccard, distances, nearest, lambda_value)
                )
    return scores


def _check_matrix(queries: int, gallery: int) -> None:
    """Raise InputError where memory cannot hold a matrix [Q, G]."""
    check_memory(
        4 * queries * gallery,
        f"the Jaccard distances of {queries} queries x {gallery} gallery images",
        "sweep on a smaller set, or run the stages rerank and evaluate instead",
    )


def table(
    folders: tuple[Path, Path],
    protocol: str,
    grid: list[RerankSettings],
    settings: EvaluateSettings,
) -> list[dict[str, Any]]:
    """Folders of features and distances -> a row for each settings: k1, k2, lambda_value, rank-1
    and mAP in percent.

    Raises InputError for files that are missing, broken or of different runs, and for too few
    neighbours.
    """
    if protocol not in matrices.protocols_in(folders[1]):
        raise InputError(
            f"{folders[1]} has no distances of the protocol {protocol}: name the other with "
            "--protocol."
        )
    made_by.check_input(folders[1], "features", folders[0], features.made_by_of)
    gallery = features.read(folders[0] / "gallery")
    queries = features.read(folders[0] / PROTOCOLS[protocol])
    sides = [Identities(side.pids, side.camids) for side in (queries, gallery)]
    distances = matrices.read_all(folders[1] / protocol, (len(queries), len(gallery)))
    nearest = neighbours.read(folders[1] / protocol / "neighbours.npz")
    rows = {reranking: dict(vars(reranking)) for reranking in grid}
    with tqdm(total=len(RERANKED) * len(grid), desc="sweeping", delay=2, leave=False) as bar:

        def score(matrix: Matrix) -> Scores:
            bar.update()
            return metrics.score(matrix, *sides, settings)

        for name in RERANKED:
            pairs = pair_distances(name, queries, gallery)
            scores = sweep(distances[name], nearest[name], pairs, grid, score)
            for reranking, row in rows.items():
                percentages = metrics.percentages(scores[reranking])
                row |= {f"{name}_rk_{key}": percentages[key] for key in ("rank1", "mAP")}
    return list(rows.values())


def main() -> None:
    """Parse the command line, print the table, and write it to `--out` where that is given."""
    args = _parser().parse_args()
    params = config.read(args.params)
    default = vars(config.load(RerankSettings, params, "rerank"))
    values = [getattr(args, name) or [value] for name, value in default.items()]
    options = {name: f"--{name.replace('_', '-')}" for name in default if getattr(args, name)}
    grid = [
        make(RerankSettings, dict(zip(default, chosen, strict=True)), "rerank", options)
        for chosen in dict.fromkeys(itertools.product(*values))
    ]
    settings = config.load(EvaluateSettings, params, "evaluate", args.dataset)
    folders = (args.features, args.distances)
    output = cli.atomic_output(args.out, True, (*folders, args.params)) if args.out else None
    with output or nullcontext() as out:
        rows = table(folders, args.protocol, grid, settings)
        print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".2f"))
        if out:
            _write(out, rows)


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "sweep", str(__doc__).partition("\n\n")[0], "FEATURES DISTANCES --k1 10 20 30"
    )
    parser.add_argument(
        "features", type=Path, help="the folder that the distances were computed from"
    )
    parser.add_argument("distances", type=Path, help="folder that the distances stage wrote")
    several = "one or more (default: that of params.yaml)"
    parser.add_argument("--k1", type=int, nargs="+", help=several)
    parser.add_argument("--k2", type=int, nargs="+", help=several)
    parser.add_argument("--lambda-value", type=float, nargs="+", help=several)
    parser.add_argument(
        "--protocol", choices=PROTOCOLS, default="full", help="default: %(default)s"
    )
    parser.add_argument("--dataset", help="dataset whose entry may name the metric")
    parser.add_argument("--out", help="CSV file to write as well")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    return parser


if __name__ == "__main__":
    cli.run(main)
