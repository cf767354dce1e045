"""Draw docs/ablation.png, the README's figure, from the committed metrics/tables/*.json: `python
docs/figures.py`.

Run it from the project's folder, with the project installed (`pip install -e .`).
"""

import json
from pathlib import Path

from reid.results import plots
from reid.runtime import cli
from reid.runtime.errors import InputError


def main() -> None:
    """Read every table of metrics/tables, sorted by name, and draw them into one figure."""
    tables = {}
    for path in sorted(Path("metrics/tables").glob("*.json")):
        try:
            tables[path.stem.replace("_partial", ", partial queries")] = json.loads(
                path.read_bytes()
            )
        except ValueError as error:
            raise InputError(
                f"{path} is not valid JSON: {error}. Make it again with `dvc repro tables`."
            ) from None
    with cli.atomic_output("docs/ablation.png", is_file=True) as draft:
        plots.ablation_figure(tables, draft)


if __name__ == "__main__":
    cli.run(main)
