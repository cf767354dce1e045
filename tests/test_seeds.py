"""Several seeds of a cell: mean and deviation by hand, one seed without either, and runs that
differ in more refused.
"""

import copy
import math
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from reid.arrays.names import COLUMNS
from reid.results import paper, plots, seeds, tables
from reid.results.tables import TablesSettings
from reid.runtime.errors import InputError
from tests.test_tables import make_details, make_official

NAMES = {"ls": "Alignedreid(LS)", "resnet50": "Resnet50", "resnet18": "Resnet18"}
SETTINGS = TablesSettings(datasets=("synthetic",), losses=("ls",), seeds=(0, 1, 2), names=NAMES)


def make_run(seed=0, rank1=70.0, map_=50.0, dataset="synthetic", loss="ls"):
    """A run with the same numbers in every column."""
    protocol = {column: {"rank1": rank1, "rank5": 90.0, "mAP": map_} for column in COLUMNS}
    made = {"code": "ab", "versions": {"torch": "2.11.0"}, "machine": "x86_64"}
    settings = {
        "model": {"trunk": "resnet50", "height": 256, "last_layer": ""},
        "train": {"epochs": 300, "seed": seed},
        "loss": {"label_smoothing": 0.1},
    }
    provenance = {
        "prepare": {"gallery": {"settings": {"source": {"reader": "csv"}}}},
        "train": {"settings": settings, **made},
        "rerank": {"settings": {"k1": 20}, **made},
        "evaluate": {"settings": {"metric": "market1501", "seed": 0}, **made},
        "training": {
            "seconds": 10.0 + seed,
            "data": {"fingerprint": "ab", "people": 2, "images": 8},
            "seed": seed,
        },
    }
    run = {"dataset": dataset, "loss": loss, "seed": seed, "trunk": "resnet50"}
    run |= {"provenance": provenance, **make_details()}
    return run | {"full": protocol, "partial": copy.deepcopy(protocol)}


@pytest.fixture
def three():
    """Rank-1 70, 71, 72: mean 71, deviation 1. mAP 50, 50, 53: mean 51, deviation sqrt((1 + 1 + 4)
    / 2).
    """
    return [make_run(0, 70.0, 50.0), make_run(1, 71.0, 50.0), make_run(2, 72.0, 53.0)]


MEAN = {"rank1": 71.0, "mAP": 51.0}
DEVIATION = {"rank1": 1.0, "mAP": round(math.sqrt(3), 4)}


def rows_of(runs, protocol="full"):
    return tables.rows([runs], protocol, SETTINGS)


def page_of(runs, protocol="full"):
    return tables.markdown(rows_of(runs, protocol), runs[0]["dataset"], protocol, SETTINGS)


def cells_of(page):
    """The cells of each row of a page."""
    lines = [line for line in page.splitlines() if line.startswith("| R")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("protocol", ["full", "partial"])
def test_three_seeds_by_hand(three, protocol):
    (row,) = rows_of(three, protocol)
    assert (row["model"], row["loss"], row["source"]) == ("Resnet50", "Alignedreid(LS)", "ours")
    assert row["seeds"] == [0, 1, 2]
    for column in COLUMNS:
        assert row["columns"][column] == MEAN
        assert row["deviations"][column] == DEVIATION
        assert row["values"][column] == {"rank1": [70.0, 71.0, 72.0], "mAP": [50.0, 50.0, 53.0]}
    page = page_of(three, protocol)
    assert cells_of(page)[0] == [
        "Resnet50",
        "Alignedreid(LS), 3 seeds",
        *["71.0±1.0/51.0±1.7"] * 5,
    ]
    legend = "Cells are rank-1/mAP in percent. Over several seeds: mean±sample standard deviation."
    assert f"{legend}\n" in page


def test_two_seeds_with_an_equal_map():
    cells = cells_of(page_of([make_run(0, 70.0, 50.0), make_run(7, 71.0, 50.0)]))
    assert cells[0][1:3] == ["Alignedreid(LS), 2 seeds", "70.5±0.7/50.0±0.0"]  # sqrt(1/2)


def test_a_single_seed_has_no_deviation():
    run = make_run(rank1=70.12345)
    (row,) = rows_of([run])
    columns = {column: {"rank1": 70.12345, "mAP": 50.0} for column in COLUMNS}
    notes = ["No published numbers stand beside ours: nothing is published for the reader csv."]
    identity = {"model": "Resnet50", "loss": "Alignedreid(LS)", "source": "ours"}
    assert row == {**identity, "columns": columns, "within_noise": {}, "notes": notes}
    page = page_of([run])
    assert "±" not in page
    assert "seeds" not in page
    assert cells_of(page)[0][1:3] == ["Alignedreid(LS)", "70.1/50.0"]


def test_losses_of_the_same_name_are_two_rows(three):
    names = {**NAMES, "ls_1": "Alignedreid(LS)"}
    settings = TablesSettings(
        datasets=("synthetic",), losses=("ls", "ls_1"), seeds=(0, 1, 2), names=names
    )
    ls_1 = [run | {"loss": "ls_1"} for run in three]
    rows = tables.rows([three, ls_1], "full", settings)
    assert [(row["loss"], row["seeds"]) for row in rows] == [("Alignedreid(LS)", [0, 1, 2])] * 2


def test_published_numbers_are_compared_with_the_mean(three):
    for run in three:
        make_official(run, "market1501")
    _, published, difference = rows_of(three)
    assert published["columns"] == paper.columns(three[0], "full")
    assert difference["columns"]["global"] == {
        "rank1": round(71.0 - 90.6, 4),
        "mAP": round(51.0 - 77.7, 4),
    }
    assert set(difference) == set(published) == {"model", "loss", "source", "columns"}
    _, published_cells, difference_cells, *_ = cells_of(page_of(three))
    assert difference_cells[1] == "Alignedreid(LS), difference"
    assert "±" not in "".join(published_cells + difference_cells)


def test_headline_of_a_single_seed():
    report = seeds.headline([make_run(4, rank1=70.12345)])
    columns = {column: {"rank1": 70.12345, "mAP": 50.0} for column in COLUMNS}
    assert report == {
        "dataset": "synthetic",
        "loss": "ls",
        "seeds": [4],
        "full": columns,
        "partial": columns,
    }


def test_headline_of_several_seeds(three):
    report = seeds.headline(three)
    assert list(report) == ["dataset", "loss", "seeds", "full", "partial", "deviations"]
    assert report["seeds"] == [0, 1, 2]
    for protocol in ("full", "partial"):
        assert report[protocol] == dict.fromkeys(COLUMNS, MEAN)
        assert report["deviations"][protocol] == dict.fromkeys(COLUMNS, DEVIATION)


def change(run, path, value):
    """Set `path`, such as train.epochs, of a run's provenance."""
    *folders, last = path.split(".")
    inner = run["provenance"]
    for key in folders:
        inner = inner[key]
    inner[last] = value


@pytest.mark.parametrize("use", [rows_of, seeds.headline])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train.settings.model.height", 384),
        ("train.settings.train.epochs", 60),
        ("train.settings.loss.label_smoothing", 0.2),
        ("evaluate.settings.seed", 1),
        ("rerank.settings.k1", 30),
        ("rerank.code", "cd"),
        ("training.data.fingerprint", "cd"),
        ("train.settings.loss.new", True),
    ],
)
def test_runs_that_differ_in_more_are_refused_by_name(three, path, value, use):
    change(three[2], path, value)
    message = rf"synthetic-ls-0 and synthetic-ls-2 are seeds.*`{path}` differs: got .*{value}"
    with pytest.raises(InputError, match=message):
        use(three)


def test_another_trunk_is_refused(three):
    three[1]["trunk"] = "resnet18"
    with pytest.raises(InputError, match="`trunk` differs: got 'resnet50' and 'resnet18'"):
        rows_of(three)


def test_the_first_setting_that_differs_is_named(three):
    change(three[1], "train.settings.loss.label_smoothing", 0.2)
    change(three[1], "train.settings.train.epochs", 60)
    with pytest.raises(InputError, match=r"`train.settings.train.epochs` differs: got 300 and 60"):
        rows_of(three)


def test_a_converted_model_is_no_seed_of_a_trained_one(three):
    change(three[1], "train", None)
    with pytest.raises(
        InputError,
        match=r"synthetic-ls-0 and synthetic-ls-1 .*`train\.settings\..* differs: got .* and None",
    ):
        rows_of(three)


def test_time_and_versions_may_differ(three):
    change(three[1], "train.versions.torch", "2.12.0")
    change(three[1], "rerank.machine", "arm64")
    change(three[1], "training.seconds", 99.0)
    assert len(rows_of(three)) == 1


def test_runs_without_provenance_are_alike(three):
    for run in three:
        run["provenance"] = {}
    assert rows_of(three)[0]["seeds"] == [0, 1, 2]


def test_the_same_seed_twice_is_refused(three):
    with pytest.raises(InputError, match=r"synthetic-ls has runs of the seeds \[0, 1, 2, 0\]"):
        rows_of([*three, three[0]])


def test_a_cell_without_runs_is_refused():
    with pytest.raises(InputError, match=r"at least one run.*tables\.seeds"):
        rows_of([])


def test_arguments_are_left_alone(three):
    before = copy.deepcopy(three)
    rows_of(three)
    seeds.headline(three)
    assert three == before


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
    rows = rows_of(three)
    bars = draw(rows, tmp_path / "bars.png")
    for deviation in rows[0]["deviations"].values():
        deviation.update(rank1=0.0, mAP=0.0)
    none = draw(rows, tmp_path / "none.png")
    left, _, right, _ = ImageChops.difference(bars, none).getbbox()
    assert left < bars.width / 2 < right  # in both panels


@pytest.mark.parametrize("broken", [None, math.nan])
def test_a_deviation_that_cannot_be_drawn_is_refused(three, tmp_path, broken):
    rows = rows_of(three)
    rows[0]["deviations"]["dmli"]["mAP"] = broken
    with pytest.raises(InputError, match="'synthetic' cannot be drawn"):
        draw(rows, tmp_path / "none.png")
    assert not Path(tmp_path / "none.png").exists()


def test_the_figure_names_trunks_where_they_differ(three, tmp_path, monkeypatch):
    rows = rows_of(three) + rows_of([make_run(loss="alignedreid")])
    rows[1]["model"] = "Resnet18"
    shown = []
    monkeypatch.setattr(plots, "_legend", lambda figure, panels: shown.extend(_labels(panels)))
    draw(rows, tmp_path / "two.png")
    assert shown == ["Resnet50, Alignedreid(LS), 3 seeds", "Resnet18, alignedreid"] * 2


def _labels(panels):
    return [label for axes in panels for label in axes.get_legend_handles_labels()[1]]


@pytest.mark.parametrize("key", ["metric", "counts"])
def test_seeds_of_other_images_or_another_metric_are_refused(three, key):
    for run in three:
        run |= {"metric": "market1501", "counts": {"full": {"queries": 3}}}
    rows_of(three)
    three[1][key] = {"full": {"queries": 2}} if key == "counts" else "cuhk03"
    with pytest.raises(InputError, match=rf"`{key}\S* differs"):
        rows_of(three)
