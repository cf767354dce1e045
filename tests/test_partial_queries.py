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
    assert tops.min() == 0
    assert bottoms.max() == height - 1
    assert abs(heights.mean() - 74.5) < 0.6
    assert abs((tops / (height - heights)).mean() - 0.5) < 0.03


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 35])
def test_crop_of_tiny_images(height):
    for i in range(50):
        rows = np.asarray(crop_partial_query(striped(height, 1), 0, f"{i}"))
        assert rows.shape == (height, 1, 3)
        band = int(rows.max()) - int(rows.min()) + 1
        assert height < 3 or 0.6 * height <= band < 0.9 * height
