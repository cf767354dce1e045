"""Prepare a dataset: its raw folder, or the drawn benchmark -> a folder of each split, counts."""

import argparse
from pathlib import Path

from tabulate import tabulate

from reid import prepared
from reid.datasets import sources
from reid.datasets.sources import PrepareSettings
from reid.runtime import cli, config, outputs


def main() -> None:
    """Read, check and pack one dataset, then print how many people, images and cameras it has."""
    parser = argparse.ArgumentParser(prog="python -m stages.prepare", description=__doc__)
    parser.add_argument(
        "dataset", help="an entry under `datasets:` in params.yaml, such as market1501"
    )
    parser.add_argument(
        "out",
        type=Path,
        help="folder to write: images.zip and manifest.csv in train, query, query_partial and "
        "gallery, and statistics.json",
    )
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()

    params, where = config.read(args.params), f"datasets.{args.dataset}.source"
    source = config.entry(params, "datasets", args.dataset).get("source")
    settings = config.load(PrepareSettings, params, "prepare")
    with (
        cli.atomic_output(args.out) as out,
        outputs.draft(out.with_name(f"{args.out.name}.drawn")) as scratch,
    ):
        images = sources.images_to_pack(source, where, settings, scratch)
        statistics = prepared.write(out, images)
        sources.record(out, source, settings)
    rows = [{"subset": split, **counts} for split, counts in statistics.items()]
    print(tabulate(rows, headers={"people": "ids"}))


if __name__ == "__main__":
    cli.run(main)
