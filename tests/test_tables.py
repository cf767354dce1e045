"""The ablation tables: layout, differences worked out by hand, every published number, and refused
settings and cells.
"""

import copy
import itertools
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reid.arrays.names import COLUMNS, PROTOCOLS
from reid.results import paper, tables
from reid.results.uncertainty import COMPARISONS
from reid.runtime.errors import InputError
from stages import tables as stage
from tests.conftest import make_settings

LOSSES = {
    "Softmax": "softmax",
    "Softmax+TriHard": "softmax_trihard",
    "Alignedreid": "alignedreid",
    "Alignedreid(LS)": "ls",
}
TITLES = {
    "Market1501": "market1501",
    "DukeMTMCReID": "dukemtmcreid",
    "CUHK03": "cuhk03",
    "MSMT17": "msmt17",
}
SIDES = ("datasets", "losses", "seeds")
NAMES = {key: name for name, key in (LOSSES | TITLES).items()} | {
    "synthetic": "Synthetic",
    "resnet50": "Resnet50",
}


def make_details():
    """The tests between columns, all with the same small p-value, and CMC curves of two ranks."""
    test = {"difference": 1.0, "interval": [0.5, 1.5], "p": 0.0005}
    tests = {"-".join(columns): {"rank1": test, "mAP": test} for columns in COMPARISONS}
    curves = {column: [90.25, 95.0] for column in COLUMNS}
    details = {"differences": tests, "cmc": curves}
    details = {name: dict.fromkeys(PROTOCOLS, values) for name, values in details.items()}
    return json.loads(json.dumps(details))  # so that nothing is there twice


def make_run(dataset="synthetic", loss="alignedreid", rank1=90.25, map_=70.04, seed=0):
    numbers = {"rank1": rank1, "rank5": 95.0, "rank10": 97.0, "rank20": 99.0, "mAP": map_}
    protocol = {column: dict(numbers) for column in COLUMNS}
    run = {"dataset": dataset, "loss": loss, "seed": seed, "trunk": "resnet50"}
    run |= {"counts": {}, "provenance": {}, **make_details()}
    return run | {"full": protocol, "partial": copy.deepcopy(protocol)}


# of each dataset with published numbers: its source, images of train, query and gallery
OFFICIAL = {
    "market1501": ({"distractors_500k": False}, 12_936, 3_368, 15_913),
    "dukemtmcreid": ({}, 16_522, 2_228, 17_661),
    "cuhk03": ({"boxes": "detected", "protocol": "new", "split": 0}, 7_365, 1_400, 5_332),
    "msmt17": ({"with_val": False}, 30_248, 11_659, 82_161),
}


def make_official(run, dataset):
    """Let a run be one of a dataset as it was published; its dataset may be called otherwise."""
    source, train, queries, gallery = OFFICIAL[dataset]
    source = {"reader": dataset, **source}
    run |= {"dataset": dataset, "trunk": "resnet50", "metric": "market1501"}
    counts = {"queries": queries, "gallery": gallery}
    run["counts"] = {"full": dict(counts), "partial": dict(counts)}
    provenance = run.setdefault("provenance", {})
    provenance["prepare"] = {"gallery": {"settings": {"source": source}}}
    provenance.setdefault("train", {"settings": {"model": {"last_layer": ""}}})
    provenance["training"] = {"data": {"images": train}}
    return run


def official_run(dataset, *values, **more):
    return make_official(make_run(dataset, *values, **more), dataset)


def tables_settings(datasets=("synthetic",), losses=("alignedreid",), seeds=(0,), names=NAMES):
    return make_settings(tables.TablesSettings, "tables", datasets, losses, seeds, names)


def page(run, protocol="full", settings=None):
    settings = settings or tables_settings()
    rows = tables.rows([[run]], protocol, settings)
    return tables.markdown(rows, run["dataset"], protocol, settings)


def grid(page, number=0):
    """Table `number` of a page as lists of cells, without its header and its rule."""
    blocks = [block for block in page.split("\n\n") if block.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in blocks[number].splitlines()[2:]
    ]


def test_page_of_an_unknown_dataset_holds_ours_alone():
    text = page(make_run())
    assert text.startswith("#### Synthetic\n\n| Model")
    header = [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]
    assert header == ["Model", "Loss", "Global", "Local", "DMLI", "Global+DMLI", "Global+DMLI(RK)"]
    assert grid(text) == [["Resnet50", "Alignedreid"] + ["90.3/70.0"] * 5]
    assert grid(text, 1) == [["Resnet50", "Alignedreid"] + ["90.3/70.0"] * 7]
    assert "published" not in text.replace("No published numbers stand beside ours", "")


def test_page_of_a_known_dataset_sets_ours_beside_the_published():
    ours, theirs, difference = grid(page(official_run("market1501", rank1=90.25, map_=75.9)))
    assert ours == ["Resnet50", "Alignedreid"] + ["90.3/75.9"] * 5
    assert theirs == [
        "Resnet50",
        "Alignedreid, published",
        "89.2/75.9",
        "90.7/75.5",
        "91.1/77.4",
        "91.0/77.6",
        "92.0/88.5",
    ]
    assert difference[1:4] == ["Alignedreid, difference", "+1.1/+0.0", "-0.4/+0.4"]
    assert len(grid(page(official_run("market1501")), 1)) == 1


def test_partial_page_has_a_dash_where_nothing_was_published():
    text = page(official_run("market1501", "softmax"), "partial")
    assert text.startswith("#### Market1501-Partial\n")
    _, theirs, difference = grid(text)
    assert theirs[2:] == ["59.0/46.4", "56.5/43.7", "63.3/50.0", "-", "-"]
    assert difference[5:] == ["-", "-"]


def test_loss_without_published_numbers_has_no_row_of_dashes():
    assert [
        row["source"]
        for row in tables.rows([[official_run("market1501", "softmax")]], "full", tables_settings())
    ] == ["ours"]


SOURCE = "provenance.prepare.gallery.settings.source"


@pytest.mark.parametrize(
    ("dataset", "path", "value", "told"),
    [
        ("cuhk03", f"{SOURCE}.boxes", "labeled", "boxes detected"),
        ("cuhk03", f"{SOURCE}.protocol", "classic", "protocol new"),
        ("msmt17", f"{SOURCE}.with_val", True, "with_val False"),
        ("market1501", f"{SOURCE}.distractors_500k", True, "distractors_500k False"),
        ("market1501", f"{SOURCE}.reader", "combined", "the reader combined"),
        ("market1501", "counts.full.gallery", 15_912, "gallery 15913"),
        ("market1501", "counts.full.queries", 3_367, "queries 3368"),
        ("market1501", "provenance.training.data.images", 12_000, "images 12936"),
        ("market1501", "provenance.train.settings.model.last_layer", "layer2", "last_layer"),
        ("market1501", "trunk", "resnet18", "trunk resnet50"),
        ("market1501", "metric", "cuhk03", "metric market1501"),
        ("market1501", "provenance.prepare", {}, "does not say which dataset"),
        ("market1501", "provenance.train.settings.model.last_stride", 1, "last_stride 2"),
        ("market1501", "provenance.train.settings.loss", {"label_smoothing": 0.1}, "smoothing 0.0"),
        ("market1501", "provenance.training.data.people", 750, "people 751"),
        ("market1501", "loss", "strong", "the row strong"),
    ],
)
def test_published_numbers_stand_beside_what_they_hold_for_alone(dataset, path, value, told):
    run = official_run(dataset)
    *folders, last = path.split(".")
    inner = run
    for key in folders:
        inner = inner[key]
    inner[last] = value
    text = page(run)
    assert len(grid(text)) == 1
    (note,) = [line for line in text.splitlines() if line.startswith("No published numbers")]
    assert told in note
    shown = value["label_smoothing"] if isinstance(value, dict) and value else value
    assert str(shown) in note or value == {}


def test_a_converted_model_of_the_authors_stands_beside_the_published():
    run = official_run("market1501")
    run["provenance"]["training"] = {"converted_from": "best.pth.tar"}
    del run["provenance"]["train"]
    for people, lines in ((751, 3), (702, 1)):
        run["provenance"]["convert_checkpoint"] = {"settings": {"people": people}}
        assert len(grid(page(run))) == lines


@pytest.mark.parametrize(
    ("protocol", "metric", "told"),
    [
        ("classic", "cuhk03", "Metric: CUHK03's classic one"),
        ("classic", "market1501", "Metric: Market-1501's, not the classic one"),
        ("new", "cuhk03", "Metric: CUHK03's classic one"),
        ("new", "market1501", None),
    ],
)
def test_an_unusual_metric_is_named(protocol, metric, told):
    run = official_run("cuhk03") | {"metric": metric}
    run["provenance"]["prepare"]["gallery"]["settings"]["source"]["protocol"] = protocol
    named = [line for line in page(run).splitlines() if line.startswith("Metric")]
    assert [told] == [line[: len(told)] for line in named] if told else named == []


def test_msmt17_says_that_it_was_corrected_and_shows_rank1_alone():
    text = page(official_run("msmt17"))
    assert paper.NOTES["msmt17"] in text
    assert paper.NOTES["msmt17"] not in page(official_run("cuhk03"))
    assert grid(text)[1][2:] == ["63.4/38.4", "63.8/-", "66.3/40.2", "66.3/40.6", "-"]
    assert grid(text)[2][3] == "+26.5/-"  # 90.25 - 63.8 = 26.45


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.15, 0.2), (-0.25, -0.2), (-0.04, 0.0), (91.25, 91.3), (100, 100.0), (0.0499, 0.0)],
)
def test_tenths_round_halves_upwards(number, shown):
    assert tables._tenths(number) == shown
    assert math.copysign(1, tables._tenths(number)) == (1 if shown >= 0 else -1)


def test_shown_numbers_always_differ_by_the_difference_shown():
    for number in range(890000, 910000, 25):
        ours, theirs = number / 10000, 90.1
        shown = tables._tenths(round(ours - theirs, 4))
        assert shown == pytest.approx(tables._tenths(ours) - theirs, abs=1e-9)


def test_rows_keep_full_precision_and_only_rank1_and_map():
    run = official_run("market1501", rank1=90.1234, map_=1 / 3)
    before = copy.deepcopy(run)
    ours, theirs, difference = tables.rows([[run]], "full", tables_settings())
    assert ours["columns"]["dmli_rk"] == {"rank1": 90.1234, "mAP": 1 / 3}
    assert (ours["model"], ours["loss"], ours["source"]) == ("Resnet50", "Alignedreid", "ours")
    assert theirs["columns"]["global"] == {"rank1": 89.2, "mAP": 75.9}
    assert difference["columns"]["global"] == {"rank1": 0.9234, "mAP": -75.5667}
    assert run == before


def test_rows_follow_the_order_of_cells_and_a_key_without_a_name_stays():
    rows = tables.rows(
        [[make_run(loss="ls")], [make_run(loss="softmax")]],
        "full",
        tables_settings(names={"ls": "LS"}),
    )
    assert [(row["model"], row["loss"]) for row in rows] == [
        ("resnet50", "LS"),
        ("resnet50", "softmax"),
    ]


@pytest.mark.parametrize(
    "title", ["", " ", "a|b", "a\nb", "<script>", "[a](b)", "`a`", "a\\b", "a\u202eb", "x" * 2000]
)
def test_a_title_that_markdown_would_make_more_of_is_refused(title):
    with pytest.raises(InputError, match=r"`tables\.names\.ls`: got .*, wanted (printable|one)"):
        tables_settings(names={"ls": title})


def test_rows_of_nothing_are_refused():
    with pytest.raises(InputError, match="at least one cell"):
        tables.rows([], "full", tables_settings())


def seed_cells():
    """(title, loss, the cells) of every row of the published tables, as they stand in the first
    edition.
    """
    title = ""
    for line in (Path(__file__).parent / "data" / "published_tables.md").read_text().splitlines():
        if line.startswith("#### "):
            title = line.removeprefix("#### ")
        if line.startswith("| Resnet50"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            yield title, cells[1], [cell for cell in cells[2:] if not cell.startswith("[model]")]


def test_every_published_number_is_that_of_the_published_tables():
    checked = 0
    for title, loss, cells in seed_cells():
        protocol = "partial" if title.endswith("-Partial") else "full"
        run = official_run(TITLES[title.removesuffix("-Partial")], LOSSES[loss])
        columns = paper.columns(run, protocol)
        if title == "MSMT17":
            continue
        wanted = [
            dict(zip(("rank1", "mAP"), map(float, cell.split("/")), strict=True)) for cell in cells
        ]
        assert columns == dict(zip(paper.COLUMNS, wanted, strict=False)), (title, loss)
        checked += len(cells)
    assert checked == 6 * 5 + 6 * 3


def test_published_holds_no_row_that_the_published_tables_lack():
    seed = {
        (TITLES[title.removesuffix("-Partial")], "Partial" in title, LOSSES[loss])
        for title, loss, _ in seed_cells()
    }
    ours = {
        (key[0], key[1] == "partial", loss)
        for key, losses in paper._TEXT.items()
        for loss in losses
    }
    assert ours == seed


def test_corrected_msmt17_agrees_with_the_cells_that_were_right():
    first = {loss: cells for title, loss, cells in seed_cells() if title == "MSMT17"}
    assert first == {
        "Alignedreid": ["-", "-", "-", "66.3/40.6"],
        "Alignedreid(LS)": ["59.7/58.1", "81.5/68.4", "69.6/43.3", "69.8/43.7"],
    }
    assert paper.columns(official_run("msmt17", "alignedreid"), "full") == {
        "global": {"rank1": 63.4, "mAP": 38.4},
        "local": {"rank1": 63.8},
        "dmli": {"rank1": 66.3, "mAP": 40.2},
        "global_dmli": {"rank1": 66.3, "mAP": 40.6},
    }
    assert paper.columns(official_run("msmt17", "ls"), "full") == {
        "global": {"rank1": 67.6, "mAP": 41.8},
        "local": {"rank1": 67.3, "mAP": 38.4},
        "dmli": {"rank1": 69.6, "mAP": 43.3},
        "global_dmli": {"rank1": 69.8, "mAP": 43.7},
    }


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"datasets": ()}, "tables.datasets"),
        ({"losses": ()}, "tables.losses"),
        ({"losses": ("ls", "ls")}, "`losses` is"),
        ({"seeds": ()}, "tables.seeds"),
        ({"seeds": (1, 0, 1)}, "`seeds` is"),
        ({"seeds": (0, -1)}, "tables.seeds"),
        ({"seeds": (2**32,)}, "tables.seeds"),
        ({"datasets": ("a", "a_partial")}, "`datasets` is .*_partial"),
        ({"datasets": ("a b",)}, r"tables\.datasets\[0\]"),
        ({"names": {"ls": "A|B"}}, "tables.names.ls"),
        ({"names": {"ls": 3}}, "tables.names.ls"),
    ],
)
def test_settings_that_make_no_table_are_refused(values, named):
    with pytest.raises(InputError, match=named):
        tables_settings(**values)


def write_project(folder, seeds=(0,)):
    """Write params.yaml and the runs of two datasets x two losses x some seeds."""
    section = {
        "datasets": ["synthetic", "market1501"],
        "losses": ["alignedreid", "ls"],
        "seeds": list(seeds),
        "names": NAMES,
    }
    (folder / "params.yaml").write_text(yaml.safe_dump({"tables": section}))
    for dataset, loss, seed in itertools.product(*[section[key] for key in SIDES]):
        file = folder / "runs" / dataset / loss / f"{seed}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        make = make_run if dataset == "synthetic" else official_run
        file.write_text(json.dumps(make(dataset, loss, 90.25 + seed, seed=seed)))


@pytest.fixture
def project(tmp_path):
    write_project(tmp_path)
    return tmp_path


def call(project, monkeypatch):
    arguments = ["runs", "out", "--params", "params.yaml"]
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["tables", *arguments])
    stage.main()


def test_stage_writes_every_table_and_nothing_else(project, monkeypatch):
    call(project, monkeypatch)
    stems = ("synthetic", "synthetic_partial", "market1501", "market1501_partial")
    wanted = {f"{stem}.{ending}" for stem in stems for ending in ("md", "json")}
    assert {path.name for path in (project / "out").iterdir()} == {*wanted, "plots"}
    plots = {path.name for path in (project / "out" / "plots").iterdir()}
    assert plots == {"training.csv", "cmc.csv"}
    rows = json.loads((project / "out" / "market1501.json").read_text())
    assert [row["source"] for row in rows] == ["ours", "published", "difference"] * 2
    first = (project / "out" / "market1501.md").read_bytes()
    shutil.rmtree(project / "out")
    call(project, monkeypatch)
    assert (project / "out" / "market1501.md").read_bytes() == first


def test_stage_takes_the_mean_over_the_seeds_named(tmp_path, monkeypatch):
    write_project(tmp_path, (0, 1, 7))
    write_project(tmp_path, (0, 1))  # 7.json stays and is no seed of the tables now
    call(tmp_path, monkeypatch)
    page = (tmp_path / "out" / "synthetic.md").read_text()
    assert [row[1] for row in grid(page)] == ["Alignedreid, 2 seeds", "Alignedreid(LS), 2 seeds"]
    assert grid(page)[0][2:] == ["90.8±0.7/70.0±0.0"] * 5  # 90.25 and 91.25, sqrt(1/2)
    rows = json.loads((tmp_path / "out" / "market1501.json").read_text())
    assert rows[0]["seeds"] == [0, 1]
    assert rows[2]["columns"]["global"]["rank1"] == round(90.75 - 89.2, 4)


def test_stage_leaves_a_folder_that_holds_something_alone(project, monkeypatch):
    (project / "out").mkdir()
    (project / "out" / "notes.md").write_text("mine")
    with pytest.raises(InputError, match="out is not empty"):
        call(project, monkeypatch)
    assert (project / "out" / "notes.md").read_text() == "mine"


def test_missing_run_is_named_with_its_command_and_nothing_is_written(project, monkeypatch):
    (project / "runs/market1501/ls/0.json").unlink()
    with pytest.raises(
        InputError, match=r"market1501/ls/0\.json.*dvc repro evaluate@market1501-ls-0"
    ):
        call(project, monkeypatch)
    assert not (project / "out").exists()


def test_tables_and_report_load_no_torch():
    code = (
        "import stages.tables, stages.report, sys; "
        "sys.exit(bool({'torch', 'numba', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0
