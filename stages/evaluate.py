"""Evaluate one cell: distances and re-ranked distances -> ranks and mAP of every column and protocol, as JSON."""

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reid import command, config, evaluation, features, matrices
from reid.evaluation import EvaluateSettings
from reid.matrices import PROTOCOLS

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "Pillow")


def provenance(params: dict[str, Any], dataset: str, loss: str) -> dict[str, Any]:
    """The settings that made a cell, and the versions it was made with."""
    return {
        "source": config.entry(params, "datasets", dataset).get("source"),
        **{
            name: config.section(params, name, dataset)
            for name in ("model", "train", "distances", "rerank", "evaluate")
        },
        "loss": config.entry(params, "losses", loss),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("features", type=Path, help="folder with the pids and camids of gallery, query, query_partial")
    parser.add_argument("distances", type=Path, help="folder that the distances stage wrote")
    parser.add_argument("reranked", type=Path, help="folder that the rerank stage wrote")
    parser.add_argument("out", help="JSON file to write")
    parser.add_argument("--dataset", required=True, help="an entry of `datasets` in params.yaml")
    parser.add_argument("--loss", required=True, help="an entry of `losses` in params.yaml")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    params = config.read(args.params)
    settings = config.settings(EvaluateSettings, config.section(params, "evaluate"), "evaluate")
    made_with = provenance(params, args.dataset, args.loss)
    run = {"dataset": args.dataset, "loss": args.loss, "trunk": made_with["model"]["trunk"], "counts": {}}
    gallery = features.read_labels(args.features / "gallery")
    for protocol in matrices.protocols_in(args.distances):
        queries = features.read_labels(args.features / PROTOCOLS[protocol])
        shape = (len(queries.pids), len(gallery.pids))
        columns = matrices.read_columns(args.distances / protocol, args.reranked / protocol, shape)
        labels = (queries.pids, gallery.pids, queries.camids, gallery.camids)
        with tqdm(columns.items(), desc=f"evaluating {protocol}", unit="column", delay=1) as bar:
            scores = {name: evaluation.score(matrix, *labels, settings) for name, matrix in bar}
        run[protocol] = {name: evaluation.percentages(score) for name, score in scores.items()}
        some = scores["global"]
        run["counts"][protocol] = {
            "queries": some.queries,
            "queries_without_match": some.queries_without_match,
            "gallery": shape[1],
        }
    with command.whole(args.out) as out:
        out.write_text(json.dumps({**run, "provenance": made_with}, indent=2) + "\n")


if __name__ == "__main__":
    command.run(main)
