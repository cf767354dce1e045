"""Prepared datasets: what is written comes back, equal images make equal bytes, and damaged files
say what to do.
"""

import csv
import hashlib
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from reid import prepared
from reid.runtime.errors import InputError

SPLITS = {
    "train": [("a.jpg", 1, 1, b"first"), ("b.jpg.jpg", 1, 2, b"second"), ("c.jpg", 7, 2, b"")],
    "query": [("d.jpg", 2, 1, b"\x00\xff" * 1000)],
    "gallery": [("z.jpg", 2, 3, b"z"), ('é, "odd".jpg', 0, 1, b"e"), ("y.jpg", 0, 1, b"e")],
}


@pytest.fixture
def folder(tmp_path):
    prepared.write(tmp_path / "market1501", SPLITS)
    return tmp_path / "market1501"


@pytest.mark.parametrize("name", SPLITS)
def test_what_is_written_comes_back_in_order(folder, name):
    split = prepared.read(folder / name)
    names, pids, camids, contents = zip(*SPLITS[name], strict=True)
    assert split.name == name
    assert split.names == list(names)
    assert len(split) == len(names)
    assert split.pids.dtype == split.camids.dtype == np.int64
    assert split.pids.tolist() == list(pids)
    assert split.camids.tolist() == list(camids)
    assert [split.content(i) for i in range(len(split))] == list(contents)


def test_statistics_and_manifest(tmp_path):
    statistics = prepared.write(tmp_path, SPLITS)
    assert statistics == {
        "train": {"people": 2, "images": 3, "cameras": 2},
        "query": {"people": 1, "images": 1, "cameras": 1},
        "gallery": {"people": 1, "images": 3, "cameras": 2, "distractors": 2},
    }
    assert json.loads((tmp_path / "statistics.json").read_text()) == statistics
    for split, images in SPLITS.items():
        with open(tmp_path / split / "manifest.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        wanted = [
            [name, str(pid), str(camid), hashlib.sha256(content).hexdigest()]
            for name, pid, camid, content in images
        ]
        assert rows == [["name", "pid", "camid", "sha256"], *wanted]


def test_equal_images_make_equal_bytes(folder, tmp_path):
    prepared.write(tmp_path / "again", SPLITS)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert [str(file) for file in files] == [
        "gallery/images.zip",
        "gallery/manifest.csv",
        "query/images.zip",
        "query/manifest.csv",
        "statistics.json",
        "train/images.zip",
        "train/manifest.csv",
    ]
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    info = zipfile.ZipFile(folder / "query" / "images.zip").infolist()[0]
    assert info.compress_type == zipfile.ZIP_STORED
    assert info.date_time == (1980, 1, 1, 0, 0, 0)


def test_images_are_taken_one_at_a_time(tmp_path):
    alive, most = 0, 0

    class Content(bytes):
        def __new__(cls, i):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return super().__new__(cls, str(i).encode())

        def __del__(self):
            nonlocal alive
            alive -= 1

    prepared.write(tmp_path, {"train": ((f"{i}.jpg", 1, 1, Content(i)) for i in range(100))})
    assert most <= 2


def test_many_threads_may_read(tmp_path):
    contents = [os.urandom(100 + i) for i in range(300)]
    prepared.write(
        tmp_path, {"train": [(f"{i}.jpg", i, 1, content) for i, content in enumerate(contents)]}
    )
    split = prepared.read(tmp_path / "train")
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(split.content, list(range(300)) * 5)) == contents * 5


def test_an_empty_split_comes_back_empty(tmp_path):
    prepared.write(tmp_path, {"train": []})
    split = prepared.read(tmp_path / "train")
    assert len(split) == 0
    assert split.pids.dtype == np.int64


def test_names_are_text_whatever_they_look_like(tmp_path):
    names = ["NA", "1e5", "007", "nan", "true", " a", "#b", "", "x,y", "null", "-1", "2026-01-01"]
    prepared.write(tmp_path, {"query": [(name, 1, 1, name.encode()) for name in names]})
    split = prepared.read(tmp_path / "query")
    assert split.names == names
    assert all(type(name) is str for name in split.names)
    assert [split.content(i).decode() for i in range(len(names))] == names


def test_odd_names_come_back(tmp_path):
    names = ["a\tb", "a\x0bb", 'a"b', "a\\b", "a/b", "/a", "é\u2028"]
    prepared.write(tmp_path, {"query": [(name, 1, 1, name.encode()) for name in names]})
    split = prepared.read(tmp_path / "query")
    assert split.names == names
    assert [split.content(i).decode() for i in range(len(names))] == names


@pytest.mark.parametrize(
    ("name", "pid", "camid", "told"),
    [
        (os.fsdecode(b"caf\xe9.jpg"), 1, 1, r"'caf\\\\udce9.jpg' is not one line of UTF-8"),
        ("a\0b.jpg", 1, 1, r"'a\\x00b.jpg' is not one line"),
        ("a\rb.jpg", 1, 1, r"'a\\rb.jpg' is not one line"),
        ("a\nb.jpg", 1, 1, r"'a\\nb.jpg' is not one line"),
        ("a.jpg", 2**63, 1, "a.jpg: pid is 9223372036854775808, wanted less"),
        ("a.jpg", 1, 2**63, "a.jpg: camid is 9223372036854775808, wanted less"),
    ],
)
def test_what_the_files_cannot_hold_is_refused(tmp_path, name, pid, camid, told):
    with pytest.raises(InputError, match=told) as error:
        prepared.write(tmp_path, {"query": [(name, pid, camid, b"")]})
    str(error.value).encode()


def test_junk_is_no_person(tmp_path):
    images = [(f"{pid}.jpg", pid, 1, b"") for pid in (-2, -1, 0, 5)]
    assert prepared.write(tmp_path, {"gallery": images}) == {
        "gallery": {"people": 1, "images": 4, "cameras": 1, "distractors": 1}
    }


def test_arrays_may_be_written_to(folder):
    split = prepared.read(folder / "train")
    assert split.pids.flags.writeable
    assert split.camids.flags.writeable


def test_a_split_knows_its_dataset(folder):
    assert prepared.dataset_of(prepared.read(folder / "train")) == "market1501"


def test_a_name_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"two images of one split are called a.jpg"):
        prepared.write(tmp_path, {"train": [("a.jpg", 1, 1, b"x"), ("a.jpg", 2, 1, b"y")]})


def expect_damaged(folder, *words):
    with pytest.raises(InputError, match="dvc repro prepare@market1501") as error:
        prepared.read(folder / "train")
    assert all(word in str(error.value) for word in words), error.value


def test_absent_files_name_the_next_step(folder):
    absent = folder.parent / "absent" / "market1501"
    expect_damaged(absent, "train/manifest.csv", "no such file")
    (folder / "train" / "images.zip").unlink()
    expect_damaged(folder, "train/images.zip", "no such file")


def test_a_dataset_is_not_one_of_its_splits(folder):
    with pytest.raises(InputError, match=r"wanted one of its splits, such as .*market1501/train"):
        prepared.read(folder)


def test_a_truncated_zip_names_the_next_step(folder):
    path = folder / "train" / "images.zip"
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        expect_damaged(folder, "train/images.zip")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("a.jpg,1,1", "a.jpg,one,1", "one"),
        ("a.jpg,1,1", "a.jpg,1.5,1", "ValueError"),
        ("a.jpg,1,1", "a.jpg,,1", "ValueError"),
        ("a.jpg,1,1", "a.jpg,1", "manifest.csv"),
        ("a.jpg,1,1", "a.jpg,99999999999999999999,1", "manifest.csv"),
        ("name,pid", "pid,name", "manifest.csv"),
        ("name,pid", "image,pid", "its columns are image, pid, camid, sha256, wanted name, pid"),
        ("c.jpg,7,2,", "c.jpg,7,2,x", "a sha256 that is none"),
        ("c.jpg", "d.jpg", "images.zip: its 3 images are not the 3 that manifest.csv names"),
        ("a.jpg", '"a.jpg', "manifest.csv"),
        ("b.jpg.jpg", "a.jpg", "it has a name twice"),
        ("c.jpg,7,2,", "c.jpg,7,2\nc.jpg,", "manifest.csv"),
        ("c.jpg,7", "c\0.jpg,7", "manifest.csv"),
        ("a.jpg,1,1,", "x,a.jpg,1,1,", "manifest.csv"),
    ],
)
def test_a_damaged_manifest_names_the_next_step(folder, before, after, told):
    path = folder / "train" / "manifest.csv"
    path.write_text(path.read_text().replace(before, after))
    expect_damaged(folder, told)


def test_an_empty_manifest_names_the_next_step(folder):
    path = folder / "train" / "manifest.csv"
    header = path.read_text().splitlines()[0]
    path.write_text(header + "\n")
    expect_damaged(folder, "train/images.zip", "its 3 images are not the 0 that")
    path.write_text("")
    expect_damaged(folder, "train/manifest.csv", "EmptyDataError")
    path.write_bytes(b"\xff\xfe")
    expect_damaged(folder, "train/manifest.csv")


@pytest.mark.parametrize("file", ["images.zip", "manifest.csv"])
def test_any_damage_is_an_input_error(folder, file):
    """Or does no harm: names, pids, cameras and contents are what they were."""
    path = folder / "train" / file
    whole, rng = np.frombuffer(path.read_bytes(), np.uint8), np.random.default_rng(0)
    for _ in range(200):
        broken = whole[: rng.choice([len(whole), rng.integers(len(whole))])].copy()
        at = rng.integers(0, max(len(broken), 1), 2) if len(broken) else []
        broken[at] = rng.integers(0, 256, len(at))
        path.write_bytes(broken.tobytes())
        with suppress(InputError):
            split = prepared.read(folder / "train")
            for index in range(len(split)):
                if hashlib.sha256(split.content(index)).hexdigest() == split.checksums[index]:
                    assert split.content(index) in {b"first", b"second", b""}


def test_a_file_of_another_kind_is_told(folder):
    zips = folder / "train" / "images.zip"
    zips.unlink()
    zips.mkdir()
    expect_damaged(folder, "train/images.zip")
    (folder / "train" / "manifest.csv").unlink()
    (folder / "train" / "manifest.csv").mkdir()
    expect_damaged(folder, "train/manifest.csv")


def test_flipped_bytes_are_noticed_when_read(folder):
    path = folder / "train" / "images.zip"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"second", b"sec0nd", 1))
    split = prepared.read(folder / "train")
    assert split.content(0) == b"first"
    with pytest.raises(
        InputError, match=r"b.jpg.jpg: Bad CRC-32.*dvc repro --force prepare@market1501"
    ):
        split.content(1)
