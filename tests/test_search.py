"""Search of folders: as the stages rank, whatever the pictures, and each described once."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reid
from reid import prepared
from reid.arrays import matrices
from reid.arrays.names import COLUMNS
from reid.lookup import files, project, store
from reid.lookup.model import Model, _decoder
from reid.lookup.settings import DEFAULTS
from reid.runtime import config
from tests.conftest import ROOT, run_module, run_stage


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/reid/features"


@pytest.fixture(scope="session")
def unpacked(finished, tmp_path_factory):
    """The tiny benchmark's pictures in folders query and gallery."""
    folder = tmp_path_factory.mktemp("pictures")
    for split in ("query", "gallery"):
        with zipfile.ZipFile(finished / "data" / split / "images.zip") as archive:
            archive.extractall(folder / split)
    return folder


@pytest.fixture
def pictures(unpacked, tmp_path):
    """A copy of them to change, all settled."""
    folder = tmp_path / "pictures"
    shutil.copytree(unpacked, folder)
    return folder


@pytest.fixture
def model(finished):
    return finished / "model/model.safetensors"


@pytest.fixture
def described(monkeypatch):
    """How many pictures each call of the network described."""
    counts, original = [], Model.describe_each

    def describe_each(self, rgb, count, take):
        counts.append(count)
        return original(self, rgb, count, take)

    monkeypatch.setattr(Model, "describe_each", describe_each)
    return counts


def command(*arguments):
    return run_module("reid.tools.search", *arguments)


def first(folder):
    return sorted(folder.iterdir())[0]


def names(answer):
    return [result.picture.name for result in answer.results]


def test_the_defaults_are_those_of_the_project():
    params = config.read(ROOT / "params.yaml")
    assert {name: params[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_ranks_as_the_stages_do(column, finished, unpacked, model):
    splits = [prepared.read(finished / "data" / name) for name in ("query", "gallery")]
    shape = len(splits[0]), len(splits[1])
    stages = matrices.read_columns(finished / "distances/full", finished / "reranked/full", shape)
    queries = [unpacked / "query" / name for name in splits[0].names]
    found = reid.search(queries, unpacked / "gallery", model, column=column, top=1000)
    assert found.pictures == shape[1]
    for row, answer in enumerate(found.answers):
        of_stages = dict(zip(splits[1].names, np.asarray(stages[column][row]), strict=True))
        distances = [result.distance for result in answer.results]
        assert names(answer) == sorted(of_stages, key=lambda name: (of_stages[name], name))
        assert distances == [of_stages[name] for name in names(answer)]


def test_a_search_describes_each_picture_once(pictures, model, described):
    gallery, query = pictures / "gallery", first(pictures / "query")
    count = len(list(gallery.iterdir()))
    before = reid.search(query, gallery, model)
    assert described == [count, 1]
    assert reid.search(query, gallery, model).answers == before.answers
    assert reid.search(query, gallery, model, column="dmli_rk").answers != before.answers
    assert described == [count, 1]


def test_changed_added_moved_and_removed_pictures_are_noticed(pictures, model, described, cache):
    gallery, query = pictures / "gallery", first(pictures / "query")
    reid.search(query, gallery, model)
    del described[:]
    removed, changed, moved, *_ = sorted(gallery.iterdir())
    removed.unlink()
    stat = changed.stat()
    with Image.open(query) as image:  # other bytes, the same size and time
        image.resize((30, 60)).save(changed, "BMP")
    content = changed.read_bytes()
    changed.write_bytes(content + bytes(max(0, stat.st_size - len(content))))
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (gallery / "below").mkdir()
    moved.rename(gallery / "below" / "moved.jpg")
    shutil.copy(query, gallery / "added.jpg")
    found = reid.search(query, gallery, model, top=1000)
    assert described == [2]
    assert names(found.answers[0])[0] == "added.jpg"
    assert removed.name not in names(found.answers[0])
    assert {"moved.jpg", changed.name} <= set(names(found.answers[0]))
    shutil.rmtree(cache)
    assert reid.search(query, gallery, model, top=1000).answers == found.answers


@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "index", "older"])
def test_a_damaged_cache_is_made_anew(harm, pictures, model, cache, described):
    gallery, query = pictures / "gallery", first(pictures / "query")
    before = reid.search(query, gallery, model)
    del described[:]
    for entry in cache.iterdir():
        file, index = next(entry.glob("*stripes.npy")), entry / "index.json"
        content = file.read_bytes()
        if harm == "cut":
            file.write_bytes(content[:-5])
        elif harm == "flip":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif harm == "remove":
            file.unlink()
        else:
            index.write_text("{}" if harm == "older" else index.read_text()[:-9])
    assert reid.search(query, gallery, model).answers == before.answers
    assert described == [before.pictures, 1]


def test_two_searches_at_once_describe_the_gallery_once(pictures, model, cache):
    code = (
        "import sys, reid; found = reid.search(*sys.argv[1:]);"
        "print([(str(r.picture), r.distance) for r in found.answers[0].results])"
    )
    arguments = [first(pictures / "query"), pictures / "gallery", model]
    call = [sys.executable, "-c", code, *map(str, arguments)]
    started = [subprocess.Popen(call, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(2)]
    printed = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert printed[0] == printed[1]
    assert not list(cache.glob(".*"))
    assert all(len(list(entry.iterdir())) == 3 for entry in cache.iterdir())


def test_old_entries_are_removed_beyond_the_cap(pictures, model, cache, monkeypatch):
    monkeypatch.setattr(store, "MOST", 2)
    for query in sorted((pictures / "query").iterdir())[:3]:
        reid.search(query, pictures / "gallery", model)
    assert len(list(cache.iterdir())) == 2


def test_without_a_place_for_the_cache_nothing_is_kept(pictures, model, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    with pytest.warns(UserWarning, match="features are not kept"):
        reid.search(first(pictures / "query"), pictures / "gallery", model)


def test_pictures_of_every_kind_are_searched(tmp_path, model):
    gallery = tmp_path / "all kinds"
    (gallery / "unter ordner/größe").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 50, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels[..., :3]).save(gallery / "turned.jpg", exif=exif)
    Image.fromarray(pixels).save(gallery / "unter ordner/größe/alpha 人.png")
    Image.fromarray(pixels[..., 0]).save(gallery / "grey.PNG")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(gallery / "deep.tif")
    Image.fromarray(pixels[:1, :1, :3]).save(gallery / "dot.webp")
    (gallery / "notes.txt").write_text("no picture")
    (gallery / ".hidden.jpg").write_text("no picture")
    found = reid.search(gallery / "grey.PNG", gallery, model)
    assert found.left_out == {}
    assert sorted(names(found.answers[0])) == sorted(
        ["turned.jpg", "alpha 人.png", "grey.PNG", "deep.tif", "dot.webp"]
    )
    assert {*names(found.answers[0])[:2]} == {"grey.PNG", "deep.tif"}


@pytest.mark.parametrize("strict", [False, True])
def test_broken_pictures_are_named_and_left_out(strict, pictures, model, capsys, described):
    gallery = pictures / "gallery"
    (gallery / "text.jpg").write_text("not a picture")
    (gallery / "empty.png").touch()
    options = ["--strict"] if strict else []
    for _ in range(2):
        code = command(first(pictures / "query"), "--gallery", gallery, "--model", model, *options)
        printed = capsys.readouterr()
        message = code if strict else printed.err
        assert ("error: " if strict else "warning: ") + "2 pictures were left out" in message
        assert "text.jpg" in message
        assert "empty.png" in message
        assert "gallery/" in printed.out
        assert strict or code == 0
    assert len(described) == 2  # the gallery and the query: what is broken is known, too


def test_json_is_what_the_table_says(pictures, model, capsys):
    query = first(pictures / "query")
    options = [query, "--gallery", pictures / "gallery", "--model", model, "--top", 3]
    assert command(*options, "--json", "--rerank") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["column"] == "global_dmli_rk"
    assert content["threshold"] is None
    (answer,) = content["queries"]
    assert answer["in_gallery"] is None
    assert len(answer["results"]) == 3
    assert command(*options, "--column", "global_dmli_rk") == 0
    table = capsys.readouterr().out
    for result in answer["results"]:
        assert f"{result['distance']:.4f}  {result['picture']}" in table


def test_the_list_is_drawn_and_drawn_again(pictures, model, tmp_path, capsys):
    queries = sorted((pictures / "query").iterdir())[:2]
    options = ["--gallery", pictures / "gallery", "--model", model, "--save", tmp_path / "a.png"]
    for _ in range(2):
        assert command(*queries, *options) == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > image.height > 500


def test_one_picture_is_a_gallery_and_k1_may_be_larger(pictures, model, tmp_path, capsys):
    shutil.copytree(pictures / "query", tmp_path / "few")
    query, *others = sorted((tmp_path / "few").iterdir())
    for other in others:
        other.unlink()
    for column in COLUMNS:
        assert (
            command(query, "--gallery", tmp_path / "few", "--model", model, "--column", column) == 0
        )
        printed = capsys.readouterr()
        assert "among 1 pictures" in printed.out
        assert ("k1 is 20, but there are 2 pictures" in printed.err) == column.endswith("_rk")


def test_pictures_that_are_all_alike_are_at_one_distance(pictures, model, tmp_path):
    (tmp_path / "same").mkdir()
    for number in range(3):
        shutil.copy(first(pictures / "query"), tmp_path / f"same/{number}.jpg")
    found = reid.search(first(pictures / "gallery"), tmp_path / "same", model)
    assert names(found.answers[0]) == ["0.jpg", "1.jpg", "2.jpg"]
    assert len({result.distance for result in found.answers[0].results}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.jpg", "--gallery", "gallery"], "the query absent.jpg is no picture"),
        (["query", "--gallery", "gallery"], "it is a folder"),
        (["text.jpg", "--gallery", "gallery"], "text.jpg cannot be described: it is none of"),
        (["Q", "--gallery", "absent"], "absent is no folder of pictures: it is not there"),
        (["Q", "--gallery", "text.jpg"], "it is a file"),
        (["Q", "--gallery", "empty"], "empty holds no picture"),
        (["Q", "--gallery", "broken"], "broken/text.jpg cannot be described"),
        (["Q", "--gallery", "gallery", "--model", "absent"], "absent is no model"),
        (["Q", "--gallery", "gallery", "--model", "old"], "old is no model of this project"),
        (["Q", "--gallery", "gallery", "--rerank", "--column", "local"], "are re-ranked"),
    ],
)
def test_mistakes_are_told(arguments, message, pictures, model, monkeypatch):
    monkeypatch.chdir(pictures)
    for folder in ("empty", "broken"):
        Path(folder).mkdir()
    for file in ("text.jpg", "broken/text.jpg", "empty/notes.txt"):
        Path(file).write_text("text", encoding="utf-8")
    content = model.read_bytes()
    Path("old").write_bytes(content.replace(b"last_stride", b"lost_stride"))
    query = first(Path("query"))
    options = [] if "--model" in arguments else ["--model", model]
    code = command(*[query if word == "Q" else word for word in arguments], *options)
    assert str(code).startswith("error: ")
    assert message in code


def test_without_a_model_the_headlines_is_taken(
    pictures, finished, params_file, monkeypatch, capsys
):
    monkeypatch.chdir(pictures)
    options = [first(Path("query")), "--gallery", "gallery"]
    assert "type `--model FILE`" in command(*options)
    shutil.copy(params_file, "params.yaml")
    assert "type `make repro`" in command(*options)
    shutil.copytree(finished / "model", "models/synthetic/alignedreid/0")
    assert command(*options) == 0


def test_who_is_beyond_the_threshold_is_not_in_the_gallery(
    pictures, finished, params_file, monkeypatch, capsys
):
    monkeypatch.chdir(pictures)
    shutil.copytree(finished / "model", "models/synthetic/ls/0")
    shutil.copytree(finished / "runs", "metrics/runs")
    model = "models/synthetic/ls/0/model.safetensors"
    query, run = first(Path("query")), Path("metrics/runs/synthetic/ls/0.json")
    content = json.loads(run.read_text(encoding="utf-8"))
    at = content["verification"]["full"]["columns"]["local"]["at"]
    nearest = reid.search(query, "gallery", model, column="local", top=4).answers[0].results
    at[1]["threshold"] = nearest[1].distance
    at[2]["threshold"] = nearest[0].distance - 1e-6
    run.write_text(json.dumps(content), encoding="utf-8")
    options = [query, "--gallery", "gallery", "--model", model, "--column", "local"]
    assert command(*options) == 0
    printed = capsys.readouterr().out
    assert "2 of these within the threshold" in printed
    assert printed.count("no: beyond it") == 8
    assert command(*options, "--far", "1e-4") == 0
    assert "not in the gallery: none within the threshold" in capsys.readouterr().out
    assert command(*options, "--far", "0.5") == 0
    assert "has none for --far 0.5, but for 0.01, 0.001, 0.0001" in capsys.readouterr().out
    (pictures / "models/synthetic/ls/0/training.json").write_text("{}")
    assert project.threshold(Path(model), "local", 1e-3)[0] is None


def test_a_file_that_changes_while_it_is_read_ends_the_search(pictures, model, monkeypatch):
    read = store.read_bytes
    monkeypatch.setattr(store, "read_bytes", lambda path: read(path) + b" ")
    with pytest.raises(reid.InputError, match="changed while it was read"):
        reid.search(first(pictures / "query"), pictures / "gallery", model)


def test_names_that_are_no_utf8_are_printed(pictures, model, capsys):
    name = os.fsdecode(b"\xff.jpg")
    shutil.copy(first(pictures / "query"), pictures / "gallery" / name)
    options = ["--gallery", pictures / "gallery", "--model", model]
    assert command(first(pictures / "query"), *options) == 0
    assert "\\udcff.jpg" in capsys.readouterr().out


def test_links_to_folders_are_not_followed(pictures):
    count = len(files.pictures_in(pictures / "gallery"))
    (pictures / "gallery/loop").symlink_to(pictures / "gallery")
    assert len(files.pictures_in(pictures / "gallery")) == count


def test_two_pictures_are_compared(pictures, model, tmp_path, capsys):
    pair = sorted((pictures / "query").iterdir())[:2]
    options = ["--model", model, "--save", tmp_path / "pair.png"]
    assert run_module("reid.tools.compare_images", *pair, *options) == 0
    printed = capsys.readouterr().out
    (tmp_path / "one").mkdir()
    shutil.copy(pair[1], tmp_path / "one")
    for column in ("global", "local", "dmli", "global_dmli"):
        found = reid.search(pair[0], tmp_path / "one", model, column=column)
        assert f"{column:12} {found.answers[0].results[0].distance:.4f}" in printed
    assert printed.count("[") == 15  # cells of the path
    assert (tmp_path / "pair.png").stat().st_size > 10_000


def csv_of(folder, prefix=""):
    lines = [
        f"{prefix}{file.name},{int(file.name[:4])},{file.name[6]}"
        for file in sorted(folder.iterdir())
    ]
    return ["image,pid,camid", *lines]


def test_the_stages_work_on_features_of_folders(pictures, finished, model, params_file, tmp_path):
    lines = [*csv_of(pictures / "query", "query/"), *csv_of(pictures / "gallery", "gallery/")[1:]]
    (tmp_path / "people.csv").write_text("\n".join(lines))
    options = ["--csv", tmp_path / "people.csv", "--model", model]
    out = tmp_path / "features"
    assert run_module("reid.tools.extract_folder", pictures, out, *options) == 0
    settings = ["--params", params_file]
    folders = [out, tmp_path / "distances", tmp_path / "reranked"]
    assert run_stage("distances", *folders[:2], *settings) == 0
    assert run_stage("rerank", *folders, *settings) == 0
    assert run_stage("evaluate", *folders, tmp_path / "run.json", *settings) == 0
    run, stages = (
        json.loads(file.read_text())["full"]
        for file in (tmp_path / "run.json", finished / "runs/synthetic/ls/0.json")
    )
    assert run == stages


def test_evaluation_in_one_go_is_that_of_the_stages(finished, capsys):
    assert run_module("reid.tools.evaluate_features", finished / "features", "--json") == 0
    run = json.loads(capsys.readouterr().out)
    stages = json.loads((finished / "runs/synthetic/ls/0.json").read_text())
    assert run == {key: stages[key] for key in run}
    assert set(run["full"]) == set(COLUMNS)
    assert run_module("reid.tools.evaluate_features", finished / "features") == 0
    printed = capsys.readouterr().out
    assert f"| global_dmli_rk | {run['partial']['global_dmli_rk']['rank1']:7.2f} |" in printed


def test_without_a_csv_nobody_is_known(pictures, model, tmp_path):
    out = tmp_path / "out"
    arguments = [pictures / "gallery", out, "--model", model]
    assert run_module("reid.tools.extract_folder", *arguments) == 0
    assert set(np.load(out / "query/pids.npy")) == {-1}
    assert "has a match" in run_module("reid.tools.evaluate_features", out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,pid\na.jpg,1\n", "got the columns"),
        ("image,pid,camid\na.jpg,x,1\n", "line 2 of"),
        ("image,pid,camid\na.jpg,1,1\na.jpg,1,1\n", "comes twice"),
        ("image,pid,camid\na.jpg,1,1\n", "does not say who is on"),
        ("", "got the columns None"),
    ],
)
def test_mistakes_in_a_csv_are_told(text, message, pictures, model, tmp_path):
    (tmp_path / "people.csv").write_text(text)
    options = ["--csv", tmp_path / "people.csv", "--model", model]
    code = run_module("reid.tools.extract_folder", pictures / "gallery", tmp_path / "out", *options)
    assert message in code
    assert not (tmp_path / "out").exists()


def test_strict_extraction_writes_nothing(pictures, model, tmp_path):
    (pictures / "gallery/text.jpg").write_text("text")
    arguments = [pictures / "gallery", tmp_path / "out", "--model", model, "--strict"]
    assert "1 pictures were left out" in run_module("reid.tools.extract_folder", *arguments)
    assert not (tmp_path / "out").exists()


def test_a_model_describes_paths_images_and_arrays_alike(pictures, model):
    paths = sorted((pictures / "gallery").iterdir())
    opened = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in opened]
    loaded = reid.Model.load(model)
    described = [
        loaded.describe(images) for images in (pictures / "gallery", paths, opened, arrays)
    ]
    for features in described:
        assert features.stripes.shape == (len(paths), 8, 128)
        np.testing.assert_array_equal(features.stripes, described[0].stripes)
        np.testing.assert_array_equal(features.global_features, described[0].global_features)
    for wrong in ([], [np.zeros((4, 4))], [pictures / "absent.jpg"]):
        with pytest.raises(reid.InputError):
            loaded.describe(wrong)


def test_the_example_of_the_page_runs(pictures, model, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    monkeypatch.chdir(pictures)
    shutil.copy(model, "model.safetensors")
    shutil.copy(first(Path("query")), "query.jpg")
    exec(compile(code, "docs/python.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith(", 8, 128)")
    assert len(printed) == 6
    assert all(line.split(maxsplit=1)[1].startswith("gallery/") for line in printed[1:])


def test_all_names_of_the_library_are_there():
    assert dir(reid) == sorted(reid.__all__)
    assert all(getattr(reid, name).__name__ == name for name in reid.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'serach'"):
        _ = reid.serach
    assert (ROOT / "reid/py.typed").exists()


@pytest.mark.parametrize("at_once", [1, 3])
def test_pixels_are_decoded_in_any_number_of_threads(at_once):
    def rgb(row):
        if row == 4:
            raise ValueError("broken")
        return Image.new("RGB", (10, 20), (row, 0, 0))

    reasons = {}
    pixels = _decoder(rgb, (6, 3), reasons, at_once)(slice(2, 6))
    assert pixels.shape == (4, 6, 3, 3)
    assert pixels[:, 0, 0, 0].tolist() == [2, 3, 0, 5]
    assert reasons == {4: "broken"}
