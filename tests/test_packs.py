"""Packs: what is written comes back, equal images make equal bytes, and broken packs say what to
do.
"""

import csv
import hashlib
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

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


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_written_comes_back_in_order(folder, split):
    pack = prepared.read(folder, split)
    names, pids, camids, contents = zip(*SPLITS[split], strict=True)
    assert pack.name == split
    assert pack.names == list(names)
    assert len(pack) == len(names)
    assert pack.pids.dtype == pack.camids.dtype == np.int64
    assert pack.pids.tolist() == list(pids)
    assert pack.camids.tolist() == list(camids)
    assert [pack.content(i) for i in range(len(pack))] == list(contents)


def test_statistics_and_manifest(tmp_path):
    statistics = prepared.write(tmp_path, SPLITS)
    assert statistics == {
        "train": {"people": 2, "images": 3, "cameras": 2},
        "query": {"people": 1, "images": 1, "cameras": 1},
        "gallery": {"people": 1, "images": 3, "cameras": 2, "distractors": 2},
    }
    assert json.loads((tmp_path / "statistics.json").read_text()) == statistics
    with open(tmp_path / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    wanted = [
        [split, name, str(pid), str(camid), hashlib.sha256(content).hexdigest()]
        for split, images in SPLITS.items()
        for name, pid, camid, content in images
    ]
    assert rows == [["split", "name", "pid", "camid", "sha256"], *wanted]


def test_equal_images_make_equal_bytes(folder, tmp_path):
    prepared.write(tmp_path / "again", SPLITS)
    assert sorted(os.listdir(folder)) == [
        "gallery.zip",
        "manifest.csv",
        "query.zip",
        "statistics.json",
        "train.zip",
    ]
    for name in os.listdir(folder):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    info = zipfile.ZipFile(folder / "query.zip").infolist()[0]
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
    pack = prepared.read(tmp_path, "train")
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(pack.content, list(range(300)) * 5)) == contents * 5


def test_an_empty_split_comes_back_empty(tmp_path):
    prepared.write(tmp_path, {"train": []})
    pack = prepared.read(tmp_path, "train")
    assert len(pack) == 0
    assert pack.pids.dtype == np.int64


def test_a_name_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"two images of one split are called a.jpg"):
        prepared.write(tmp_path, {"train": [("a.jpg", 1, 1, b"x"), ("a.jpg", 2, 1, b"y")]})


def expect_damaged(folder, split, *words):
    with pytest.raises(InputError, match="dvc repro prepare@market1501") as error:
        prepared.read(folder, split)
    assert all(word in str(error.value) for word in words), error.value


def test_absent_packs_name_the_next_step(folder):
    expect_damaged(folder.parent / "absent" / "market1501", "train", "manifest.csv", "no such file")
    (folder / "train.zip").unlink()
    expect_damaged(folder, "train", "train.zip", "no such file")


def test_truncated_packs_name_the_next_step(folder):
    content = (folder / "train.zip").read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        (folder / "train.zip").write_bytes(content[:length])
        expect_damaged(folder, "train", "train.zip")
    manifest = (folder / "manifest.csv").read_text()
    (folder / "train.zip").write_bytes(content)
    (folder / "manifest.csv").write_text("")
    expect_damaged(folder, "train", "train.zip", "it holds 3 images and manifest.csv 0")
    (folder / "manifest.csv").write_text(manifest.replace("a.jpg,1,1", "a.jpg,one,1"))
    expect_damaged(folder, "train", "manifest.csv", "one")
    (folder / "manifest.csv").write_text(manifest.replace("split,name", "name,split"))
    expect_damaged(folder, "train")


def test_flipped_bytes_are_noticed_when_read(folder):
    content = (folder / "train.zip").read_bytes()
    (folder / "train.zip").write_bytes(content.replace(b"second", b"sec0nd", 1))
    pack = prepared.read(folder, "train")
    assert pack.content(0) == b"first"
    with pytest.raises(
        InputError, match=r"b.jpg.jpg: Bad CRC-32.*dvc repro --force prepare@market1501"
    ):
        pack.content(1)
