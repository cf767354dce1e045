import io
import shutil
import subprocess
import zipfile

import pytest

from reid.datasets import archive
from reid.runtime.errors import InputError


def packed(path, out=None):
    """Three entries; with `out` that cannot go back, their sizes stand after the data."""
    with zipfile.ZipFile(out or path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in (("a/1.jpg", b"1" * 99), ("a/é.jpg", b"2"), ("b/2.jpg", b"3" * 99)):
            opened.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path.read_bytes()


class Pipe:
    """A file that cannot go back."""

    def __init__(self, path):
        self.file = path.open("wb")
        self.write, self.flush = self.file.write, self.file.flush


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(
    ("at", "size", "told"),
    [
        (16, 12, "'a/1.jpg' is not what|after 'a/1.jpg' belong"),  # checksum and both sizes
        (46, 7, "is not what its directory says"),  # the name: zipfile ends it at the first zero
        (48, 5, "is not what its directory says"),  # and takes it for a folder: 'a/'
    ],
)
def test_zeros_in_a_zips_directory_lose_no_file(tmp_path, is_streamed, at, size, told):
    """Python's zipfile gives an empty file, another name, or none."""
    path = tmp_path / "a.zip"
    content = bytearray(packed(path, Pipe(path) if is_streamed else None))
    start = content.index(b"PK\1\2") + at
    content[start : start + size] = bytes(size)
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        archive.unpack(path, tmp_path / "a")
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_no_entry_is_left_out(tmp_path):
    """The comment of one entry, of the length of the next one, hides that."""
    content = packed(tmp_path / "a.zip")
    first = content.index(b"PK\1\2")
    second, third = (
        content.index(b"PK\1\2", at + 4) for at in (first, content.index(b"PK\1\2", first + 4))
    )
    hidden = bytearray(content)
    hidden[first + 32 : first + 34] = (third - second).to_bytes(2, "little")
    (tmp_path / "a.zip").write_bytes(hidden)
    assert zipfile.ZipFile(io.BytesIO(hidden)).namelist() == ["a/1.jpg", "b/2.jpg"]
    with pytest.raises(InputError, match=r"bytes after 'a/1.jpg' belong to no entry"):
        archive.unpack(tmp_path / "a.zip", tmp_path / "a")


@pytest.mark.parametrize("is_streamed", [False, True])
def test_whole_zips_of_python_are_taken(tmp_path, is_streamed):
    path = tmp_path / "x.zip"
    packed(path, Pipe(path) if is_streamed else None)
    archive.unpack(path, tmp_path / "x")
    assert (tmp_path / "x" / "a" / "é.jpg").read_bytes() == b"2"
    assert (tmp_path / "x" / "b" / "2.jpg").read_bytes() == b"3" * 99


@pytest.mark.skipif(not shutil.which("zip"), reason="no zip command")
@pytest.mark.parametrize(
    ("options", "target"), [("-r", "x.zip"), ("-rfz", "x.zip"), ("-r0", "x.zip"), ("-r", "-")]
)
def test_whole_zips_of_the_zip_command_are_taken(tmp_path, options, target):
    (tmp_path / "f").mkdir()
    for name, content in (("1.jpg", b"1" * 999), ("u.jpg", b"2"), ("empty", b"")):
        (tmp_path / "f" / name).write_bytes(content)
    made = subprocess.run(["zip", "-q", options, target, "f"], cwd=tmp_path, capture_output=True)
    if target == "-":
        (tmp_path / "x.zip").write_bytes(made.stdout)
    archive.unpack(tmp_path / "x.zip", tmp_path / "x")
    assert len(list((tmp_path / "x" / "f").iterdir())) == 3
