"""`python -m stages.prepare` as users run it: Market-1501's real names whole, the benchmark, and
bad input.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from PIL import Image

from reid import prepared
from tests import tiny_market1501

ROOT = Path(__file__).parent.parent
SUBFOLDERS = ("bounding_box_train", "query", "bounding_box_test")
MARKET = {"reader": "market1501", "distractors_500k": False}
SYNTHETIC = {
    "seed": 0,
    "train_people": 3,
    "test_people": 3,
    "images_per_camera": 1.2,
    "distractors": 2,
    "junk": 1,
    "height": 48,
    "width": 24,
    "misalignment": 0.5,
    "occlusion": 0.5,
    "lookalikes": 0.5,
    "camera_shift": 0.5,
}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """All 36,036 real names of Market-1501, hard links to one tiny image."""
    folder = tmp_path_factory.mktemp("raw") / "Market-1501-v15.09.15"
    for name in SUBFOLDERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "Thumbs.db").write_bytes(b"not an image")
    Image.new("RGB", (4, 8), (10, 200, 60)).save(folder / "tiny.jpg")
    for part in ("train", "query", "test"):
        with gzip.open(
            ROOT / "reid" / "datasets" / "names" / f"market1501_{part}.csv.gz", "rt"
        ) as file:
            for line in file:
                os.link(folder / "tiny.jpg", folder / line.strip().split(",")[1])
    return folder


@pytest.fixture
def small(tmp_path):
    return tiny_market1501.write(tmp_path / "raw" / "market1501")


def prepare(raw, out, dataset="market1501", source=None, environment=None, **settings):
    """Run the stage in a process of its own; `out` must be absent when it fails, and no draft may
    stay.
    """
    params = out.parent / f"{out.name}.yaml"
    section = {
        "raw": str(raw),
        "download": False,
        "partial_seed": 0,
        "allow_incomplete": True,
    } | settings
    source = MARKET if source is None else source
    params.write_text(
        yaml.safe_dump({"prepare": section, "datasets": {"market1501": {"source": source}}})
    )
    command = [sys.executable, "-m", "stages.prepare", dataset, str(out), "--params", str(params)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | (environment or {}),
        check=False,
    )
    assert out.exists() == (done.returncode == 0), done.stderr
    assert not list(out.parent.glob(".*.partial"))
    return done


def refused(*arguments, **settings):
    """Run the stage on bad input; its one paragraph of error."""
    done = prepare(*arguments, **settings)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.strip().split("\n")[-1]
    assert message.startswith("error: ")
    return message


def test_real_names_whole(real, tmp_path):
    done = prepare(real.parent, tmp_path / "market1501", allow_incomplete=False)
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()[2:]] == [
        ["train", "751", "12936", "6"],
        ["query", "750", "3368", "6"],
        ["gallery", "750", "15913", "6", "2798"],
        ["query_partial", "750", "3368", "6"],
    ]
    statistics = json.loads((tmp_path / "market1501" / "statistics.json").read_text())
    assert statistics["gallery"] == {
        "people": 750,
        "images": 15_913,
        "cameras": 6,
        "distractors": 2_798,
    }
    gallery = prepared.read(tmp_path / "market1501" / "gallery")
    assert gallery.names == sorted(gallery.names)
    assert gallery.content(15_912) == (real / "tiny.jpg").read_bytes()


def test_one_missing_query_image_is_named(real, tmp_path):
    query = next(path for path in sorted((real / "query").iterdir()) if path.suffix == ".jpg")
    query.unlink()
    try:
        message = refused(real.parent, tmp_path / "out", allow_incomplete=False)
    finally:
        os.link(real / "tiny.jpg", query)
    assert (
        f"query has 3,367 images of 3,368 (1 missing). Missing are {query.name} of query. Unpack"
        in message
    )
    assert "train has" not in message
    assert "gallery has" not in message


def test_original_bytes_and_partial_queries(small, tmp_path):
    assert prepare(small.parent, tmp_path / "out").returncode == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "train", "query", "query_partial", "gallery", "statistics.json",
    }  # fmt: skip
    for split, subfolder in zip(("train", "query", "gallery"), SUBFOLDERS, strict=True):
        packed = prepared.read(tmp_path / "out" / split)
        assert [packed.content(i) for i in range(len(packed))] == [
            (small / subfolder / name).read_bytes() for name in packed.names
        ]
    query, partial = (
        prepared.read(tmp_path / "out" / split) for split in ("query", "query_partial")
    )
    assert partial.names == query.names
    assert partial.pids.tolist() == query.pids.tolist()
    assert partial.camids.tolist() == query.camids.tolist()
    with (
        zipfile.ZipFile(tmp_path / "out" / "query_partial" / "images.zip") as archive,
        archive.open(partial.names[0]) as file,
    ):
        image = Image.open(file)
        assert (image.format, image.size) == ("JPEG", (10, 20))


def contents(folder):
    """Each file below a folder -> its bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_equal_runs_make_equal_bytes_and_the_seed_changes_partial_queries_alone(small, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert prepare(small.parent, tmp_path / name, partial_seed=seed).returncode == 0
    first, other = contents(tmp_path / "a"), contents(tmp_path / "c")
    assert first == contents(tmp_path / "b")
    assert {name for name in first if first[name] != other[name]} == {
        "query_partial/images.zip",
        "query_partial/made_by.json",
        "query_partial/manifest.csv",
    }
    assert {name for name in first if first[name] == other[name]} == {
        *(f"{split}/images.zip" for split in ("train", "query", "gallery")),
        *(f"{split}/made_by.json" for split in ("train", "query", "gallery")),
        *(f"{split}/manifest.csv" for split in ("train", "query", "gallery")),
        "statistics.json",
    }


def test_raw_may_come_from_the_environment(small, tmp_path):
    assert (
        prepare("", tmp_path / "out", environment={"REID_DATA": str(small.parent)}).returncode == 0
    )


def test_the_benchmark_is_drawn_and_packed(tmp_path):
    done = prepare("", tmp_path / "out", source={"reader": "synthetic", **SYNTHETIC})
    assert done.returncode == 0, done.stderr
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert (
        statistics["train"]["people"]
        == statistics["query"]["people"]
        == statistics["gallery"]["people"]
        == 3
    )
    assert statistics["gallery"]["distractors"] == 2


def test_the_benchmarks_settings_are_exact(tmp_path):
    message = refused(
        "", tmp_path / "out", source={"reader": "synthetic", **SYNTHETIC, "colour": 1}
    )
    assert "datasets.market1501.source" in message
    assert "source.colour` is unknown" in message


def test_missing_folder(tmp_path):
    message = refused(tmp_path / "absent", tmp_path / "out")
    assert str(tmp_path / "absent") in message
    assert "Market-1501-v15.09.15" in message
    (tmp_path / "raw").mkdir()
    assert "looked for a folder Market-1501-v15.09.15, " in refused(
        tmp_path / "raw", tmp_path / "out"
    )


def test_empty_folder(tmp_path):
    folder = tmp_path / "raw" / "Market-1501-v15.09.15"
    folder.mkdir(parents=True)
    assert "lacks bounding_box_train, query, bounding_box_test" in refused(
        tmp_path / "raw", tmp_path / "out"
    )
    for name in SUBFOLDERS:
        (folder / name).mkdir()
    assert "bounding_box_train holds no images" in refused(tmp_path / "raw", tmp_path / "out")


def test_a_corrupt_image_is_named(small, tmp_path):
    path = small / "bounding_box_test" / "0003_c2s1_000001_01.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    message = refused(small.parent, tmp_path / "out")
    assert "1 of 7 images cannot be read or decoded" in message
    assert str(path) in message


def test_an_odd_name_is_named(small, tmp_path):
    (small / "query" / "holiday.jpg").write_bytes(b"")
    message = refused(small.parent, tmp_path / "out")
    assert "holiday.jpg" in message
    assert str(small / "query") in message


def test_no_match_left(small, tmp_path):
    for path in (small / "query").iterdir():
        shutil.move(path, path.with_name(path.name.replace("_c1", "_c5").replace("_c2", "_c5")))
    for path in (small / "bounding_box_test").iterdir():
        shutil.move(path, path.with_name(path.name.replace("_c1", "_c5").replace("_c2", "_c5")))
    message = refused(small.parent, tmp_path / "out")
    assert "none of the 2 query images has a match" in message
    assert "0003_c5s1_000001_00.jpg (pid 3, camera 5; gallery cameras of this pid: 5)" in message


def test_unknown_dataset_reader_and_keys(small, tmp_path):
    out = tmp_path / "out"
    assert "unknown dataset 'mars' in params.yaml: choose one of market1501" in refused(
        small.parent, out, dataset="mars"
    )
    message = refused(small.parent, out, source={"reader": "mars"})
    assert "datasets.market1501.source" in message
    assert "market1501, dukemtmcreid, cuhk03, msmt17, " in message
    for source in ({}, "market1501", {"reader": ["market1501"]}):
        assert "wanted `reader:`" in refused(small.parent, out, source=source)
    assert (
        "source.boxes` is unknown; the keys of `datasets.market1501.source` are reader,"
        in refused(small.parent, out, source={**MARKET, "boxes": "detected"})
    )
    assert "`datasets.market1501.source.distractors_500k` is missing" in refused(
        small.parent, out, source={"reader": "market1501"}
    )
    assert (
        "source.split` is unknown; the keys of `datasets.market1501.source` are reader."
        in refused(small.parent, out, source={"reader": "dukemtmcreid", "split": 0})
    )
    assert "`prepare.seed` is unknown" in refused(small.parent, out, seed=1)


def test_a_failed_run_leaves_the_earlier_output(small, tmp_path):
    assert prepare(small.parent, tmp_path / "out").returncode == 0
    before = (tmp_path / "out" / "query" / "manifest.csv").read_bytes()
    (small / "query" / "holiday.jpg").write_bytes(b"")
    command = [sys.executable, "-m", "stages.prepare", "market1501", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--params", str(tmp_path / "out.yaml")],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert (tmp_path / "out" / "query" / "manifest.csv").read_bytes() == before


def test_help_describes_input_and_output():
    command = [sys.executable, "-m", "stages.prepare", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "params.yaml" in text
    assert "manifest.csv" in text
