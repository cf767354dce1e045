"""Stage report: one evaluated cell -> the headline numbers that `dvc metrics diff` compares."""

import argparse
import json
from pathlib import Path

from reid.results import tables
from reid.runtime import cli
from reid.runtime.errors import InputError


def main() -> None:
    """Read one run and write its rank-1 and mAP of every column, both protocols."""
    parser = argparse.ArgumentParser(prog="python -m stages.report", description=__doc__)
    parser.add_argument("run", type=Path, help="<dataset>/<loss>.json, written by stages.evaluate")
    parser.add_argument("out", type=Path, help="file to write, such as metrics/report.json")
    arguments = parser.parse_args()
    try:
        text = arguments.run.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {arguments.run} ({error.strerror}): the report needs the headline cell, "
            "which `dataset` and `loss` at the top of params.yaml select; both must also be named "
            "under `tables:`. Make it with `dvc repro report`."
        ) from None
    report = tables.headline(tables.parse_run(text, str(arguments.run)))
    with cli.whole(arguments.out) as draft:
        draft.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    cli.run(main)
