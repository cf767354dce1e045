"""Evaluate one run: distances and re-ranked distances -> ranks, mAP, mINP, intervals and
verification of every column and protocol, as JSON.
"""

import argparse
import platform
from pathlib import Path

from reid.results import cell, history, provenance
from reid.results.metrics import EvaluateSettings
from reid.runtime import cli, config, made_by


def main() -> None:
    """Read three folders, evaluate every column, and write one JSON file."""
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    add = parser.add_argument
    add("features", type=Path, help="folder with pids and camids of gallery, query, query_partial")
    add("distances", type=Path, help="folder that the distances stage wrote")
    add("reranked", type=Path, help="folder that the rerank stage wrote")
    add("out", help="JSON file to write")
    run_only = "of the run, which joins the file; not for other systems' features"
    add("--dataset", help=f"dataset {run_only}; its entry may name the metric")
    add("--loss", help="loss of the run, likewise")
    add("--seed", type=int, help="seed of the run, likewise")
    add("--training", type=Path, help="training.json of the run, beside model and history.csv")
    add("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()
    identity = (args.dataset, args.loss, args.seed)
    run_arguments = (*identity, args.training)
    if None in run_arguments and any(argument is not None for argument in run_arguments):
        parser.error("--dataset, --loss, --seed and --training go together")

    params, folders = config.read(args.params), (args.features, args.distances, args.reranked)
    settings = config.load(EvaluateSettings, params, "evaluate", args.dataset)
    this = made_by.document("stages.evaluate", settings, {}, platform.machine())
    made = provenance.of_folders(*folders, this)
    provenance.warn_of_metric(made, settings.metric)
    head, curves = {"provenance": made}, {}
    if args.training is not None:
        head = provenance.of_run(identity, args.training, args.features, made)
        curves = {"history": history.read(args.training.with_name("history.csv"))}
    inputs = (*folders, args.params)
    with cli.atomic_output(args.out, is_file=True, inputs=inputs) as draft:
        scores = cell.evaluate(*folders, settings)
        cell.write(draft, {**head, "metric": settings.metric, **scores, **curves})


if __name__ == "__main__":
    cli.run(main)
