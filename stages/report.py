"""Write the headline: the evaluated runs of one cell -> the headline that `dvc metrics diff`
compares.
"""

import argparse
import json
from pathlib import Path

from reid.results import cell, seeds
from reid.results.tables import TablesSettings
from reid.runtime import cli, config


def main() -> None:
    """Read a cell's runs and write rank-1 and mAP of every column and protocol, the means over the
    seeds.
    """
    parser = argparse.ArgumentParser(prog="python -m stages.report", description=__doc__)
    parser.add_argument(
        "runs", type=Path, help="folder <dataset>/<loss> of <seed>.json, written by stages.evaluate"
    )
    parser.add_argument("out", type=Path, help="file to write, such as metrics/report.json")
    parser.add_argument("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = parser.parse_args()
    settings = config.load(TablesSettings, config.read(args.params), "tables")
    report = seeds.headline(cell.read_cell(args.runs, settings.seeds))
    with cli.atomic_output(args.out, is_file=True, inputs=(args.runs, args.params)) as draft:
        draft.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
