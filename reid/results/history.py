"""A training's curves: history.csv, which the train stage writes, as a run's JSON holds them."""

import csv
from pathlib import Path

from reid.runtime.errors import InputError

CURVES = ("loss", "accuracy")


def read(file: str | Path) -> dict[str, list[float]]:
    """history.csv -> {"epoch": [E], "loss": [E], "accuracy": [E]}, to 4 decimals.

    Nothing of a converted model, whose file has no losses. Raises InputError when the file is
    missing or no such table.
    """
    try:
        with Path(file).open(newline="", encoding="utf-8") as lines:
            table = csv.DictReader(lines)
            rows = list(table)
        if not set(CURVES) & set(table.fieldnames or ()):
            return {}
        return {
            "epoch": [int(float(row["epoch"])) for row in rows],
            **{name: [round(float(row[name]), 4) for row in rows] for name in CURVES},
        }
    except OSError as error:
        reason = error.strerror or str(error)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it has no number an epoch for epoch, loss and accuracy: {error}"
    raise InputError(
        f"cannot read {file}: {reason}. It lies beside the model: make both again with the train "
        "stage."
    )
