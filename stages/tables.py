"""Make the tables: the evaluated runs -> a Markdown and a JSON table per dataset and protocol."""

import argparse
from pathlib import Path

from reid.results import cell, tables
from reid.results.tables import TablesSettings
from reid.runtime import cli, config


def main() -> None:
    """Read every cell's runs, and write every table in the published layout."""
    parser = argparse.ArgumentParser(prog="python -m stages.tables", description=__doc__)
    parser.add_argument(
        "runs", type=Path, help="folder of <dataset>/<loss>/<seed>.json, written by stages.evaluate"
    )
    parser.add_argument("out", type=Path, help="folder to write: <dataset>[_partial].md and .json")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()
    settings = config.load(TablesSettings, config.read(args.params), "tables")
    cells = {
        dataset: [
            cell.read_cell(args.runs / dataset / loss, settings.seeds) for loss in settings.losses
        ]
        for dataset in settings.datasets
    }
    pages = tables.pages(cells, settings)
    with cli.atomic_output(args.out) as draft:
        draft.mkdir()
        for name, text in pages.items():
            (draft / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
