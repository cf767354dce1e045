"""Records -> the bytes to pack: checked once, then as they are and as partial queries.

Images are read when their turn comes, a few hundred at a time, so that a dataset of any size fits
the memory.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from reid.datasets.partial_queries import crop_partial_query
from reid.datasets.records import Record, Splits, first_few
from reid.prepared import decode_rgb
from reid.runtime.errors import InputError

CHUNK = 256  # images that are in the memory at a time
QUALITY = 95  # of partial queries, OpenCV's default, which the authors' script takes
PackedImage = tuple[str, int, int, bytes]  # name, pid, camid and the image file's bytes


def check_images(splits: Splits) -> dict[str, list[bytes]]:
    """Decode every image file once: -> the SHA-256 of each image's pixels by split, b"" for one
    inside another file, which is left for its extraction.

    Raises InputError with the first few that cannot be decoded and why, and how many they are.
    """
    records = [record for split in splits.values() for record in split if record.extract is None]
    results = list(_map_in_threads(_check, records, "checking images"))
    faults = [f"{record}: {why}" for record, (_, why) in zip(records, results, strict=True) if why]
    if faults:
        raise InputError(
            f"{len(faults):,} of {len(records):,} images cannot be read or decoded: "
            f"{first_few(faults)}. Replace them, or unpack the archive again."
        )
    checksums = iter(checksum for checksum, _ in results)
    return {
        split: [b"" if record.extract else next(checksums) for record in records]
        for split, records in splits.items()
    }


def original_images(records: Sequence[Record]) -> Iterator[PackedImage]:
    """Yield each image in order, its bytes as they lie on the disk or inside another file."""
    yield from _map_in_threads(_pack_original, records, "packing")


def partial_query_images(records: Sequence[Record], seed: int) -> Iterator[PackedImage]:
    """Yield each query image's partial variant in order, a JPEG named after it."""

    def pack(record: Record) -> PackedImage:
        return _pack_partial(record, seed)

    yield from _map_in_threads(pack, records, "cropping queries")


def _pack_original(record: Record) -> PackedImage:
    return record.name, record.pid, record.camid, record.content()


def _pack_partial(record: Record, seed: int) -> PackedImage:
    jpeg = io.BytesIO()
    try:
        image = decode_rgb(record.content())
    except ValueError as error:
        raise InputError(f"{record} cannot be decoded: {error}. Replace it.") from None
    crop_partial_query(image, seed, record.name).save(jpeg, "JPEG", quality=QUALITY)
    is_jpeg = record.name.lower().endswith((".jpg", ".jpeg"))
    name = record.name if is_jpeg else f"{record.name}.jpg"
    return name, record.pid, record.camid, jpeg.getvalue()


def _check(record: Record) -> tuple[bytes, str]:
    """Return the SHA-256 of an image's pixels and why it cannot be decoded, '' where it can."""
    try:
        image = decode_rgb(record.content())
    except (InputError, ValueError) as error:
        return b"", str(error).rstrip(".")
    return hashlib.sha256(f"{image.size} ".encode() + image.tobytes()).digest(), ""


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
