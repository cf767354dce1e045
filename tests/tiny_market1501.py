"""Market-1501 in small: two test people under two cameras, so that each query has its match, a
distractor, a junk image and the Thumbs.db of the official archive.
"""

import io

import numpy as np
from PIL import Image

IMAGES = {
    "bounding_box_train": ("0001_c1s1_000001_01.jpg", "0001_c2s1_000001_01.jpg"),
    "query": ("0003_c1s1_000001_00.jpg", "0004_c2s1_000001_00.jpg.jpg"),
    "bounding_box_test": (
        "0003_c2s1_000001_01.jpg",
        "0004_c1s1_000001_01.jpg",
        "0000_c3s1_000001_01.jpg",
        "-1_c3s1_000001_01.jpg",
    ),
}


def files():
    """The path of each file in the dataset's folder -> its bytes."""
    rng, contents = np.random.default_rng(0), {}
    for folder, names in IMAGES.items():
        for name in names:
            image = io.BytesIO()
            pixels = rng.integers(0, 256, (20, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(image, "JPEG")
            contents[f"{folder}/{name}"] = image.getvalue()
        contents[f"{folder}/Thumbs.db"] = b"not an image"
    return contents


def write(folder):
    """Write them below `folder`, and return it."""
    for name, content in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
