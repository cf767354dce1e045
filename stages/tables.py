"""Stage tables: the evaluated cells -> a Markdown and a JSON table per dataset and protocol."""

import argparse
import json
from pathlib import Path
from typing import Any

from reid.results import tables
from reid.runtime import cli, config
from reid.runtime.errors import InputError


def read_cell(runs: Path, dataset: str, loss: str) -> dict[str, Any]:
    """The run of one cell. Raises InputError when its file is missing, broken, or another
    cell's.
    """
    path = runs / dataset / f"{loss}.json"
    try:
        run = tables.parse_run(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror}): params.yaml names {dataset} and {loss} under "
            f"`tables:`. Make it with `dvc repro evaluate@{dataset}-{loss}`."
        ) from None
    if (run["dataset"], run["loss"]) != (dataset, loss):
        raise InputError(
            f"{path} holds the cell {run['dataset']}-{run['loss']}, wanted {dataset}-{loss}: was "
            f"the file copied or renamed? Make it again with `dvc repro evaluate@{dataset}-{loss}`."
        )
    return run


def main() -> None:
    """Read every cell, and write every table in the published layout."""
    parser = argparse.ArgumentParser(prog="python -m stages.tables", description=__doc__)
    parser.add_argument(
        "runs", type=Path, help="folder of <dataset>/<loss>.json, written by stages.evaluate"
    )
    parser.add_argument("out", type=Path, help="folder to write: <dataset>[_partial].md and .json")
    parser.add_argument(
        "--params", default="params.yaml", help="the settings, params.yaml by default"
    )
    arguments = parser.parse_args()
    settings = config.settings(
        tables.TablesSettings, config.section(config.read(arguments.params), "tables"), "tables"
    )
    cells = {
        name: [read_cell(arguments.runs, name, loss) for loss in settings.losses]
        for name in settings.datasets
    }
    with cli.whole(arguments.out) as draft:
        draft.mkdir()
        for dataset, runs in cells.items():
            for protocol in tables.PROTOCOLS:
                rows = tables.rows(runs, protocol, settings)
                page = tables.markdown(rows, dataset, protocol, settings)
                stem = draft / tables.file_name(dataset, protocol)
                stem.with_name(f"{stem.name}.md").write_text(page)
                stem.with_name(f"{stem.name}.json").write_text(
                    json.dumps(rows, indent=2, allow_nan=False) + "\n"
                )


if __name__ == "__main__":
    cli.run(main)
