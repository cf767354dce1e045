"""CUHK03 from a tiny .mat of the real structure, with the real protocol file; the classic splits;
CUHK03-NP.
"""

import io
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from reid.datasets import cuhk03, packing, readers
from reid.datasets.cuhk03 import Cuhk03Settings
from reid.datasets.records import count
from reid.runtime import settings
from reid.runtime.errors import InputError

PROTOCOL = Path(__file__).parent / "data" / "cuhk03_new_protocol_config_detected.mat"
PEOPLE = 843, 440, 77, 58, 49
NEW = Cuhk03Settings("cuhk03", "detected", "new", 0)
COUNTS = {"train": (767, 7_365, 0), "query": (700, 1_400, 0), "gallery": (700, 5_332, 0)}


def pixels(pair, person, column):
    """An image [3, 2, 3] that says which one it is, and which way up: rows differ in red, columns
    in blue.
    """
    image = np.empty((3, 2, 3), np.uint8)
    image[..., 0] = (np.arange(3) * 60 + pair * 8 + column // 2)[:, None]
    image[..., 1] = person % 251
    image[..., 2] = np.arange(2) * 128 + column
    return image


def real_cells():
    """The cells (pair, person, column) of all 14,097 detected images."""
    names = [str(name.item()) for name in scipy.io.loadmat(PROTOCOL)["filelist"].ravel()]
    return [(int(name[0]), int(name[2:5]), int(name[8:10])) for name in names]


def write_cell(file, values):
    """A MATLAB cell array of references, its axes reversed as HDF5 has them."""
    references = np.empty(values.shape[::-1], h5py.ref_dtype)
    for index in np.ndindex(values.shape):
        references[index[::-1]] = values[index]
    return file["#refs#"].create_dataset(
        f"cell_{len(file['#refs#'])}", data=references, dtype=h5py.ref_dtype
    )


def write_mat(path, cells, testsets):
    """cuhk-03.mat with the images of `cells`, for detected and labeled alike; empty cells as
    MATLAB writes them.
    """
    with h5py.File(path, "w") as file:
        empty = file.create_dataset("#refs#/empty", data=np.zeros(2, np.uint64))
        empty.attrs["MATLAB_empty"] = np.uint8(1)
        arrays = [np.full((people, 10), empty.ref, object) for people in PEOPLE]
        for pair, person, column in cells:
            stored = np.ascontiguousarray(pixels(pair, person, column).T)
            arrays[pair - 1][person - 1, column - 1] = (
                file["#refs#"].create_dataset(f"{pair}_{person}_{column}", data=stored).ref
            )
        pairs = np.array([write_cell(file, array).ref for array in arrays], object)[:, None]
        file["detected"] = file["labeled"] = write_cell(file, pairs)
        sets = [
            file["#refs#"].create_dataset(f"testset_{i}", data=np.array(testset, float).T).ref
            for i, testset in enumerate(testsets)
        ]
        file["testsets"] = write_cell(file, np.array(sets, object)[:, None])


def draw_testsets():
    people = [
        (pair, person) for pair, number in enumerate(PEOPLE, 1) for person in range(1, number + 1)
    ]
    rng = np.random.default_rng(0)
    return [[people[i] for i in rng.choice(len(people), 100, replace=False)] for _ in range(20)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "cuhk03" / "cuhk03_release"
    folder.mkdir(parents=True)
    write_mat(folder / "cuhk-03.mat", real_cells(), draw_testsets())
    shutil.copy(PROTOCOL, folder)
    return folder


def decode(record):
    with Image.open(io.BytesIO(record.content())) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_new_protocol_gives_the_published_counts(folder):
    names = readers.READERS["cuhk03"].folders
    assert readers.locate(folder.parent.parent, names) == folder
    splits = cuhk03.read(folder, NEW)
    assert splits == readers.only_present(splits)
    readers.check_counts(folder, splits, cuhk03.published(NEW))
    assert {split: count(records) for split, records in splits.items()} == COUNTS
    assert all(
        [r.name for r in records] == sorted(r.name for r in records) for records in splits.values()
    )
    readers.check_matches(splits["query"], splits["gallery"])
    for record in splits["gallery"][::500]:
        pair, person, view, column = (int(part) for part in record.name[:-4].split("_"))
        assert record.camid == view
        assert np.array_equal(decode(record), pixels(pair, person, column))
    assert str(splits["query"][0].path).endswith("cuhk-03.mat/" + splits["query"][0].name)


@pytest.mark.parametrize("place", [".", ".."])
def test_the_protocol_lies_beside_the_mat_or_in_the_datasets_folder(folder, tmp_path, place):
    release = tmp_path / "cuhk03" / "cuhk03_release"
    release.mkdir(parents=True)
    (release / "cuhk-03.mat").symlink_to(folder / "cuhk-03.mat")
    with pytest.raises(
        InputError, match=r"new protocol needs cuhk03_new_protocol_config_detected\.mat: looked in"
    ):
        cuhk03.read(release, NEW)
    shutil.copy(PROTOCOL, release / place)
    for start in (release, release.parent):
        assert count(cuhk03.read(start, NEW)["query"]) == COUNTS["query"]


@pytest.mark.parametrize("split", [0, 19])
def test_classic_splits(folder, split):
    settings = Cuhk03Settings("cuhk03", "detected", "classic", split)
    splits = cuhk03.read(folder, settings)
    readers.check_counts(folder, splits, cuhk03.published(settings))
    test = set(draw_testsets()[split])
    assert {tuple(int(part) for part in r.name.split("_")[:2]) for r in splits["query"]} == test
    assert splits["query"] == splits["gallery"]
    assert len(splits["train"]) + len(splits["query"]) == 14_097
    assert not {r.pid for r in splits["train"]} & {r.pid for r in splits["query"]}
    assert {r.camid for r in splits["gallery"]} == {1, 2}
    readers.check_matches(splits["query"], splits["gallery"])


def test_classic_pids_are_the_new_protocols(folder):
    new = {r.name: r.pid for records in cuhk03.read(folder, NEW).values() for r in records}
    classic = cuhk03.read(folder, Cuhk03Settings("cuhk03", "detected", "classic", 3))
    shared = [r for r in classic["train"] if r.name in new]
    assert len(shared) > 10_000
    assert all(r.pid == new[r.name] and r.camid == int(r.name[6]) for r in shared)


def test_an_image_that_the_mat_lacks_is_named(tmp_path):

    cells = [cell for cell in real_cells() if cell[0] == 1 and cell[1] < 50]
    write_mat(tmp_path / "cuhk-03.mat", cells, draw_testsets())
    shutil.copy(PROTOCOL, tmp_path)
    splits = cuhk03.read(tmp_path, NEW)
    with pytest.raises(
        InputError, match=r"13,\d\d\d images are listed, but not there: .*cuhk-03\.mat/1_0"
    ):
        readers.only_present(splits)
    kept = readers.only_present(splits, allow_incomplete=True)
    with pytest.raises(
        InputError, match=r"train has \d+ people of 767 .*query has \d+ images of 1,400 "
    ):
        readers.check_counts(tmp_path, kept, cuhk03.published(NEW))
    packing.check_images(kept)


def test_np_folders(tmp_path):
    config = scipy.io.loadmat(PROTOCOL)
    labels, views = config["labels"].ravel(), config["camId"].ravel()
    for split, subfolder in (
        ("train", "bounding_box_train"),
        ("query", "query"),
        ("gallery", "bounding_box_test"),
    ):
        place = tmp_path / "cuhk03-np" / "detected" / subfolder
        place.mkdir(parents=True)
        for n in config[f"{split}_idx"].ravel().tolist():
            (place / f"{labels[n - 1]:04d}_c{views[n - 1]}_{n}.png").touch()
        (place / "Thumbs.db").touch()
    found = readers.locate(tmp_path, readers.READERS["cuhk03"].folders)
    splits = cuhk03.read(found, NEW)
    readers.check_counts(found, splits, cuhk03.published(NEW))
    assert {split: count(records) for split, records in splits.items()} == COUNTS
    with pytest.raises(InputError, match=r"classic protocol needs cuhk-03\.mat: looked in"):
        cuhk03.read(found, Cuhk03Settings("cuhk03", "detected", "classic", 0))
    with pytest.raises(
        InputError, match=r"needs cuhk-03\.mat: .*, or the folder labeled of CUHK03-NP"
    ):
        cuhk03.read(found, Cuhk03Settings("cuhk03", "labeled", "new", 0))


def test_published_counts_of_labeled_boxes():
    published = cuhk03.published(Cuhk03Settings("cuhk03", "labeled", "new", 0))
    assert published == {
        "train": (767, 7_368, 0),
        "query": (700, 1_400, 0),
        "gallery": (700, 5_328, 0),
    }


def test_files_of_other_kinds(tmp_path):
    shutil.copy(PROTOCOL, tmp_path)
    shutil.copy(PROTOCOL, tmp_path / "cuhk-03.mat")  # MATLAB 5
    with pytest.raises(InputError, match=r"cuhk-03\.mat is not CUHK03's MATLAB 7\.3 file"):
        cuhk03.read(tmp_path, NEW)
    with h5py.File(tmp_path / "cuhk-03.mat", "w") as file:
        file["other"] = 1
    with pytest.raises(InputError, match=r"with cells detected and testsets"):
        cuhk03.read(tmp_path, NEW)
    write_mat(tmp_path / "cuhk-03.mat", [], draw_testsets()[:19])
    with pytest.raises(InputError, match="testsets are not 20 lists"):
        cuhk03.read(tmp_path, NEW)
    write_mat(tmp_path / "cuhk-03.mat", [], draw_testsets())
    (tmp_path / PROTOCOL.name).write_bytes(b"text")
    with pytest.raises(InputError, match="is not a CUHK03 protocol file"):
        cuhk03.read(tmp_path, NEW)


def test_a_damaged_image_is_named(tmp_path):
    write_mat(tmp_path / "cuhk-03.mat", [(1, 1, 1)], draw_testsets())
    with h5py.File(tmp_path / "cuhk-03.mat", "r+") as file:
        del file["#refs#/1_1_1"]
        file["#refs#/other"] = np.zeros((3, 2, 2), np.float32)  # no image
        file[file["detected"][0, 0]][0, 0] = file["#refs#/other"].ref
    shutil.copy(PROTOCOL, tmp_path)
    record = cuhk03.read(tmp_path, NEW)["train"][0]
    with pytest.raises(InputError, match=r"image /#refs#/other of .*cuhk-03\.mat is damaged"):
        record.content()


@pytest.mark.parametrize(
    "other", [{"boxes": "drawn"}, {"protocol": "old"}, {"split": 20}, {"split": -1}]
)
def test_other_settings(other):
    values = {"reader": "cuhk03", "boxes": "detected", "protocol": "new", "split": 0} | other
    with pytest.raises(InputError, match=f"`cuhk03.{next(iter(other))}`: got "):
        settings.make(Cuhk03Settings, values, "cuhk03")
