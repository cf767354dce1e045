"""Several seeds of one row: mean and spread by hand, one seed as it always was, and rows that are
none refused.
"""

import copy
import json
import math
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from reid.results import paper, plots, seeds, tables
from reid.results.tables import TablesSettings
from reid.runtime.errors import InputError

NAMES = {
    "ls": "Alignedreid(LS)", "ls_1": "Alignedreid(LS)", "ls_2": "Alignedreid(LS)",
    "alignedreid": "Alignedreid", "resnet50": "Resnet50", "resnet18": "Resnet18", "synthetic": "Synthetic",
}  # fmt: skip
SETTINGS = TablesSettings(("synthetic",), ("ls",), NAMES)


def make_run(loss="ls", seed=0, rank1=70.0, map_=50.0, dataset="synthetic"):
    """A run with the same numbers in every column."""
    protocol = {column: {"rank1": rank1, "mAP": map_} for column in tables.COLUMNS}
    provenance = {
        "model": {"trunk": "resnet50", "height": 256},
        "train": {"epochs": 300, "seed": seed},
        "loss": {"label_smoothing": 0.1},
        "evaluate": {"metric": "market1501", "seed": 0},
        "versions": {"torch": "2.11.0"},
        "training": {
            "seconds": 10.0 + seed,
            "data": {"fingerprint": "ab", "people": 2, "images": 8},
            "seed": seed,
        },
    }
    run = {"dataset": dataset, "loss": loss, "trunk": "resnet50", "provenance": provenance}
    return run | {"full": protocol, "partial": copy.deepcopy(protocol)}


@pytest.fixture
def three():
    """Rank-1 70, 71, 72: mean 71, deviation 1. mAP 50, 50, 53: mean 51, deviation sqrt((1 + 1 + 4)
    / 2).
    """
    return [
        make_run("ls", 0, 70.0, 50.0),
        make_run("ls_1", 1, 71.0, 50.0),
        make_run("ls_2", 2, 72.0, 53.0),
    ]


def lines(runs, protocol="full"):
    page = tables.markdown(
        tables.rows(runs, protocol, SETTINGS), runs[0]["dataset"], protocol, SETTINGS
    )
    return [line for line in page.splitlines() if line.startswith("| R")], page


@pytest.mark.parametrize("protocol", ["full", "partial"])
def test_three_seeds_by_hand(three, protocol):
    (row,) = tables.rows(three, protocol, SETTINGS)
    assert (row["model"], row["loss"], row["source"]) == ("Resnet50", "Alignedreid(LS)", "ours")
    assert row["seeds"] == [0, 1, 2]
    for column in tables.COLUMNS:
        assert row["columns"][column] == {"rank1": 71.0, "mAP": 51.0}
        assert row["deviations"][column] == {"rank1": 1.0, "mAP": round(math.sqrt(3), 4)}
        assert row["values"][column] == {"rank1": [70.0, 71.0, 72.0], "mAP": [50.0, 50.0, 53.0]}
    cells, page = lines(three, protocol)
    assert [cell.strip() for cell in cells[0].strip("|").split("|")] == [
        "Resnet50",
        "Alignedreid(LS), 3 seeds",
        *["71.0±1.0/51.0±1.7"] * 5,
    ]
    assert (
        "Cells are rank-1/mAP in percent. Over several seeds: mean±sample standard deviation.\n"
        in page
    )


def test_two_seeds_with_one_equal_metric():
    cells, _ = lines([make_run("ls", 0, 70.0, 50.0), make_run("ls_1", 7, 71.0, 50.0)])
    assert "Alignedreid(LS), 2 seeds" in cells[0]
    assert "70.5±0.7/50.0±0.0" in cells[0]  # sqrt(1/2)


def test_one_seed_is_what_it_was():
    run = make_run()
    (row,) = tables.rows([run], "full", SETTINGS)
    columns = {column: {"rank1": 70.0, "mAP": 50.0} for column in tables.COLUMNS}
    assert row == {
        "model": "Resnet50",
        "loss": "Alignedreid(LS)",
        "source": "ours",
        "columns": columns,
    }
    cells, page = lines([run])
    assert "±" not in page
    assert "seeds" not in page
    assert "| Alignedreid(LS) | 70.0/50.0 " in cells[0].replace("  ", " ")


def test_rows_keep_the_place_of_their_first(three):
    other = make_run("alignedreid", 0)
    other["provenance"]["loss"]["label_smoothing"] = 0.0
    rows = tables.rows([three[2], other, three[0], three[1]], "full", SETTINGS)
    assert [(row["loss"], row.get("seeds")) for row in rows] == [
        ("Alignedreid(LS)", [2, 0, 1]),
        ("Alignedreid", None),
    ]


def test_another_trunk_of_the_same_name_is_another_row(three):
    three[2]["trunk"] = three[2]["provenance"]["model"]["trunk"] = "resnet18"
    rows = tables.rows(three, "full", SETTINGS)
    assert [(row["model"], row.get("seeds")) for row in rows] == [
        ("Resnet50", [0, 1]),
        ("Resnet18", None),
    ]


def test_the_published_numbers_are_the_firsts_and_compared_with_the_mean(three):
    for run in three:
        run["dataset"] = "market1501"
    _, theirs, difference = tables.rows(three, "full", SETTINGS)
    assert theirs["columns"] == paper.columns("market1501", "full", "ls")
    assert difference["columns"]["global"] == {
        "rank1": round(71.0 - 90.6, 4),
        "mAP": round(51.0 - 77.7, 4),
    }
    assert set(difference) == set(theirs) == {"model", "loss", "source", "columns"}
    cells, _ = lines(three)
    assert "| Alignedreid(LS), difference |" in cells[2].replace("  ", " ")
    assert "±" not in cells[1] + cells[2]
    assert (
        len(tables.rows([three[1], three[0]], "full", SETTINGS)) == 1
    )  # for `ls_1` nothing is published


def change(run, path, value):
    inner = run["provenance"]
    for key in path.split(".")[:-1]:
        inner = inner[key]
    inner[path.split(".")[-1]] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.height", 384),
        ("train.epochs", 60),
        ("loss.label_smoothing", 0.2),
        ("evaluate.seed", 1),
        ("training.data.fingerprint", "cd"),
        ("loss.new", True),
    ],
)
def test_other_settings_are_refused_by_name(three, path, value):
    change(three[2], path, value)
    told = rf"synthetic-ls and synthetic-ls_2 are both called 'Alignedreid\(LS\)'.*`{path}` differs: got .*{value}"
    with pytest.raises(InputError, match=told):
        tables.rows(three, "full", SETTINGS)


def test_the_first_setting_that_differs_is_named(three):
    change(three[1], "loss.label_smoothing", 0.2)
    change(three[1], "train.epochs", 60)
    with pytest.raises(InputError, match=r"`train.epochs` differs: got 300 and 60"):
        tables.rows(three, "full", SETTINGS)


def test_a_converted_model_is_no_seed_of_a_trained_one(three):
    change(three[1], "train", None)
    with pytest.raises(
        InputError,
        match=r"synthetic-ls and synthetic-ls_1 .*`train.epochs` differs: got 300 and None",
    ):
        tables.rows(three, "full", SETTINGS)


def test_time_and_versions_may_differ(three):
    change(three[1], "versions.torch", "2.12.0")
    change(three[1], "training.seconds", 99.0)
    assert len(tables.rows(three, "full", SETTINGS)) == 1


def test_the_same_seed_twice_is_refused(three):
    change(three[2], "train.seed", 0)
    with pytest.raises(
        InputError, match=r"synthetic-ls and synthetic-ls_2 .*the same `train.seed`, 0.*losses.ls_2"
    ):
        tables.rows(three, "full", SETTINGS)


@pytest.mark.parametrize("provenance", [{}, {"train": None}, {"train": {}}])
def test_runs_that_tell_no_seed_are_refused(three, provenance):
    for run in three:
        run["provenance"] = provenance
    with pytest.raises(InputError, match=r"the same `train\.seed`, None"):
        tables.rows(three, "full", SETTINGS)


def test_arguments_are_left_alone(three):
    before = copy.deepcopy(three)
    tables.rows(three, "full", SETTINGS)
    assert three == before


def test_provenance_that_is_no_mapping_is_refused():
    with pytest.raises(InputError, match=r"here\.json: `provenance` is no mapping"):
        tables.parse_run(json.dumps(make_run() | {"provenance": "mine"}), "here.json")


def test_mean_and_deviation_of_uneven_numbers():
    scores = [
        {"dmli": {"rank1": value}} for value in (1.0, 2.0, 4.0, 9.0)
    ]  # mean 4, squares 9 + 4 + 0 + 25 = 38
    means, deviations = seeds.mean_and_deviation(scores)
    assert means == {"dmli": {"rank1": 4.0}}
    assert deviations == {"dmli": {"rank1": round(math.sqrt(38 / 3), 4)}}


def draw(rows, file):
    plots.ablation_figure({"synthetic": rows}, file)
    with Image.open(file) as image:
        return image.convert("RGB")


def test_the_figure_draws_the_mean_with_bars(three, tmp_path):
    rows = tables.rows(three, "full", SETTINGS)
    bars = draw(rows, tmp_path / "bars.png")
    for deviation in rows[0]["deviations"].values():
        deviation.update(rank1=0.0, mAP=0.0)
    none = draw(rows, tmp_path / "none.png")
    left, _, right, _ = ImageChops.difference(bars, none).getbbox()
    assert left < bars.width / 2 < right  # in both panels


@pytest.mark.parametrize("broken", [None, math.nan])
def test_a_deviation_that_cannot_be_drawn_is_refused(three, tmp_path, broken):
    rows = tables.rows(three, "full", SETTINGS)
    rows[0]["deviations"]["dmli"]["mAP"] = broken
    with pytest.raises(InputError, match="'synthetic' cannot be drawn"):
        draw(rows, tmp_path / "none.png")
    assert not Path(tmp_path / "none.png").exists()


def test_the_figure_tells_trunks_apart(three, tmp_path, monkeypatch):
    three[2]["trunk"] = three[2]["provenance"]["model"]["trunk"] = "resnet18"
    shown = []
    monkeypatch.setattr(plots, "_legend", lambda figure, panels: shown.extend(_labels(panels)))
    draw(tables.rows(three, "full", SETTINGS), tmp_path / "two.png")
    assert shown == ["Resnet50, Alignedreid(LS), 2 seeds", "Resnet18, Alignedreid(LS)"] * 2


def _labels(panels):
    return [label for axes in panels for label in axes.get_legend_handles_labels()[1]]
