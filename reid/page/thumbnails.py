"""Images of a prepared split as small JPEGs in base64, each once, up to a number of bytes."""

import base64
import io

from PIL import Image

from reid.prepared import Split, dataset_of
from reid.runtime.errors import InputError

SIZE = (128, 128)  # pixels, width and height at most


class Thumbnails:
    """JPEGs that are asked for by split and index, and numbered in that order."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.size = 0  # characters of all texts
        self._numbers: dict[tuple[str, int], int] = {}

    def number(self, split: Split, index: int) -> int:
        """Return the number of an image of `split`, which is encoded when it is new.

        Raises InputError for an image that is corrupt.
        """
        key = split.name, index
        if key not in self._numbers:
            self._numbers[key] = len(self.texts)
            self.texts.append(base64.b64encode(jpeg(split, index)).decode("ascii"))
            self.size += len(self.texts[-1])
        return self._numbers[key]


def jpeg(split: Split, index: int) -> bytes:
    """Image `index` of a split as a JPEG of at most SIZE. Raises InputError where it is corrupt."""
    image, buffer = picture(split, index), io.BytesIO()
    image.thumbnail(SIZE, Image.Resampling.LANCZOS)
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def picture(split: Split, index: int) -> Image.Image:
    """Image `index` of a split as RGB. Raises InputError where it is corrupt."""
    content = split.content(index)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")
    except Exception as error:  # a damaged file raises nearly anything
        raise InputError(
            f"image {split.names[index]} of split {split.name} is corrupt "
            f"({type(error).__name__}): replace it in the raw dataset and run `dvc repro --force "
            f"prepare@{dataset_of(split)}`."
        ) from None
