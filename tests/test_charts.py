"""The data of DVC's charts, and a training's curves as a run holds them."""

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from reid.arrays.names import COLUMNS
from reid.results import charts, history
from reid.runtime.errors import InputError
from tests.test_tables import make_run, tables_settings

DVC = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))
TEMPLATE = json.loads(Path(".dvc/plots/rows.json").read_text(encoding="utf-8"))


def files(runs, **sides):
    """Runs as cells of one seed each -> {file name: its lines}."""
    cells = {}
    for run in runs:
        cells.setdefault(run["dataset"], []).append([run])
    texts = charts.files(cells, tables_settings(**sides))
    return {name: list(csv.DictReader(io.StringIO(text))) for name, text in texts.items()}


def test_one_file_holds_all_rows():
    first = make_run(loss="softmax") | {
        "history": {"epoch": [1, 2], "loss": [2.5, 1.5], "accuracy": [0.25, 0.5]}
    }
    second = make_run(loss="ls") | {"history": {}}  # converted: no curves
    lines = files([first, second], losses=("softmax", "ls"))
    assert lines["training.csv"] == [
        {"row": "Softmax", "epoch": "1", "loss": "2.5", "accuracy": "0.25"},
        {"row": "Softmax", "epoch": "2", "loss": "1.5", "accuracy": "0.5"},
    ]
    assert [line["row"] for line in lines["cmc.csv"]] == ["Softmax"] * 2 + ["Alignedreid(LS)"] * 2
    assert lines["cmc.csv"][1] == {"row": "Softmax", "rank": "2"} | dict.fromkeys(COLUMNS, "95.0")


def test_rows_name_dataset_and_seed_where_there_are_several():
    runs = [make_run(dataset=name, seed=3) for name in ("synthetic", "a, b")]
    lines = files(runs, datasets=("synthetic", "market1501"), seeds=(3, 4))
    rows = dict.fromkeys(line["row"] for line in lines["cmc.csv"])
    assert list(rows) == ["Synthetic, Alignedreid, seed 3", "a, b, Alignedreid, seed 3"]


def test_dvc_draws_what_the_files_hold_once_for_all_rows():
    lines = files([make_run() | {"history": {"epoch": [1], "loss": [1.0], "accuracy": [1.0]}}])
    drawn = {name: chart for entry in DVC["plots"] for name, chart in entry.items()}
    assert list(drawn) == ["loss", "accuracy", "cmc"]
    for chart in drawn.values():
        (file, y), *more = chart["y"].items()
        assert not more
        assert {chart["x"], y, TEMPLATE["encoding"]["color"]["field"]} <= set(
            lines[Path(file).name][0]
        )
        assert chart["template"] == "rows"
    assert not any("plots" in stage for stage in DVC["stages"].values())


def test_history_is_read(tmp_path):
    file = tmp_path / "history.csv"
    file.write_text("epoch,loss,accuracy,images\n1,2.123456,0.25,8\n", encoding="utf-8")
    assert history.read(file) == {"epoch": [1], "loss": [2.1235], "accuracy": [0.25]}
    file.write_text("epoch\n300\n", encoding="utf-8")
    assert history.read(file) == {}


@pytest.mark.parametrize("text", [None, "epoch,loss\n1,2\n", "epoch,loss,accuracy\n1,x,2\n"])
def test_history_that_is_no_table_is_refused(tmp_path, text):
    file = tmp_path / "history.csv"
    if text:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot read .*history\.csv: .*train stage"):
        history.read(file)
