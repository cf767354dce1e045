"""The partial queries' crops: from seed and name alone, whole rows, 0.6 to 0.9 of the height."""

import numpy as np
import pytest
from PIL import Image

from reid.datasets.partial_queries import crop_partial_query


def striped(height, width=4):
    """An image whose row r is gray level r."""
    return Image.fromarray(
        np.repeat(np.arange(height, dtype=np.uint8)[:, None, None], width, 1).repeat(3, 2)
    )


def test_crop_depends_on_seed_and_name_alone():
    image = striped(128)
    first = np.asarray(crop_partial_query(image, 0, "a.jpg"))
    assert np.array_equal(first, np.asarray(crop_partial_query(image, 0, "a.jpg")))
    assert not np.array_equal(first, np.asarray(crop_partial_query(image, 1, "a.jpg")))
    assert not np.array_equal(first, np.asarray(crop_partial_query(image, 0, "b.jpg")))
    assert np.array_equal(np.asarray(image), np.asarray(striped(128)))


def test_crop_covers_whole_rows_of_the_published_range():
    height = 100
    bands = []
    for i in range(2_000):
        rows = np.asarray(crop_partial_query(striped(height), 7, f"{i}.jpg"))
        assert rows.shape == (height, 4, 3)
        assert (rows == rows[:, :1, :1]).all()  # full width, nothing sideways
        bands.append((int(rows.min()), int(rows.max())))
    tops, bottoms = np.array(bands).T
    heights = bottoms - tops + 1
    assert set(heights) == set(range(60, 90))
    assert bottoms.max() == height - 2  # never the last offset
    assert tops.min() == 0
    assert abs(heights.mean() - 74.5) < 0.6
    assert abs((tops / (height - heights - 1)).mean() - 0.5) < 0.03


def test_crop_takes_76_to_114_of_128_rows():
    """Both ends rounded down, as the published script does."""
    heights, tops, bottoms = set(), set(), set()
    for i in range(3_000):
        rows = np.unique(np.asarray(crop_partial_query(striped(128, 1), 0, f"{i}.jpg")))
        heights.add(int(rows.max()) - int(rows.min()) + 1)
        tops.add(int(rows.min()))
        bottoms.add(int(rows.max()))
    assert heights == set(range(76, 115))
    assert min(tops) == 0
    assert max(bottoms) == 126  # of rows 0 to 127


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 10, 35])
def test_crop_of_tiny_images(height):
    for i in range(50):
        rows = np.asarray(crop_partial_query(striped(height, 1), 0, f"{i}"))
        assert rows.shape == (height, 1, 3)
        band = int(rows.max()) - int(rows.min()) + 1
        assert band == 1 or int(0.6 * height) <= band < int(0.9 * height)
        assert height == 1 or rows.max() < height - 1  # a row at the end is always lost
