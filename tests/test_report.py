"""The headline report: the mean over a cell's seeds, and nothing that would clutter `dvc metrics
diff`.
"""

import json
import sys

import pytest
import yaml

from reid.runtime.errors import InputError
from stages import report
from tests.test_tables import make_details

COLUMNS = ["global", "local", "dmli", "global_dmli", "global_rk", "dmli_rk", "global_dmli_rk"]
NUMBERS = {"rank1": 50.0, "rank5": 60.0, "rank10": 70.0, "rank20": 80.0, "mAP": 40.1234}


def make_run(seed=0):
    """Rank-1 50, 51, ... and mAP 40.1234, 41.1234, ... by column, 2 higher for each seed."""
    protocol = {
        column: NUMBERS | {"rank1": 50.0 + i + 2 * seed, "mAP": 40.1234 + i + 2 * seed}
        for i, column in enumerate(COLUMNS)
    }
    run = {"dataset": "synthetic", "loss": "ls", "seed": seed, "trunk": "resnet18", "counts": {}}
    return run | {"full": protocol, "partial": protocol, **make_details()}


def write(folder, texts, seeds=(0,)):
    """Write params.yaml with these seeds, and {seed: text} as the runs of synthetic-ls."""
    tables = {"datasets": ["synthetic"], "losses": ["ls"], "seeds": list(seeds), "names": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump({"tables": tables}))
    (folder / "runs/synthetic/ls").mkdir(parents=True)
    for seed, text in texts.items():
        (folder / f"runs/synthetic/ls/{seed}.json").write_text(text)


def call(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["report", "runs/synthetic/ls", "report.json"])
    report.main()
    return json.loads((folder / "report.json").read_text())


def test_report_holds_rank1_and_map_of_every_column_in_order(tmp_path, monkeypatch):
    write(tmp_path, {0: json.dumps(make_run())})
    got = call(tmp_path, monkeypatch)
    wanted = {column: {"rank1": 50.0 + i, "mAP": 40.1234 + i} for i, column in enumerate(COLUMNS)}
    identity = {"dataset": "synthetic", "loss": "ls", "seeds": [0]}
    assert got == {**identity, "full": wanted, "partial": wanted}
    assert list(got["full"]) == COLUMNS


def test_report_is_the_mean_over_the_seeds_of_params_and_of_no_other(tmp_path, monkeypatch):
    """Seeds 0, 1, 2 are 2 apart: the mean is that of seed 1, the deviation 2."""
    texts = {seed: json.dumps(make_run(seed)) for seed in (0, 1, 2)}
    write(tmp_path, {**texts, 7: "of a seed that params.yaml does not name now"}, (0, 1, 2))
    got = call(tmp_path, monkeypatch)
    assert got["seeds"] == [0, 1, 2]
    assert got["partial"]["local"] == {"rank1": 53.0, "mAP": 43.1234}
    assert got["deviations"]["full"] == {key: {"rank1": 2.0, "mAP": 2.0} for key in COLUMNS}


def test_missing_run_names_the_file_and_the_command(tmp_path, monkeypatch):
    write(tmp_path, {0: json.dumps(make_run())}, (0, 1))
    with pytest.raises(InputError, match=r"ls/1\.json.*`dvc repro evaluate@synthetic-ls-1`"):
        call(tmp_path, monkeypatch)
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    "text", ["", "not JSON", "[]", "{}", json.dumps(make_run()).replace("50.0", "NaN")]
)
def test_broken_run_writes_nothing(tmp_path, monkeypatch, text):
    write(tmp_path, {0: text})
    with pytest.raises(InputError, match=r"0\.json"):
        call(tmp_path, monkeypatch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "runs"]


def test_missing_column_is_named(tmp_path, monkeypatch):
    run = make_run()
    run["partial"] = {column: run["full"][column] for column in COLUMNS[:-1]}
    write(tmp_path, {0: json.dumps(run)})
    with pytest.raises(InputError, match=r"partial\.global_dmli_rk\.rank1. is missing"):
        call(tmp_path, monkeypatch)
