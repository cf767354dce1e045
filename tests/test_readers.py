"""The other datasets' readers, on folders made from real lists or to the published counts;
combined sources.
"""

import re

import pytest

from reid.datasets import (
    combined,
    csv_file,
    dukemtmcreid,
    duplicates,
    market1501,
    msmt17,
    partial_reid,
    readers,
)
from reid.datasets.csv_file import CsvSettings
from reid.datasets.market1501 import Market1501Settings
from reid.datasets.msmt17 import Msmt17Settings
from reid.datasets.records import Counts, Record, SourceSettings, count
from reid.runtime.errors import InputError


def touch(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def people(number, images, first=1):
    """`images` pids, as even as can be, of `number` people."""
    return [first + image % number for image in range(images)]


# Market-1501 with its distractors


@pytest.mark.parametrize(
    "place",
    ["market1501/distractors_500k/images", "market1501/images", "distractors_500k", "images"],
)
def test_the_500k_distractors_follow_the_gallery(tmp_path, place):
    market = tmp_path / "market1501"
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        touch(market, [f"{folder}/0001_c1s1_000001_01.jpg", f"{folder}/0000_c1s1_000001_01.jpg"])
    touch(tmp_path / place, ["0000_c2s1_000001_01.jpg", "0000_c1s1_000001_01.jpg", "Thumbs.db"])
    gallery = market1501.read(market, Market1501Settings("market1501", True))["gallery"]
    assert [(record.name, record.pid, record.camid) for record in gallery] == [
        ("0000_c1s1_000001_01.jpg", 0, 1),
        ("0001_c1s1_000001_01.jpg", 1, 1),
        ("distractors_500k/0000_c1s1_000001_01.jpg", 0, 1),
        ("distractors_500k/0000_c2s1_000001_01.jpg", 0, 2),
    ]
    assert all(record.path.is_file() for record in gallery)
    assert len(market1501.read(market, Market1501Settings("market1501", False))["gallery"]) == 2


def test_missing_distractors_say_where_they_go(tmp_path):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        touch(tmp_path, [f"{folder}/0001_c1s1_000001_01.jpg"])
    with pytest.raises(InputError, match="distractors_500k: true") as error:
        market1501.read(tmp_path, Market1501Settings("market1501", True))
    assert str(tmp_path / "distractors_500k" / "images") in str(error.value)


def test_published_counts_with_distractors():
    published = market1501.published(Market1501Settings("market1501", True))
    assert published["gallery"] == Counts(750, 515_913, 502_798)


# DukeMTMC-reID and Occluded-Duke


@pytest.mark.parametrize("reader", ["dukemtmcreid", "occludedduke"])
def test_duke_folders_of_the_published_size(tmp_path, reader):
    published = readers.READERS[reader].published(SourceSettings(reader))
    for folder, counts in zip(
        ("bounding_box_train", "query", "bounding_box_test"), published.values(), strict=True
    ):
        pids = people(counts.people, counts.images)
        touch(
            tmp_path,
            [f"{folder}/{pid:04d}_c{1 + i % 8}_f{i:07d}.jpg" for i, pid in enumerate(pids)],
        )
    splits = dukemtmcreid.read(tmp_path, SourceSettings(reader))
    assert {split: count(records) for split, records in splits.items()} == published
    readers.check_counts(tmp_path, splits, published)
    with pytest.raises(
        InputError, match=r"query has [12],2\d\d images of [12],2\d\d \(1 missing\)\. "
    ):
        readers.check_counts(tmp_path, splits | {"query": splits["query"][1:]}, published)


# MSMT17


def write_msmt17(folder, version="msmt17", sizes=None):
    """Lists of the published size, or {list: (people, images)}; the images' folders stay empty."""
    sizes = sizes or {
        "train": (1_041, 30_248),
        "val": (1_041, 2_373),
        "query": (3_060, 11_659),
        "gallery": (3_060, 82_161),
    }
    for name in msmt17.FOLDERS[version]:
        (folder / name).mkdir(parents=True)
    for name, (number, images) in sizes.items():
        lines = []
        for i, pid in enumerate(people(number, images, 0)):
            ending = "_ex" * (i % 7 == 0)
            image = (
                f"{pid:04d}_{i % 1000:03d}_{1 + i % 15:02d}_0303morning_{i:05d}_{name}{ending}.jpg"
            )
            lines.append(f"{pid:04d}/{image} {pid}")
        (folder / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("version", ["msmt17", "msmt17_v2"])
@pytest.mark.parametrize(("with_val", "images"), [(False, 30_248), (True, 32_621)])
def test_msmt17_lists_of_the_published_size(tmp_path, version, with_val, images):
    settings = Msmt17Settings(version, with_val)
    splits = msmt17.read(write_msmt17(tmp_path, version), settings)
    readers.check_counts(tmp_path, splits, msmt17.published(settings))
    assert {split: count(records) for split, records in splits.items()} == {
        "train": (1_041, images, 0), "query": (3_060, 11_659, 0), "gallery": (3_060, 82_161, 0),
    }  # fmt: skip
    first = splits["query"][0]
    assert first.name == "0000/0000_000_01_0303morning_00000_query_ex.jpg"
    assert first.path == tmp_path / msmt17.FOLDERS[version][1] / first.name
    assert (first.pid, first.camid) == (1, 1)  # label 0
    assert {record.camid for record in splits["gallery"]} == set(range(1, 16))
    assert splits["train"][-1].path.is_relative_to(tmp_path / msmt17.FOLDERS[version][0])


def test_msmt17_of_the_other_version_says_what_is_there(tmp_path):
    with pytest.raises(
        InputError, match=r"lacks train, test, .* there: .*mask_test_v2, mask_train_v2"
    ):
        msmt17.read(
            write_msmt17(tmp_path, "msmt17_v2", {"train": (1, 1)}), Msmt17Settings("msmt17", True)
        )


@pytest.mark.parametrize(
    "line",
    [
        "0000/0000_000_16_x.jpg 0",
        "0000/0000_000_01_x.jpg 9999999999",
        "0000/0000_000_01_x.jpg",
        "holiday.jpg 3",
        "0 1 2",
    ],
)
def test_msmt17_wrong_line_is_named(tmp_path, line):
    sizes = {"train": (2, 4), "val": (2, 2), "query": (2, 2), "gallery": (2, 4)}
    with open(
        write_msmt17(tmp_path, sizes=sizes) / "list_query.txt", "a", encoding="utf-8"
    ) as file:
        file.write(f"\n{line}\n")
    with pytest.raises(
        InputError, match=re.escape(f"line 4 of {tmp_path / 'list_query.txt'}: got '{line}'")
    ):
        msmt17.read(tmp_path, Msmt17Settings("msmt17", False))


def test_listed_images_that_are_not_there_are_named_or_left_out(tmp_path):
    sizes = {"train": (2, 4), "val": (2, 2), "query": (2, 2), "gallery": (2, 4)}
    splits = msmt17.read(write_msmt17(tmp_path, sizes=sizes), Msmt17Settings("msmt17", False))
    for records in splits.values():
        touch(tmp_path, [str(record.path) for record in records])
    assert readers.only_present(splits) == splits
    splits["query"][1].path.unlink()
    with pytest.raises(InputError, match=r"^1 images are listed") as error:
        readers.only_present(splits)
    assert str(splits["query"][1].path) in str(error.value)
    assert readers.only_present(splits, allow_incomplete=True) == splits | {
        "query": splits["query"][:1]
    }


# Partial-REID and Partial-iLIDS


@pytest.mark.parametrize("folders", [("Probe", "Gallery"), ("query", "gallery")])
def test_partial_ilids(tmp_path, folders):
    for folder in folders:
        touch(tmp_path, [f"{folder}/{pid:03d}.jpg" for pid in range(1, 120)])
    settings = SourceSettings("partialilids")
    splits = partial_reid.read(tmp_path, settings)
    readers.check_counts(tmp_path, splits, partial_reid.published(settings))
    assert splits["train"] == []
    assert {record.camid for record in splits["query"]} == {0}
    assert {record.camid for record in splits["gallery"]} == {1}
    readers.check_matches(splits["query"], splits["gallery"])


def test_partial_reid(tmp_path):
    names = [f"{pid:03d}_{image:03d}.jpg" for pid in range(1, 61) for image in range(1, 6)]
    for folder in ("occluded_body_images", "partial_body_images", "whole_body_images"):
        touch(tmp_path, [f"{folder}/{name}" for name in names])
    settings = SourceSettings("partialreid")
    splits = partial_reid.read(tmp_path, settings)
    readers.check_counts(tmp_path, splits, partial_reid.published(settings))
    assert splits["query"][7] == Record(
        tmp_path / "partial_body_images" / names[7], "002_003.jpg", 2, 0
    )
    with pytest.raises(InputError, match=r"no image for train\. .*`reader: combined`"):
        readers.check_splits(splits, list(splits), "datasets.partialreid.source")
    touch(tmp_path, ["whole_body_images/readme.txt"])
    with pytest.raises(
        InputError, match=r"1 names .*: readme\.txt; wanted names such as 001_001\.jpg"
    ):
        partial_reid.read(tmp_path, settings)


# A CSV


def read_csv(folder, text):
    (folder / "mine").mkdir(exist_ok=True)
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "mine" / "images.csv").write_bytes(content)
    return csv_file.read(folder, CsvSettings("csv", "mine/images.csv"))


def test_csv(tmp_path):
    splits = read_csv(
        tmp_path,
        "split,image,camid,pid\ntrain,a/1.jpg,3,7\nquery,é, 1.png,2\n".replace(" 1.png", "1")
        + "gallery,g.jpg,2,2\ngallery,d.jpg,2,0\ngallery,junk.jpg,2,-1\n",
    )
    assert [(r.name, r.pid, r.camid) for r in splits["gallery"]] == [
        ("g.jpg", 2, 2),
        ("d.jpg", 0, 2),
    ]
    assert splits["train"] == [Record(tmp_path / "mine" / "a" / "1.jpg", "a/1.jpg", 7, 3)]
    assert splits["query"][0].name == "é"


def test_csv_without_cameras_has_no_junk(tmp_path):
    splits = read_csv(tmp_path, "image,pid,split\na.jpg,1,train\nb.jpg,2,query\nc.jpg,2,gallery\n")
    assert [splits[split][0].camid for split in ("query", "gallery")] == [0, 1]
    readers.check_matches(splits["query"], splits["gallery"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "name,pid,split\na.jpg,1,train\n",
            "line 1 of .*images.csv: the columns are 'name', 'pid', 'split', wanted a first line "
            r"image,pid,camid,split .*\. Remove other columns",
        ),
        ("", "line 1 of .*: the columns are none, .*Is it the right file"),
        ("a.jpg,1,train\nb.jpg,2,query\n", "the columns are 'a.jpg', .*Add that line on top"),
        ("image;pid;split\na.jpg;1;train\n", "line 1 of .*Separate by commas"),
        ("image\tpid\tsplit\na.jpg\t1\ttrain\n", "line 1 of .*Separate by commas"),
        ("image, pid, split\na.jpg,1,train\n", "columns are 'image', ' pid', .*spaces within"),
        ("image,pid,split,age\na.jpg,1,train,9\n", "'age', .*Remove other columns"),
        ("image,pid,pid,split\na.jpg,1,2,train\n", "'pid', 'pid', .*Remove other columns"),
        ("image,pid,split\na,b.jpg,1,train\n", "line 2 of .* has 4 fields, wanted 3: .*in quotes"),
        ('image,pid,split\n"a.jpg,1,train\n', "line 2 of .* is not CSV: .*a quote"),
        ("image,pid,split\na\\b.jpg,1,train\n", r"line 2 of .*`image` is .*wanted / in paths"),
        (
            "image,pid,split\na.jpg,1,train\nx/../b.jpg,2,query\n",
            "line 3 of .*: `image` is 'x/../b.jpg', wanted a path below",
        ),
        (
            "image,pid,split\na/b.jpg,1,train\nc.jpg,2,query\n./a//b.jpg,1,train\n",
            "line 4 of .*: `image` is './a//b.jpg', wanted it once: line 2 has it too",
        ),
        ("image,pid,split\na.jpg,1,train\nb\0.jpg,1,train\n", "line 3 of .* has a NUL .*as text"),
        ("image,pid,split\na.jpg,1,train\n".encode("utf-16"), "line 1 of .*UTF-16: .*in UTF-8"),
        ("image,pid,split\na.jpg,1,train\n".encode("utf-16-le"), "line 1 of .*NUL.*in UTF-8"),
        (
            "image,pid,split\na.jpg,1,train\n\xe9.jpg,1,train\n".encode("latin-1"),
            "line 3 of .* bytes that are not UTF-8: save it as text, CSV in UTF-8",
        ),
        (b"PK\3\4\x14\0\6", "line 1 of .* has a NUL character: save it as text, CSV"),
        (
            "image,pid,split\na.jpg,1,train\nb.jpg,one,train\n",
            "line 3 of .*: `pid` is 'one', wanted a whole number",
        ),
        ("image,pid,split\na.jpg,-2,gallery\n", "line 2 of .*: `pid` is '-2'"),
        (
            "image,pid,split\na.jpg,0,train\n",
            "line 2 of .*: `pid` is '0', wanted people counted from 1",
        ),
        (
            "image,pid,split\na.jpg,1,test\n",
            "line 2 of .*: `split` is 'test', wanted one of train, query, gallery",
        ),
        ("image,pid,split\na.jpg,1\n", "line 2 of .* has 2 fields, wanted 3: image, pid, split"),
        (
            "image,pid,split\n/a.jpg,1,train\n",
            "line 2 of .*: `image` is '/a.jpg', wanted a path below",
        ),
        ("image,pid,split\n../a.jpg,1,train\n", "line 2 of .*: `image` is '../a.jpg'"),
        ("image,pid,split\n,1,train\n", "line 2 of .*: `image` is ''"),
        (
            "image,pid,camid,split\na.jpg,1,,train\n",
            "line 2 of .*: `camid` is '', wanted a whole number, 0 or more",
        ),
    ],
)
def test_csv_wrong_line(tmp_path, text, told):
    with pytest.raises(InputError, match=told):
        read_csv(tmp_path, text)


@pytest.mark.parametrize(
    "number",
    ["1_23", " 12", "12 ", "+5", "\uff11\uff12", "1.0", "1e3", "0x1", "", "-3", "9" * 5000, 2**63],
)
@pytest.mark.parametrize("column", ["pid", "camid"])
def test_csv_numbers_are_digits_alone(tmp_path, column, number):
    row = {"image": "b.jpg", "split": "train", "pid": 1, "camid": 1, column: number}
    values = ",".join(str(value) for value in row.values())
    with pytest.raises(InputError, match=f"line 3 of .*: `{column}` is .*wanted a whole") as error:
        read_csv(tmp_path, f"{','.join(row)}\na.jpg,train,1,1\n{values}\n")
    assert len(str(error.value)) < 500


def test_csv_reads_what_spreadsheets_write(tmp_path):
    """A byte order mark, quotes, the line ends of Windows and of old Macs, blank lines."""
    text = '\ufeff"image","pid","split"\r\n"a, b.jpg",007,train\r\n\r\n'
    for ends in ("\r\n", "\r", "\n"):
        splits = read_csv(tmp_path, text.replace("\r\n", ends))
        assert [(r.name, r.pid) for r in splits["train"]] == [("a, b.jpg", 7)]
    largest = read_csv(tmp_path, f"image,pid,split\na.jpg,{2**63 - 1},train\n")
    assert largest["train"][0].pid == 2**63 - 1


def test_csv_missing(tmp_path):
    with pytest.raises(
        InputError, match=r"cannot read .*absent\.csv: .*`file` of the dataset's source"
    ):
        csv_file.read(tmp_path, CsvSettings("csv", "absent.csv"))
    assert readers.locate(tmp_path, readers.READERS["csv"].folders) == tmp_path
    rows = f"image,pid,split\na.jpg,1,train\n{'n' * 300}.jpg,1,train\n"
    with pytest.raises(InputError, match=r"^2 images are listed, .*a.jpg \(line 2 of .*csv\)"):
        readers.only_present(read_csv(tmp_path, rows))


# Pictures that are there twice


def pictures(tmp_path, rows, own):
    """Check records of (split, picture, pid, camid), as the lines of the user's own list or not."""
    splits, checksums = ({split: [] for split in ("train", "query", "gallery")} for _ in range(2))
    for number, (split, picture, pid, camid) in enumerate(rows, 1):
        name, line = f"{number}.jpg", f"line {number} of mine.csv" * own
        splits[split].append(Record(tmp_path / name, name, pid, camid, line=line))
        checksums[split].append(picture)
    duplicates.check(splits, checksums)


A, B = b"a", b"b"
TWICE = [
    [("train", A, 1, 1), ("query", A, 1, 1)],
    [("train", A, 1, 1), ("gallery", A, 0, 1)],
    [("query", A, 2, 1), ("gallery", A, 2, 2)],
    [("query", A, 2, 1), ("gallery", A, 3, 1)],
    [("query", A, 2, 1), ("query", A, 2, 2), ("gallery", B, 2, 1), ("gallery", A, 2, 2)],
    [("train", A, 1, 1), ("train", A, 2, 1)],
    [("gallery", A, 1, 1), ("gallery", B, 1, 1), ("gallery", A, 0, 1)],
]


@pytest.mark.parametrize("rows", TWICE)
def test_a_picture_twice_is_refused_in_an_own_list_and_counted_in_a_published_one(tmp_path, rows):
    with pytest.raises(InputError, match=r"^1 images are the same picture") as error:
        pictures(tmp_path, rows, own=True)
    last = f"{len(rows)}.jpg (line {len(rows)} of mine.csv) in {rows[-1][0]} as pid {rows[-1][2]}"
    assert last in str(error.value)
    assert "1.jpg (line 1 of mine.csv)" in str(error.value)
    with pytest.warns(UserWarning, match="^1 images of the dataset as published"):
        pictures(tmp_path, rows, own=False)


def test_a_picture_twice_that_harms_nothing(tmp_path):
    rows = [
        ("query", A, 2, 1), ("gallery", A, 2, 1), ("gallery", A, 2, 1),  # junk for that query
        ("train", B, 1, 1), ("train", B, 1, 2), ("train", b"", 1, 1), ("query", b"", 2, 1),
    ]  # fmt: skip
    pictures(tmp_path, rows, own=True)
    pictures(tmp_path, rows, own=False)


# Several as one


def record(name, pid, camid):
    return Record(name, name, pid, camid)


def test_combined_people_and_cameras_never_collide():
    test = {
        "train": [record("t", 1, 1)],
        "query": [record("q", 9, 1)],
        "gallery": [record("g", 9, 3), record("d", 0, 2)],
    }
    first = [record("a.jpg", 1, 1), record("b.jpg", 5, 6)]
    second = [record("a.jpg", 1, 0), record("b.jpg", 5, 2)]
    splits = combined.combine({"one": first, "two": second}, test)
    assert [(r.name, r.pid, r.camid) for r in splits["train"]] == [
        ("one/a.jpg", 10 + 1, 4 + 1), ("one/b.jpg", 10 + 5, 4 + 6),
        ("two/a.jpg", 16 + 1, 11 + 0), ("two/b.jpg", 16 + 5, 11 + 2),
    ]  # fmt: skip
    assert splits["train"][0].path == "a.jpg"
    assert (splits["query"], splits["gallery"]) == (test["query"], test["gallery"])
    assert combined.combine({"two": second, "one": first}, test) == splits
    assert first[0] == record("a.jpg", 1, 1)


PLAIN = {"reader": "dukemtmcreid"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            {"train": ["market1501", "dukemtmcreid"], "test": PLAIN},
            "wanted sources in full, .* hide its settings from DVC",
        ),
        ({"train": {"a": PLAIN}, "test": "msmt17"}, "got train: .* test: 'msmt17'"),
        ({"train": {}, "test": PLAIN}, "wanted sources in full"),
        ({"train": {"a": PLAIN}}, "test: None"),
        ({"train": {"a/b": PLAIN}, "test": PLAIN}, "got 'a/b', wanted letters, digits"),
        ({"train": {"a": {"reader": "combined"}}, "test": PLAIN}, "a is itself combined: list all"),
        ({"train": {"a": PLAIN}, "test": {"reader": "combined"}}, "test is itself combined"),
    ],
)
def test_combined_bad_sources(source, told):
    with pytest.raises(InputError, match=told):
        combined.check_source(source, "datasets.x.source")
