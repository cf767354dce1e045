"""Evaluate a folder of features in one go: distances, re-ranking, and the ranks and mAP of all
seven columns. The numbers are those of the stages; what lies between is removed at the end.
"""

import tempfile
from pathlib import Path
from typing import Any

from tabulate import tabulate

from reid.arrays import features, matrices, neighbours
from reid.arrays.features import Features
from reid.arrays.names import RERANKED
from reid.distances import all_pairs, resources
from reid.distances.compare import Comparison
from reid.distances.settings import DistanceSettings
from reid.lookup.settings import load
from reid.reranking.pair_distances import pair_distances
from reid.reranking.rerank import RerankSettings, rerank
from reid.results import cell
from reid.results.metrics import EvaluateSettings
from reid.runtime import cli
from reid.runtime.device import choose_device
from reid.tools import parser

KEYS = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")


def main() -> None:
    """Evaluate, and print a table for each protocol, or JSON."""
    arguments = parser.make("evaluate", str(__doc__), "features/synthetic/ls/0")
    arguments.add_argument(
        "features", type=Path, help="folder with gallery, query and, if there is one, query_partial"
    )
    arguments.add_argument("--json", action="store_true", help="print a run's JSON")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="reid-") as folder:
        run = evaluate(args.features, Path(folder))
    print(cell.text(run) if args.json else as_text(run))


def evaluate(folder: Path, work: Path) -> dict[str, Any]:
    """A folder of features -> the scores of every column and protocol, as `cell.evaluate` has them.

    Distances are written to `work`. Raises InputError as the stages do.
    """
    settings = load(DistanceSettings, "distances")
    comparison = Comparison(settings, choose_device(settings.device))
    gallery, queries = features.read_protocols(folder)
    resources.check(resources.estimate(gallery, [*queries.values()], settings), settings, work)
    all_pairs.write_distances(gallery, queries, comparison, work / "distances")
    for protocol, of_protocol in queries.items():
        _rerank(of_protocol, gallery, work / "distances" / protocol, work / "reranked" / protocol)
    evaluation = load(EvaluateSettings, "evaluate")
    return cell.evaluate(folder, work / "distances", work / "reranked", evaluation)


def _rerank(queries: Features, gallery: Features, distances: Path, out: Path) -> None:
    """Re-rank one protocol's three distances."""
    settings, shape = load(RerankSettings, "rerank"), (len(queries), len(gallery))
    by_name = matrices.read_all(distances, shape)
    nearest = neighbours.read(distances / "neighbours.npz")
    files = matrices.create(out, RERANKED, shape)
    for name in RERANKED:
        pairs = pair_distances(name, queries, gallery)
        rerank(by_name[name], nearest[name], pairs, settings, files[name])


def as_text(run: dict[str, Any]) -> str:
    """Return a table of percentages for each protocol."""
    tables = []
    for protocol, counts in run["counts"].items():
        rows = [
            [column, *(scores[key] for key in KEYS)] for column, scores in run[protocol].items()
        ]
        head = f"{protocol}: {counts['queries']:,} queries, {counts['gallery']:,} gallery images"
        table = tabulate(rows, ["column", *KEYS], tablefmt="github", floatfmt=".2f")
        tables.append(f"{head}\n{table}")
    return "\n\n".join(tables)


if __name__ == "__main__":
    cli.run(main)
