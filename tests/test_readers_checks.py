"""What readers share, on Market-1501: its real names and damaged folders, where a dataset is found,
counts and matches.
"""

import gzip
import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from reid.datasets import dukemtmcreid, market1501, readers
from reid.datasets.market1501 import Market1501Settings
from reid.datasets.records import Counts, Record, SourceSettings
from reid.runtime.errors import InputError

SUBFOLDERS = ("bounding_box_train", "query", "bounding_box_test")


MARKET = Market1501Settings("market1501", distractors_500k=False)


def read_market1501(folder):
    return market1501.read(folder, MARKET)


def real_names(part):
    """(pid, folder/name) of one of Market-1501's real lists."""
    with gzip.open("reid/datasets/names/market1501_" + part + ".csv.gz", "rt") as file:
        return [line.strip().split(",") for line in file]


def save_image(path, height=8, width=4, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (value, 255 - value, 60)).save(path)


def make_small(folder):
    """Two people, two cameras, one distractor, one junk image, one Thumbs.db."""
    for name in (
        "0001_c1s1_000001_01.jpg",
        "0001_c2s1_000001_01.jpg.jpg",
        "0002_c1s1_000001_01.jpg",
    ):
        save_image(folder / "bounding_box_train" / name)
    for name in ("0003_c1s1_000001_00.jpg", "0004_c6s6_000001_00.jpg.jpg"):
        save_image(folder / "query" / name)
    for name in (
        "0003_c2s1_000001_02.jpg",
        "0004_c1s1_000001_02.jpg",
        "0000_c1s1_000009_02.jpg",
        "-1_c1s1_1.jpg",
    ):
        save_image(folder / "bounding_box_test" / name.replace("_1.jpg", "_000001_02.jpg"))
    for name in SUBFOLDERS:
        (folder / name / "Thumbs.db").write_bytes(b"not an image")
    return folder


@pytest.fixture
def small(tmp_path):
    return make_small(tmp_path / "market1501")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """All 36,036 real names, hard links to one tiny image."""
    root = tmp_path_factory.mktemp("raw") / "Market-1501-v15.09.15"
    save_image(root / "tiny.jpg")
    for name in SUBFOLDERS:
        (root / name).mkdir()
    for part in ("train", "query", "test"):
        for _, name in real_names(part):
            os.link(root / "tiny.jpg", root / name)
    return root


def test_real_names_give_the_published_counts(real):
    splits = read_market1501(readers.locate(real.parent, readers.READERS["market1501"].folders))
    readers.check_counts(real, splits, market1501.published(MARKET))
    readers.check_matches(splits["query"], splits["gallery"])
    assert list(splits) == ["train", "query", "gallery"]
    assert [len(records) for records in splits.values()] == [12_936, 3_368, 15_913]
    assert [len({r.pid for r in records} - {0}) for records in splits.values()] == [751, 750, 750]
    assert sum(r.pid == 0 for r in splits["gallery"]) == 2_798
    assert (
        sum(r.name.endswith(".jpg.jpg") for records in splits.values() for r in records) == 24 - 2
    )  # two are junk
    assert sum(r.pid == 1488 for r in splits["query"]) == 6
    for part, records in zip(("train", "query", "test"), splits.values(), strict=True):
        wanted = sorted(
            (name.split("/")[1], int(pid)) for pid, name in real_names(part) if pid != "-1"
        )
        assert [(r.name, r.pid) for r in records] == wanted
        assert all(int(r.name.split("_c")[1][0]) == r.camid for r in records)


def test_counts_say_by_how_much_each_split_differs(real):
    splits = read_market1501(real)
    fewer = splits | {
        "query": splits["query"][1:],
        "gallery": [r for r in splits["gallery"] if r.pid],
        "train": [*splits["train"], Record(real / "x", "x", 9999, 1)],
    }
    with pytest.raises(InputError) as error:
        readers.check_counts(real, fewer, market1501.published(MARKET))
    message = str(error.value)
    assert "query has 3,367 images of 3,368 (1 missing)" in message
    assert "gallery has 13,115 images of 15,913 (2,798 missing)" in message
    assert "gallery has 0 distractors of 2,798 (2,798 missing)" in message
    assert (
        "train has 752 people of 751 (1 too many); train has 12,937 images of 12,936 (1 too many)"
        in message
    )
    assert "query has 750 people" not in message
    assert "Market-1501-v15.09.15" in message
    assert "prepare.allow_incomplete" in message
    with pytest.raises(
        InputError,
        match=r"Missing are 0001_c1s1_001051_00\.jpg of query; 0000_.* and 2,793 more of gallery\.",
    ):
        readers.check_counts(real, fewer, market1501.published(MARKET), names=market1501.names)
    readers.check_counts(real, fewer, market1501.published(MARKET), allow_incomplete=True)


def test_one_listing_per_folder(small, monkeypatch):
    listed, listdir = [], os.listdir
    monkeypatch.setattr(
        os, "listdir", lambda folder: (listed.append(Path(folder).name), listdir(folder))[1]
    )
    read_market1501(small)
    assert sorted(listed) == sorted(SUBFOLDERS)


def test_small_folder(small):
    splits = read_market1501(small)
    assert [(r.name, r.pid, r.camid) for r in splits["gallery"]] == [
        ("0000_c1s1_000009_02.jpg", 0, 1),
        ("0003_c2s1_000001_02.jpg", 3, 2),
        ("0004_c1s1_000001_02.jpg", 4, 1),
    ]
    assert splits["query"][1] == Record(
        small / "query" / "0004_c6s6_000001_00.jpg.jpg", "0004_c6s6_000001_00.jpg.jpg", 4, 6
    )


def test_duke_names(tmp_path):
    names = ("7140_c8_f0046182.jpg", "0001_c2_f0046182.jpg")
    for folder in SUBFOLDERS:
        for name in names:
            save_image(tmp_path / folder / name)
    assert [
        (r.pid, r.camid)
        for r in dukemtmcreid.read(tmp_path, SourceSettings("dukemtmcreid"))["gallery"]
    ] == [
        (1, 2),
        (7140, 8),
    ]
    with pytest.raises(InputError, match=r"2 names .* 0001_c2_f0046182.jpg"):
        read_market1501(tmp_path)


def test_published_counts_of_duke():
    published = dukemtmcreid.published(SourceSettings("dukemtmcreid"))
    assert published == {
        "train": Counts(702, 16522),
        "query": Counts(702, 2228),
        "gallery": Counts(1110, 17661),
    }


@pytest.mark.parametrize(
    "name",
    [
        "0001_c7s1_000001_01.jpg",  # a seventh camera
        "001_c1s1_000001_01.jpg",
        "0001_c1s1_000001_01.jpg.jpg.jpg",
        "0001_c1s1_000001_01.png",
        "copy of 0001_c1s1_000001_01.jpg",
        "-2_c1s1_000001_01.jpg",
        "\u0661\u0661\u0661\u0661_c1s1_000001_01.jpg",  # digits, but not these
    ],
)
def test_names_of_another_grammar_are_named(small, name):
    (small / "query" / name).write_bytes(b"")
    with pytest.raises(InputError, match="1 names") as error:
        read_market1501(small)
    assert name in str(error.value)
    assert str(small / "query") in str(error.value)


def test_a_name_that_is_not_utf8_is_named(small):
    (small / "query" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    with pytest.raises(InputError, match=r"1 names .*: caf\\udce9\.jpg; wanted") as error:
        read_market1501(small)
    str(error.value).encode()
    distractors = small / "images"
    distractors.mkdir()
    (distractors / os.fsdecode(b"0000_c1\xff.jpg")).write_bytes(b"")
    with pytest.raises(InputError, match=r"1 names .*: 0000_c1\\udcff\.jpg"):
        market1501._distractors(small)


def test_missing_and_empty_subfolders(small):
    for record in read_market1501(small)["query"]:
        record.path.unlink()
    with pytest.raises(InputError, match="query holds no images"):
        read_market1501(small)
    shutil.rmtree(small / "query")
    with pytest.raises(
        InputError, match=r"lacks query: wanted .* there: bounding_box_test, bounding_box_train"
    ):
        read_market1501(small)
    with pytest.raises(InputError, match="no such folder"):
        read_market1501(small / "absent")


def test_a_folder_of_junk_alone_holds_no_images(small):
    shutil.rmtree(small / "bounding_box_test")
    save_image(small / "bounding_box_test" / "-1_c1s1_000001_01.jpg")
    with pytest.raises(InputError, match="bounding_box_test holds no images"):
        read_market1501(small)


@pytest.mark.parametrize(
    "name", ["Market-1501-v15.09.15", "market1501", "Market1501", "MARKET-1501"]
)
def test_locate_finds_the_names_people_use(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / "DukeMTMC-reID").mkdir()
    (tmp_path / "Market-1501-v15.09.15.zip").write_bytes(b"")
    folders = readers.READERS["market1501"].folders
    assert readers.locate(tmp_path, folders) == tmp_path / name
    assert (
        readers.locate(tmp_path / name, folders) == tmp_path / name
    )  # pointed at the dataset itself


def test_locate_prefers_the_official_name_and_looks_one_folder_deeper(tmp_path):
    folders = readers.READERS["market1501"].folders
    official = tmp_path / "market1501" / "Market-1501-v15.09.15"
    official.mkdir(parents=True)
    assert readers.locate(tmp_path, folders) == official
    (tmp_path / "Market-1501-v15.09.15").mkdir()
    assert readers.locate(tmp_path, folders) == tmp_path / "Market-1501-v15.09.15"


def test_find_folder_finds_none(tmp_path):
    assert readers.find_folder(tmp_path / "absent", ["a"]) is None
    assert readers.find_folder(tmp_path, ["a"]) is None
    assert readers.find_folder(tmp_path / "absent", []) is None
    assert readers.find_folder(tmp_path, []) == tmp_path


def test_locate_says_what_it_looked_for(tmp_path):
    folders = readers.READERS["market1501"].folders
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'absent'}, is missing")) as error:
        readers.locate(tmp_path / "absent", folders)
    assert "Market-1501-v15.09.15" in str(error.value)
    with pytest.raises(
        InputError,
        match=r"looked for a folder Market-1501-v15.09.15, .*; there is no folder at all",
    ):
        readers.locate(tmp_path, folders)
    (tmp_path / "cuhk03").mkdir()
    with pytest.raises(InputError, match="there are cuhk03"):
        readers.locate(tmp_path, folders)


def test_no_match_left_says_why(tmp_path):
    query = [Record(tmp_path, f"q{i}", pid, 1) for i, pid in enumerate((1, 2, 3, 4))]
    gallery = [Record(tmp_path, "g", pid, 1) for pid in (1, 2)]
    with pytest.raises(InputError) as error:
        readers.check_matches(query, gallery)
    message = str(error.value)
    assert "none of the 4 query images" in message
    assert "2 have the person in the gallery, but from their own camera only" in message
    assert "2 are of people who are not in the gallery" in message
    assert "q0 (pid 1, camera 1; gallery cameras of this pid: 1); q1" in message
    assert "q2 (pid 3, camera 1; gallery cameras of this pid: none)" in message
    assert "q3" not in message
    listed = Record(tmp_path, "own", 1, 1, line="line 7 of images.csv")
    with pytest.raises(InputError, match=r"this pid: none; line 7 of images.csv"):
        readers.check_matches([listed], [])
    readers.check_matches(query, [*gallery, Record(tmp_path, "g", 4, 2)])  # one match is enough
