"""Records -> the bytes that are packed: checked once, as they are, and as partial queries.

Images are read when their turn comes, a few hundred at a time, so that a dataset of any size fits
the memory.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from reid.datasets.partial import crop
from reid.datasets.records import Record, Splits
from reid.runtime.errors import InputError

Packed = tuple[str, int, int, bytes]  # name, pid, camid and the image file's bytes


def check_images(splits: Splits) -> None:
    """Decode every image file once; raise InputError with the first few that cannot be read, and
    how many they are.

    Images in another file are left for their extraction, which decodes them anyway.
    """
    records = [record for split in splits.values() for record in split if record.extract is None]
    readable = tqdm(
        _in_threads(_is_readable, records), "checking images", len(records), unit="image", delay=1
    )
    corrupt = [str(record.path) for record, good in zip(records, readable, strict=True) if not good]
    if corrupt:
        shown = ", ".join(corrupt[:5]) + (
            f" and {len(corrupt) - 5:,} more" if len(corrupt) > 5 else ""
        )
        raise InputError(
            f"{len(corrupt):,} of {len(records):,} images cannot be read or decoded: {shown}. "
            "Unpack the archive again."
        )


def stored_images(records: Sequence[Record]) -> Iterator[Packed]:
    """Each image in order, its bytes as they lie on the disk, or as they are extracted from
    another file.
    """

    def stored(record: Record) -> Packed:
        return record.name, record.pid, record.camid, record.content()

    yield from tqdm(_in_threads(stored, records), "packing", len(records), unit="image", delay=1)


def partial_images(records: Sequence[Record], seed: int) -> Iterator[Packed]:
    """Each query image's partial variant, a PNG under the same stem."""

    def partial(record: Record) -> Packed:
        file = io.BytesIO()
        with Image.open(io.BytesIO(record.content())) as image:
            crop(image.convert("RGB"), seed, record.name).save(file, "PNG")
        return str(Path(record.name).with_suffix(".png")), record.pid, record.camid, file.getvalue()

    yield from tqdm(
        _in_threads(partial, records), "cropping queries", len(records), unit="image", delay=1
    )


def _is_readable(record: Record) -> bool:
    try:
        with Image.open(io.BytesIO(record.content())) as image:
            image.convert("RGB")
    except Exception:  # a damaged file raises nearly anything
        return False
    return True


def _in_threads(function: Callable[[Record], Any], records: Sequence[Record]) -> Iterator[Any]:
    """`map` in a thread pool (PIL lets other threads run), a few hundred images at a time to bound
    the memory.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(records), 256):
            yield from pool.map(function, records[start : start + 256])
