"""Stage prepare on every kind of source: lists, a .mat, a CSV, several combined; what it writes
and what it refuses.
"""

import io
import json
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image

from reid import prepared
from tests.conftest import ROOT, run_stage
from tests.test_cuhk03 import PROTOCOL, draw_testsets, pixels, real_cells, write_mat
from tests.test_readers import write_msmt17

MARKET = {"reader": "market1501", "distractors_500k": False}
SMALL = {"train": (3, 9), "val": (3, 3), "query": (2, 4), "gallery": (2, 8)}


def prepare(tmp_path, source, **settings):
    """Run the stage on the raw folder tmp_path/raw -> its exit code or its error."""
    section = {
        "raw": str(tmp_path / "raw"),
        "download": False,
        "partial_seed": 0,
        "allow_incomplete": True,
    } | settings
    params = {"prepare": section, "datasets": {"it": {"source": source}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return run_stage("prepare", "it", tmp_path / "out", "--params", tmp_path / "params.yaml")


def statistics(tmp_path):
    return json.loads((tmp_path / "out" / "statistics.json").read_text())


def save_images(folder, names):
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 10, 3), dtype=np.uint8)).save(folder / name)


@pytest.fixture
def msmt17(tmp_path):
    folder = write_msmt17(tmp_path / "raw" / "MSMT17_V1", sizes=SMALL)
    for name in SMALL:
        images = "train" if name in ("train", "val") else "test"
        lines = (folder / f"list_{name}.txt").read_text().splitlines()
        save_images(folder / images, [line.split()[0] for line in lines])
    return folder


@pytest.fixture
def market(tmp_path):
    folder = tmp_path / "raw" / "market1501"
    save_images(
        folder / "bounding_box_train", ["0002_c1s1_000001_01.jpg", "0002_c2s1_000001_01.jpg"]
    )
    save_images(folder / "query", ["0003_c1s1_000001_00.jpg"])
    save_images(
        folder / "bounding_box_test", ["0003_c2s1_000001_01.jpg", "0000_c3s1_000001_01.jpg"]
    )
    return folder


@pytest.mark.parametrize(("with_val", "images"), [(False, 9), (True, 12)])
def test_msmt17(msmt17, tmp_path, with_val, images):
    source = {"reader": "msmt17", "with_val": with_val}
    assert prepare(tmp_path, source) == 0
    found = statistics(tmp_path)
    assert found["train"] == {"people": 3, "images": images, "cameras": 9}
    assert (
        found["query"]["people"]
        == found["query_partial"]["people"]
        == found["gallery"]["people"]
        == 2
    )
    assert found["gallery"]["distractors"] == 0  # label 0 is a person
    query = prepared.read(tmp_path / "out" / "query")
    assert query.content(0) == (msmt17 / "test" / query.names[0]).read_bytes()


def test_a_missing_and_a_corrupt_image_are_named(msmt17, tmp_path):
    source = {"reader": "msmt17", "with_val": False}
    query, other = sorted((msmt17 / "test").rglob("*_query*"))[:2]
    other.write_bytes(other.read_bytes()[:100])
    error = prepare(tmp_path, source)
    assert "1 of 21 images cannot be read or decoded" in error
    assert str(other) in error
    query.unlink()
    error = prepare(tmp_path, source, allow_incomplete=False)
    assert "1 images are listed, but not there" in error
    assert str(query) in error
    assert not (tmp_path / "out").exists()


def test_counts_of_msmt17_are_checked(msmt17, tmp_path):
    error = prepare(tmp_path, {"reader": "msmt17", "with_val": True}, allow_incomplete=False)
    assert (
        f"{msmt17} is not the dataset as published: train has 3 people of 1,041 (1,038 missing)"
        in error
    )
    assert "train has 12 images of 32,621" in error


def test_cuhk03_from_the_mat(tmp_path):
    folder = tmp_path / "raw" / "cuhk03_release"
    folder.mkdir(parents=True)
    cells = [cell for cell in real_cells() if cell[0] == 1 and cell[1] <= 60]
    write_mat(
        folder / "cuhk-03.mat", cells, [[(1, i) for i in range(1, 101)], *draw_testsets()[1:]]
    )
    (folder / PROTOCOL.name).write_bytes(PROTOCOL.read_bytes())
    source = {"reader": "cuhk03", "boxes": "detected", "protocol": "new", "split": 0}
    assert prepare(tmp_path, source) == 0
    query = prepared.read(tmp_path / "out" / "query")
    pair, person, _, column = (int(part) for part in query.names[0][:-4].split("_"))
    with Image.open(io.BytesIO(query.content(0))) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), pixels(pair, person, column))
    (tmp_path / "out").rename(tmp_path / "new")
    error = prepare(tmp_path, {**source, "protocol": "classic"})  # all 60 people are test people
    assert "gives no image for train" in error


def test_the_500k_distractors_from_their_archive(market, tmp_path):
    with zipfile.ZipFile(tmp_path / "raw" / "distractors_500k.zip", "w") as archive:
        image = (market / "query" / "0003_c1s1_000001_00.jpg").read_bytes()
        archive.writestr("images/0000_c4s1_000001_00.jpg", image)
    assert prepare(tmp_path, {**MARKET, "distractors_500k": True}) == 0
    assert statistics(tmp_path)["gallery"] == {
        "people": 1,
        "images": 3,
        "cameras": 3,
        "distractors": 2,
    }
    assert prepared.read(tmp_path / "out" / "gallery").content(2) == image


def test_a_csv_without_cameras(tmp_path):
    save_images(tmp_path / "raw" / "mine", ["a/1.png", "a/2.png", "q.png", "g.png"])
    rows = [
        "image,pid,split",
        "a/1.png,1,train",
        "a/2.png,1,train",
        "q.png,2,query",
        "g.png,2,gallery",
    ]
    (tmp_path / "raw" / "mine" / "images.csv").write_text("\n".join(rows))
    assert (
        prepare(tmp_path, {"reader": "csv", "file": "mine/images.csv"}, allow_incomplete=False) == 0
    )
    assert prepared.read(tmp_path / "out" / "train").names == ["a/1.png", "a/2.png"]
    assert prepared.read(tmp_path / "out" / "query_partial").camids.tolist() == [0]
    assert prepared.read(tmp_path / "out" / "gallery").camids.tolist() == [1]


def test_a_csv_with_a_picture_twice_names_both_lines(tmp_path):
    """Without cameras, a query that is in the gallery too would be its own match."""
    save_images(tmp_path / "raw" / "mine", ["t.png", "q.png", "g.png"])
    (tmp_path / "raw/mine/copy.png").write_bytes((tmp_path / "raw/mine/q.png").read_bytes())
    Image.open(tmp_path / "raw/mine/q.png").save(tmp_path / "raw/mine/pixels.bmp")
    file = tmp_path / "raw" / "mine" / "images.csv"
    source = {"reader": "csv", "file": "mine/images.csv"}
    for twice in ("q.png", "copy.png", "pixels.bmp"):
        file.write_text(f"image,pid,split\nt.png,1,train\nq.png,2,query\n{twice},2,gallery\n")
        error = prepare(tmp_path, source)
        assert "1 images are the same picture as another one: " in error
        assert f"q.png (line 3 of {file}) in query as pid 2, camera 0 and " in error
        assert f"{twice} (line 4 of {file}) in gallery as pid 2, camera 1. " in error
    assert not (tmp_path / "out").exists()


def test_pictures_of_every_kind_are_prepared_and_read(tmp_path):
    """prepare accepts a picture when, and only when, the later stages read it, and as they do."""
    folder = tmp_path / "raw" / "mine"
    save_images(folder, ["t.png", "g.png"])
    deep = np.linspace(0, 65_535, 200).reshape(20, 10).astype(np.uint16)
    Image.fromarray(deep).save(folder / "q.png")
    file = folder / "images.csv"
    file.write_text("image,pid,split\nt.png,1,train\nq.png,2,query\ng.png,2,gallery\n")
    source = {"reader": "csv", "file": "mine/images.csv"}
    assert prepare(tmp_path, source) == 0
    partial = prepared.read(tmp_path / "out" / "query_partial")
    assert partial.names == ["q.png.jpg"]
    assert 60 < np.asarray(prepared.decode_rgb(partial.content(0))).mean() < 195
    (tmp_path / "out").rename(tmp_path / "deep")
    Image.fromarray(deep.astype(np.float32)).save(folder / "q.png", "TIFF")
    error = prepare(tmp_path, source)
    assert f"q.png (line 3 of {file}): its levels are floating-point numbers" in error


def test_train_on_two_test_on_another(market, msmt17, tmp_path):
    save_images(
        tmp_path / "raw" / "Partial_iLIDS", ["Probe/001.jpg", "Gallery/001.jpg", "Gallery/002.jpg"]
    )
    msmt = {"reader": "msmt17", "with_val": False}
    source = {
        "reader": "combined",
        "train": {"msmt17": msmt, "market": MARKET},
        "test": {"reader": "partialilids"},
    }
    assert prepare(tmp_path, source) == 0
    train = prepared.read(tmp_path / "out" / "train")
    assert train.names[:2] == ["market/0002_c1s1_000001_01.jpg", "market/0002_c2s1_000001_01.jpg"]
    assert all(name.startswith("msmt17/0") for name in train.names[2:])
    assert (
        train.content(0) == (market / "bounding_box_train" / "0002_c1s1_000001_01.jpg").read_bytes()
    )
    assert len(train) == 11
    assert len(set(train.pids.tolist())) == 1 + 3
    assert len(set(train.camids.tolist())) == 2 + 9
    assert prepared.read(tmp_path / "out" / "gallery").names == ["001.jpg", "002.jpg"]


def test_partial_queries_are_those_of_the_test_set_alone(market, tmp_path):
    assert prepare(tmp_path, MARKET) == 0
    alone = (tmp_path / "out" / "query_partial" / "images.zip").read_bytes()
    (tmp_path / "out").rename(tmp_path / "alone")
    assert (
        prepare(tmp_path, {"reader": "combined", "train": {"same": MARKET}, "test": dict(MARKET)})
        == 0
    )
    assert (tmp_path / "out" / "query_partial" / "images.zip").read_bytes() == alone


def test_combined_errors_name_the_part(market, tmp_path):
    partial = {"reader": "partialilids"}
    save_images(tmp_path / "raw" / "Partial_iLIDS", ["Probe/001.jpg", "Gallery/001.jpg"])
    assert "`datasets.it.source` in params.yaml gives no image for train." in prepare(
        tmp_path, partial
    )
    for part, told in (
        (partial, "`datasets.it.source.train.a` in params.yaml gives no image for train"),
        ({"reader": "mars"}, "`datasets.it.source.train.a` in params.yaml: got {'reader': 'mars'}"),
        ({**MARKET, "boxes": 1}, "`datasets.it.source.train.a.boxes` is unknown"),
        ("market1501", "`datasets.it.source.train.a` in params.yaml: got 'market1501'"),
    ):
        assert told in prepare(
            tmp_path, {"reader": "combined", "train": {"a": part}, "test": MARKET}
        )
    both = {"reader": "combined", "train": {"a": MARKET}, "test": dict(MARKET)}
    assert (
        "`datasets.it.source.seed` is unknown; the keys of `datasets.it.source` are reader,"
        in prepare(tmp_path, {**both, "seed": 0})
    )
    assert "hide its settings from DVC" in prepare(tmp_path, {**both, "test": "market1501"})


def test_every_entry_of_params_is_a_source_that_its_reader_takes(tmp_path):
    """Each stops at its missing folder and not before."""
    (tmp_path / "raw").mkdir()
    entries = yaml.safe_load((ROOT / "params.yaml").read_text())["datasets"]
    for name in set(entries) - {"synthetic"}:
        assert "looked for a folder" in prepare(tmp_path, entries[name]["source"]), name
