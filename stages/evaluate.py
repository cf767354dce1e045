"""Evaluate one run: distances and re-ranked distances -> ranks and mAP of every column and
protocol, as JSON.
"""

import argparse
from pathlib import Path

from reid.results import cell, provenance
from reid.results.metrics import EvaluateSettings
from reid.runtime import cli, config


def main() -> None:
    """Read three folders, evaluate every column, and write one JSON file."""
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    add = parser.add_argument
    add("features", type=Path, help="folder with pids and camids of gallery, query, query_partial")
    add("distances", type=Path, help="folder that the distances stage wrote")
    add("reranked", type=Path, help="folder that the rerank stage wrote")
    add("out", help="JSON file to write")
    run_only = "of the run, whose settings join the file; not for other systems' features"
    add("--dataset", help=f"dataset {run_only}")
    add("--loss", help="loss of the run, likewise")
    add("--seed", type=int, help="seed of the run, likewise")
    add("--training", help="training.json of the run, which lies beside its model, likewise")
    add("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()
    run_arguments = (args.dataset, args.loss, args.seed, args.training)
    if None in run_arguments and any(argument is not None for argument in run_arguments):
        parser.error("--dataset, --loss, --seed and --training go together")

    params = config.read(args.params)
    settings = config.load(EvaluateSettings, params, "evaluate")
    description = {}
    if args.training is not None:
        training = provenance.read(args.training)
        description = provenance.describe(params, args.dataset, args.loss, args.seed, training)
    with cli.atomic_output(args.out, is_file=True) as draft:
        scores = cell.evaluate(args.features, args.distances, args.reranked, settings)
        cell.write(draft, {**description, **scores})


if __name__ == "__main__":
    cli.run(main)
