"""The page stage on a finished run: one file, everything in it, right for every name, and one
paragraph for bad input.
"""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from PIL import Image

from reid import prepared
from reid.arrays.names import COLUMNS
from reid.page import browser
from tests.conftest import run_module
from tests.page_folders import FOLDERS, LOSS, SEED, TITLE, copy, make


@pytest.fixture(scope="module")
def parts(finished, params, tmp_path_factory):
    return copy(finished, params, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(parts, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "report"
    assert make(parts, out) == 0
    assert [file.name for file in out.iterdir()] == ["index.html"]
    return (out / "index.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Elements with their attributes, texts outside scripts, and the embedded data."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.scripts, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "input", "img", "wbr", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "elements are nested as they are closed"

    def handle_data(self, text):
        (self.scripts if self.open[-1:] == ["script"] else self.texts).append(text)


@pytest.fixture(scope="module")
def read(page):
    return Reader(page)


@pytest.fixture(scope="module")
def data(read):
    return json.loads(read.scripts[0])


def test_nothing_is_loaded_from_elsewhere(page, read):
    outside = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address to open
    assert not re.search(r"https?:|@import|url\(|//[a-z]+\.", outside)
    for _, attributes in read.elements:
        address = attributes.get("src") or attributes.get("href") or "#"
        assert address.startswith(("#", "data:"))
    policies = [a["content"] for _, a in read.elements if "http-equiv" in a]
    assert policies[0].startswith("default-src 'none'")


def test_the_page_is_whole_and_every_name_in_it_is_text(read):
    assert read.open == []
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    sections = {attributes.get("id") for tag, attributes in read.elements if tag == "section"}
    wanted = {"browse", "tables", "cmc", "distances", "verification", "cameras", "training"}
    assert wanted | {"dataset", "provenance"} == sections
    assert f"{LOSS} on {TITLE}" in read.texts
    assert not [tag for tag, _ in read.elements if tag == "i"]


def test_every_column_has_its_charts_and_cells(page, read, parts):
    table = json.loads((parts / "tables/synthetic.json").read_text())
    for column in COLUMNS:
        cells = table[0]["columns"][column]
        assert f"{cells['rank1']:.1f}/<wbr>{cells['mAP']:.1f}" in page
    charts = [attributes for tag, attributes in read.elements if tag == "svg"]
    labels = [attributes["aria-label"] for attributes in charts if "role" in attributes]
    assert len([label for label in labels if label.startswith("CMC curves")]) == 14
    assert len([label for label in labels if label.startswith("Distances")]) == 7


def test_the_browsers_lists_are_those_of_the_distances(data, parts):
    query = data["queries"][0]
    split = prepared.read(parts / "data/query")
    number = split.names.index(query["name"])
    assert (query["pid"], query["camid"]) == (split.pids[number], split.camids[number])
    gallery = prepared.read(parts / "data/gallery")
    row = np.load(parts / f"distances/{LOSS}/{SEED}/partial/dmli.npy")[number]
    junk = (gallery.pids == query["pid"]) & (gallery.camids == query["camid"])
    order = [image for image in np.argsort(row, kind="stable") if not junk[image]][:10]
    entry = query["protocols"]["partial"]
    assert sorted(entry["lists"][COLUMNS.index("dmli")]) == sorted(order)
    for image in order:
        distances = entry["pairs"][str(image)]["distances"]
        assert distances[COLUMNS.index("dmli")] == pytest.approx(float(row[image]), abs=1e-5)
        assert data["gallery"][str(image)][0] == gallery.names[image]


def test_the_path_of_every_pair_sums_to_its_distance(data):
    for query in data["queries"]:
        for entry in query["protocols"].values():
            for pair in entry["pairs"].values():
                costs = np.reshape(pair["costs"], (data["stripes"], -1)) / data["scale"]
                row = column = 0
                total = costs[0, 0]
                for move in pair["path"]:
                    row, column = row + (move == "d"), column + (move == "r")
                    total += costs[row, column]
                assert total == pytest.approx(pair["distances"][COLUMNS.index("dmli")], abs=2e-3)
                assert np.trace(costs) == pytest.approx(pair["distances"][1], abs=2e-3)


def test_each_image_is_there_once_and_few_are_left_out(data, page):
    assert len(set(data["images"])) == len(data["images"])
    assert len(page) < 15_000_000


def test_two_runs_make_the_same_bytes(parts, page, tmp_path):
    assert make(parts, tmp_path / "again") == 0
    assert (tmp_path / "again/index.html").read_text(encoding="utf-8") == page


def test_queries_are_left_out_once_there_are_enough_images(parts, tmp_path, monkeypatch, data):
    monkeypatch.setattr(browser, "MOST", 1)
    assert make(parts, tmp_path / "few") == 0
    few = json.loads(Reader((tmp_path / "few/index.html").read_text(encoding="utf-8")).scripts[0])
    assert few["queries"] == data["queries"][:1]


def test_intervals_and_verification_are_shown_where_the_run_has_them(parts, tmp_path):
    at = tmp_path / "copy"
    shutil.copytree(parts, at)
    file = at / f"runs/synthetic/{LOSS}/{SEED}.json"
    run = json.loads(file.read_text())
    rate = {"false_accept_rate": 0.01, "threshold": 1.25, "true_accept_rate": 61.5}
    curve = {"eer": 7.25, "at": [rate], "curve": [10.0, 90.0]}
    columns = dict.fromkeys(COLUMNS, curve)
    pairs = {"matches": 1234, "non_matches": 5}
    values = {"pairs": pairs, "false_accept_rates": [0.001, 1.0], "columns": columns}
    run["verification"] = {"full": values}
    run["intervals"] = {"full": {"global_dmli_rk": {"rank1": [11.25, 98.75]}}}
    file.write_text(json.dumps(run))
    assert make(at, tmp_path / "out") == 0
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "95 %: 11.2 to 98.8" in text
    for shown in ("1,234", "7.25", "61.5 % <small>(1.250)</small>", 'id="verification"'):
        assert shown in text


@pytest.fixture
def broken(parts, tmp_path):
    shutil.copytree(parts, tmp_path / "copy")
    return tmp_path / "copy"


def test_published_numbers_stand_below_ours(broken, tmp_path):
    file = broken / "tables/synthetic.json"
    rows = json.loads(file.read_text())
    rows[0]["notes"] = ["A remark & more."]
    published = {"local": {"rank1": 12.3, "mAP": 4.5}}
    for source in ("published", "difference"):
        rows.append({**rows[0], "source": source, "columns": published})
    file.write_text(json.dumps(rows))
    assert make(broken, tmp_path / "out") == 0
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    for shown in ("12.3/<wbr>4.5", "+12.3/<wbr>+4.5", "ls, published", "A remark &amp; more."):
        assert shown in text
    assert "Nothing is published" not in text


def test_losses_of_one_name_are_told_apart(broken, tmp_path):
    for name in ("models", *FOLDERS):
        shutil.copytree(broken / name / LOSS, broken / name / "softmax")
    params = yaml.safe_load((broken / "params.yaml").read_text(encoding="utf-8"))
    names = {"ls": "one", "softmax": "one"}
    params["tables"] |= {"losses": ["softmax", "ls"], "names": names}
    (broken / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    assert make(broken, tmp_path / "out") == 0
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert text.count("<title>one (ls)</title>") == text.count("<title>one (softmax)</title>") > 14


def refused(at, out, *more):
    error = make(at, out, *more)
    assert str(error).startswith("error: ")
    assert not out.exists()
    return error


def test_a_dataset_without_a_table_is_named(broken, tmp_path):
    (broken / "tables/synthetic_partial.json").write_text("[{}]")
    assert "dvc repro tables" in refused(broken, tmp_path / "out")
    (broken / "tables/synthetic_partial.json").unlink()
    assert "synthetic_partial.json" in refused(broken, tmp_path / "out")


def test_images_other_than_those_of_the_features_are_refused(broken, tmp_path):
    file = broken / f"features/{LOSS}/{SEED}/gallery/camids.npy"
    np.save(file, np.load(file) + 1)
    assert "whose features were given" in refused(broken, tmp_path / "out")


def test_a_corrupt_image_is_named(broken, tmp_path):
    split = prepared.read(broken / "data/query")
    rows = [
        (name, int(pid), int(camid), b"no image")
        for name, pid, camid in zip(split.names, split.pids, split.camids, strict=True)
    ]
    shutil.rmtree(broken / "data/query")
    prepared.write(broken / "data", {"query": rows})
    assert "of split query is corrupt" in refused(broken, tmp_path / "out")


@pytest.mark.parametrize("text", ["", "epoch,mean\n1,2\n", "epoch,loss\n1,x\n", "epoch,loss\n1\n"])
def test_a_broken_history_is_named(broken, tmp_path, text):
    (broken / f"models/{LOSS}/{SEED}/history.csv").write_text(text)
    assert "history.csv is no table of epochs" in refused(broken, tmp_path / "out")


def test_a_converted_model_has_no_history(broken, tmp_path):
    (broken / f"models/{LOSS}/{SEED}/history.csv").unlink()
    assert make(broken, tmp_path / "out") == 0
    assert "they were converted" in (tmp_path / "out/index.html").read_text(encoding="utf-8")


def test_a_loss_that_was_not_run_is_named(parts, tmp_path):
    assert "dvc repro evaluate@synthetic-softmax-0" in refused(
        parts, tmp_path / "out", "--loss", "softmax"
    )


def shown(parts, out, *more):
    folders = [parts / "data", *(parts / name / LOSS / SEED for name in FOLDERS)]
    return run_module("reid.tools.show", *folders, out, *more)


def test_show_writes_a_ranked_list_and_an_alignment(parts, tmp_path):
    assert shown(parts, tmp_path / "list.png", "--query", "0", "--count", "3") == 0
    name = prepared.read(parts / "data/gallery").names[2]
    pair = ("--query", "0", "--gallery", name)
    for file in ("pair.png", "again.png"):
        assert shown(parts, tmp_path / file, *pair, "--protocol", "partial") == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "pair.png").read_bytes()
    assert shown(parts, tmp_path / "local.png", *pair, "--column", "local") == 0
    for file in ("list.png", "pair.png", "local.png"):
        with Image.open(tmp_path / file) as image:
            assert image.format == "PNG"
            assert len(image.convert("RGB").getcolors(1 << 22)) > 100


@pytest.mark.parametrize("wrong", [("--query", "none.jpg"), ("--query", "0", "--gallery", "99999")])
def test_show_names_an_image_that_is_not_there(parts, tmp_path, wrong):
    error = shown(parts, tmp_path / "none.png", *wrong)
    assert "has no image" in error
    assert not (tmp_path / "none.png").exists()
