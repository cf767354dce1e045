"""Records -> bytes: as they lie on the disk, as partial queries, and corrupt ones named."""

import pytest
from PIL import Image

from reid.datasets import packing, readers
from reid.datasets.records import Record
from reid.runtime.errors import InputError
from tests.test_readers_checks import make_small
from tests.test_readers_checks import read_market1501 as read


@pytest.fixture
def market(tmp_path):
    return make_small(tmp_path / "market1501")


def test_unreadable_images_are_all_counted(market):
    splits = read(market)
    packing.check_images(splits)
    whole = splits["train"][0].path.read_bytes()
    splits["train"][0].path.write_bytes(whole[: len(whole) // 2])
    splits["gallery"][2].path.write_bytes(b"")
    with pytest.raises(InputError, match=r"^2 of 8 images cannot be read") as error:
        packing.check_images(splits)
    assert all(
        str(splits[split][i].path) in str(error.value)
        for split, i in (("train", 0), ("gallery", 2))
    )
    for records in splits.values():
        for record in records:
            record.path.write_bytes(b"text")
    with pytest.raises(InputError, match=r"^8 of 8 .* and 3 more\. "):
        packing.check_images(splits)


def test_partial_images_keep_name_pid_and_camera(market):
    query = read(market)["query"]
    images = list(packing.partial_query_images(query, 0))
    assert [image[:3] for image in images] == [
        ("0003_c1s1_000001_00.jpg", 3, 1),
        ("0004_c6s6_000001_00.jpg.jpg", 4, 6),
    ]
    assert list(packing.partial_query_images(query[::-1], 0)) == images[::-1]
    assert list(packing.original_images(query[:1])) == [
        (query[0].name, query[0].pid, query[0].camid, query[0].path.read_bytes())
    ]


def test_an_extracted_record_is_read_when_asked_for(tmp_path):
    asked = []
    content = tmp_path / "x.png"
    Image.new("RGB", (4, 8)).save(content)

    def extract():
        asked.append(1)
        return content.read_bytes()

    record = Record(tmp_path / "some.mat" / "1.png", "1.png", 1, 1, extract)
    assert readers.only_present({"train": [record]}) == {"train": [record]}
    assert not asked
    packing.check_images({"train": [record]})
    assert not asked
    assert list(packing.original_images([record])) == [("1.png", 1, 1, content.read_bytes())]
    assert next(packing.partial_query_images([record], 0))[:3] == ("1.png.jpg", 1, 1)
    assert len(asked) == 2
