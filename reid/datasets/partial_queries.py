"""The partial query images of AlignedReID++ (Luo et al., Pattern Recognition 94, 2019).

Theirs are drawn without a seed, ours from a seed and the image's name.
"""

import hashlib

import numpy as np
from PIL import Image


def crop_partial_query(image: Image.Image, seed: int, name: str) -> Image.Image:
    """Crop a band of whole rows, 0.6 to 0.9 (excluded) of the height, at a uniform offset, and
    stretch it back to the image's size.

    Drawn from `seed` and the image's `name` alone, so that neither order nor the other images
    matter. An image of fewer than 3 rows has no such band and stays as it is.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    width, height = image.size
    low, high = -(-6 * height // 10), -(-9 * height // 10)  # both rounded up, in integers
    rows = int(rng.integers(low, max(high, low + 1)))
    top = int(rng.integers(0, height - rows + 1))
    return image.crop((0, top, width, top + rows)).resize(image.size, Image.Resampling.BILINEAR)
