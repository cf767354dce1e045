"""Make the page: the headline dataset's folders -> report/index.html, which shows its results and
what was retrieved.
"""

import argparse
from pathlib import Path

from reid.page import contents, render
from reid.page.choose import PageSettings
from reid.page.run import Folders
from reid.results.metrics import EvaluateSettings
from reid.results.tables import TablesSettings
from reid.runtime import cli, config


def main() -> None:
    """Read a dataset's folders, gather what the page shows, and write one HTML file."""
    parser = argparse.ArgumentParser(prog="python -m stages.page", description=__doc__)
    add = parser.add_argument
    add("data", type=Path, help="folder that the prepare stage wrote")
    add("models", type=Path, help="folder of <loss>/<seed>/history.csv")
    add("features", type=Path, help="folder of <loss>/<seed>, written by stages.extract")
    add("distances", type=Path, help="folder of <loss>/<seed>, written by stages.distances")
    add("reranked", type=Path, help="folder of <loss>/<seed>, written by stages.rerank")
    add("runs", type=Path, help="folder of <loss>/<seed>.json, written by stages.evaluate")
    add("tables", type=Path, help="folder that stages.tables wrote")
    add("out", type=Path, help="folder to write: index.html")
    add("--dataset", required=True, help="dataset of the headline")
    add("--loss", required=True, help="loss of the headline, whose queries are shown")
    add("--params", default="params.yaml", help="settings (default: %(default)s)")
    args = vars(parser.parse_args())
    params, identity = config.read(args.pop("params")), (args.pop("dataset"), args.pop("loss"))
    settings = (
        config.load(TablesSettings, params, "tables"),
        config.load(EvaluateSettings, params, "evaluate", identity[0]),
        config.load(PageSettings, params, "page"),
    )
    with cli.atomic_output(args.pop("out")) as draft:
        text = render.html(contents.gather(Folders(**args), identity, settings))
        draft.mkdir()
        (draft / "index.html").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
