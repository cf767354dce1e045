"""Evaluate one cell: distances and re-ranked distances -> ranks and mAP of every column and
protocol, as JSON.
"""

import argparse
import json
from pathlib import Path

from reid.results import cell, provenance
from reid.results.metrics import EvaluateSettings
from reid.runtime import cli, config


def main() -> None:
    """Read three folders, evaluate every column, and write one JSON file."""
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument(
        "features",
        type=Path,
        help="folder with the pids and camids of gallery, query, query_partial",
    )
    parser.add_argument("distances", type=Path, help="folder that the distances stage wrote")
    parser.add_argument("reranked", type=Path, help="folder that the rerank stage wrote")
    parser.add_argument("out", help="JSON file to write")
    parser.add_argument(
        "--dataset",
        help="the cell's dataset: its settings join the file; not for other systems' features",
    )
    parser.add_argument("--loss", help="the cell's loss, likewise")
    parser.add_argument(
        "--training", help="the cell's training.json, which lies beside its model, likewise"
    )
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()
    if len({value is None for value in (args.dataset, args.loss, args.training)}) == 2:
        parser.error("--dataset, --loss and --training go together")

    params = config.read(args.params)
    settings = config.settings(EvaluateSettings, config.section(params, "evaluate"), "evaluate")
    about = (
        cell.described(params, args.dataset, args.loss, provenance.read(args.training))
        if args.training
        else {}
    )
    with cli.whole(args.out) as out:
        run = cell.evaluate(args.features, args.distances, args.reranked, settings)
        out.write_text(json.dumps({**about, **run}, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main)
