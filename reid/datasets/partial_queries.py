"""The partial query images of AlignedReID++ (Luo et al., Pattern Recognition 94, 2019).

Theirs are drawn without a seed, ours from a seed and the image's name; the rest is as theirs.
"""

import hashlib

import numpy as np
from PIL import Image


def crop_partial_query(image: Image.Image, seed: int, name: str) -> Image.Image:
    """Crop a band of whole rows, 0.6 (included) to 0.9 (excluded) of the height, both rounded
    down, and stretch it back to the image's size: 76 to 114 of 128 rows.

    The offset is uniform too, but never the last one, at which the band would end with the image.
    Drawn from `seed` and the image's `name` alone, so that neither order nor the other images
    matter. An image of a single row stays as it is.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    width, height = image.size
    low = max(6 * height // 10, 1)
    rows = int(rng.integers(low, max(9 * height // 10, low + 1)))
    top = int(rng.integers(0, max(height - rows, 1)))
    return image.crop((0, top, width, top + rows)).resize(image.size, Image.Resampling.BILINEAR)
