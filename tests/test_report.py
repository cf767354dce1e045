"""The headline report: the numbers of one run, and nothing that would clutter `dvc metrics
diff`.
"""

import json
import sys

import pytest

from reid.runtime.errors import InputError
from stages import report

COLUMNS = ["global", "local", "dmli", "global_dmli", "global_rk", "dmli_rk", "global_dmli_rk"]


def make_run():
    protocol = {
        column: {
            "rank1": 50.0 + i,
            "rank5": 60.0,
            "rank10": 70.0,
            "rank20": 80.0,
            "mAP": 40.1234 + i,
        }
        for i, column in enumerate(COLUMNS)
    }
    return {
        "dataset": "synthetic",
        "loss": "ls",
        "trunk": "resnet18",
        "full": protocol,
        "partial": protocol,
        "counts": {},
    }


def call(folder, monkeypatch, text):
    (folder / "run.json").write_text(text)
    monkeypatch.setattr(
        sys, "argv", ["report", str(folder / "run.json"), str(folder / "report.json")]
    )
    report.main()
    return json.loads((folder / "report.json").read_text())


def test_report_holds_rank1_and_map_of_every_column_in_order(tmp_path, monkeypatch):
    got = call(tmp_path, monkeypatch, json.dumps(make_run()))
    wanted = {column: {"rank1": 50.0 + i, "mAP": 40.1234 + i} for i, column in enumerate(COLUMNS)}
    assert got == {"dataset": "synthetic", "loss": "ls", "full": wanted, "partial": wanted}
    assert list(got["full"]) == COLUMNS


def test_missing_run_names_the_file_and_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["report", str(tmp_path / "none.json"), str(tmp_path / "report.json")]
    )
    with pytest.raises(InputError, match=r"none\.json.*dvc repro"):
        report.main()


@pytest.mark.parametrize(
    "text", ["", "not JSON", "[]", "{}", json.dumps(make_run()).replace("50.0", "NaN")]
)
def test_broken_run_writes_nothing(tmp_path, monkeypatch, text):
    with pytest.raises(InputError, match=r"run\.json"):
        call(tmp_path, monkeypatch, text)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json"]


def test_missing_column_is_named(tmp_path, monkeypatch):
    run = make_run()
    run["partial"] = {column: run["full"][column] for column in COLUMNS[:-1]}
    with pytest.raises(InputError, match=r"partial\.global_dmli_rk\.rank1. is missing"):
        call(tmp_path, monkeypatch, json.dumps(run))
