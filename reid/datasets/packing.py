"""Records -> the bytes to pack: checked once, then as they are and as partial queries.

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

from reid.datasets.partial_queries import crop_partial_query
from reid.datasets.records import Record, Splits, first_few
from reid.runtime.errors import InputError

CHUNK = 256  # images that are in the memory at a time
PackedImage = tuple[str, int, int, bytes]  # name, pid, camid and the image file's bytes


def check_images(splits: Splits) -> None:
    """Decode every image file once; raise InputError with the first few that cannot be read, and
    how many they are.

    Images inside another file are left for their extraction, which decodes them anyway.
    """
    records = [record for split in splits.values() for record in split if record.extract is None]
    readable = _map_in_threads(_is_readable, records, "checking images")
    corrupt = [str(record.path) for record, good in zip(records, readable, strict=True) if not good]
    if corrupt:
        raise InputError(
            f"{len(corrupt):,} of {len(records):,} images cannot be read or decoded: "
            f"{first_few(corrupt)}. Unpack the archive again."
        )


def original_images(records: Sequence[Record]) -> Iterator[PackedImage]:
    """Yield each image in order, its bytes as they lie on the disk or inside another file."""
    yield from _map_in_threads(_pack_original, records, "packing")


def partial_query_images(records: Sequence[Record], seed: int) -> Iterator[PackedImage]:
    """Yield each query image's partial variant in order, a PNG under the same stem."""

    def pack(record: Record) -> PackedImage:
        return _pack_partial(record, seed)

    yield from _map_in_threads(pack, records, "cropping queries")


def _pack_original(record: Record) -> PackedImage:
    return record.name, record.pid, record.camid, record.content()


def _pack_partial(record: Record, seed: int) -> PackedImage:
    png = io.BytesIO()
    with Image.open(io.BytesIO(record.content())) as image:
        crop_partial_query(image.convert("RGB"), seed, record.name).save(png, "PNG")
    name = str(Path(record.name).with_suffix(".png"))
    return name, record.pid, record.camid, png.getvalue()


def _is_readable(record: Record) -> bool:
    try:
        with Image.open(io.BytesIO(record.content())) as image:
            image.convert("RGB")
    except Exception:  # a damaged file raises nearly anything
        return False
    return True


def _map_in_threads(
    function: Callable[[Record], Any], records: Sequence[Record], title: str
) -> Iterator[Any]:
    """Yield `function` of each record in order, from a thread pool (PIL lets other threads run),
    with a progress bar past one second.
    """
    with (
        tqdm(total=len(records), desc=title, unit="image", delay=1) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for start in range(0, len(records), CHUNK):
            for result in pool.map(function, records[start : start + CHUNK]):
                yield result
                bar.update()
