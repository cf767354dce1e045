"""A zip's two lists of its entries compared: the directory at its end, and the header before each
entry's data. Python's zipfile believes the directory, so that one of which bytes are lost gives
files that are empty, absent or called otherwise, without an error.
"""

import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from reid.runtime.errors import short

HEADER = struct.Struct("<4s5H3I2H")  # before an entry's data, up to its name
SIZES_FOLLOW, UTF8 = 0x8, 0x800  # flags: the sizes stand after the data; the name is UTF-8
LARGE = 0xFFFFFFFF  # in place of sizes that take 8 bytes, and stand elsewhere
MARK = b"PK\x07\x08"  # before the checksum that follows the data, in most archives
AFTER = 24  # bytes of checksum and sizes after the data, at most


def check(path: Path, opened: zipfile.ZipFile) -> None:
    """Raise zipfile.BadZipFile when the directory and the headers differ, or when some bytes
    belong to no entry of the directory.
    """
    members = sorted(opened.infolist(), key=lambda member: member.header_offset)
    starts = [member.header_offset for member in members] + [opened.start_dir]
    if starts[0] > len(MARK):  # an archive of one part may begin with a mark
        raise zipfile.BadZipFile(f"its first {starts[0]} bytes belong to no entry")
    with open(path, "rb") as file:
        for member, following in zip(members, starts[1:], strict=True):
            file.seek(member.header_offset)
            if not _is_as_listed(file, member):
                raise zipfile.BadZipFile(f"{short(member.filename)} is not what its directory says")
            file.seek(member.compress_size, os.SEEK_CUR)
            gap = following - file.tell()
            if gap and not (0 < gap <= AFTER and _checksum(file) == member.CRC):
                raise zipfile.BadZipFile(
                    f"{gap} bytes after {short(member.filename)} belong to no entry"
                )


def _is_as_listed(file: BinaryIO, member: zipfile.ZipInfo) -> bool:
    """Compare the header at the file's position with the directory's entry; move to the data."""
    content = file.read(HEADER.size)
    if len(content) < HEADER.size:
        return False
    _, _, flags, _, _, _, *sums, name, extra = HEADER.unpack(content)
    stored_name = file.read(name).decode("utf-8" if flags & UTF8 else "cp437")
    file.seek(extra, os.SEEK_CUR)
    is_elsewhere = flags & SIZES_FOLLOW or LARGE in sums[1:]
    listed = sums if is_elsewhere else [member.CRC, member.compress_size, member.file_size]
    return stored_name == member.orig_filename and sums == listed


def _checksum(file: BinaryIO) -> int:
    """The CRC-32 at the file's position, with a mark before it or without."""
    first, second = file.read(4), file.read(4)
    return int.from_bytes(second if first == MARK else first, "little")
