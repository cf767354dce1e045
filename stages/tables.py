"""Make the tables: the evaluated runs -> a Markdown and a JSON table per dataset and protocol, and
the data of DVC's charts.
"""

import argparse
from pathlib import Path

from reid.results import cell, charts, tables
from reid.results.tables import TablesSettings
from reid.runtime import cli, config


def main() -> None:
    """Read every cell's runs, and write every table in the published layout."""
    parser = argparse.ArgumentParser(prog="python -m stages.tables", description=__doc__)
    parser.add_argument(
        "runs", type=Path, help="folder of <dataset>/<loss>/<seed>.json, written by stages.evaluate"
    )
    written = "folder to write: <dataset>[_partial].md and .json, and plots"
    parser.add_argument("out", type=Path, help=written)
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()
    settings = config.load(TablesSettings, config.read(args.params), "tables")
    cells = {
        dataset: [
            cell.read_cell(args.runs / dataset / loss, settings.seeds) for loss in settings.losses
        ]
        for dataset in settings.datasets
    }
    files = tables.pages(cells, settings)
    files |= {f"plots/{name}": text for name, text in charts.files(cells, settings).items()}
    with cli.atomic_output(args.out) as draft:
        (draft / "plots").mkdir(parents=True)
        for name, text in files.items():
            (draft / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
