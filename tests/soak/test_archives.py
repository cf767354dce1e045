"""Archives: all of what they hold, or nothing at all and a reason."""

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import strategies as st

from reid.datasets import archive
from tests.soak.kinds import REFUSED, RIGHT, tries
from tests.soak.outcomes import call, leftovers, listing

KINDS = ("zip", "streamed.zip", "tar.gz")
CONTENT = {
    "set/train/0001_c1.jpg": b"first" * 50,
    "set/query/0002_c2.jpg": bytes(range(256)),
    "set/gallery/a b é.jpg": b"",
    "readme.txt": b"one\ntwo\n",
}


BAD = "not_utf8"


class Pipe:
    """A file that cannot go back: a zip written to it has its sizes after the data."""

    def __init__(self, out):
        self.write, self.flush = out.write, out.flush


def pack(kind, content=CONTENT):
    """{name: bytes} -> the bytes of an archive."""
    out = io.BytesIO()
    if kind.endswith("zip"):
        with zipfile.ZipFile(Pipe(out) if "streamed" in kind else out, "w") as opened:
            for name, data in content.items():
                name = name.replace("\udcff", BAD)
                opened.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        return out.getvalue().replace(BAD.encode(), b"\xff" * len(BAD))
    with (
        gzip.GzipFile(fileobj=out, mode="w", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|") as opened,
    ):
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return out.getvalue()


def unpack(folder, kind, content, name="set"):
    """Unpack an archive of these bytes to `folder`/raw/`name` -> Outcome; what is left is checked
    to be all or nothing, and nothing outside.
    """
    raw = folder / "raw"
    raw.mkdir()
    (folder / "outside").write_text("mine", encoding="utf-8")
    file = raw / f"images.{kind}"
    file.write_bytes(content)
    before = listing(folder)
    outcome = call(archive.unpack, file, raw / name)
    assert leftovers(folder) == []
    new = {path: size for path, size in listing(folder).items() if path not in before}
    outside = [path for path in new if path != f"raw/{name}" and f"raw/{name}/" not in path]
    assert not outside, f"written outside: {outside}"
    assert (folder / "outside").read_text(encoding="utf-8") == "mine"
    assert not (outcome.is_refused and new), f"refused, and left {sorted(new)[:5]}"
    assert not outcome.is_refused or "images." in outcome.text, outcome.text
    return outcome


def unpacked(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


DAMAGES = ("flip", "flip", "flip", "cut", "garbage", "zeros", "zeros", "drop", "prefix", "html")


@tries(
    "archives cut short or with changed bytes",
    *(25, 4000),
    kind=st.sampled_from(KINDS),
    damage=st.sampled_from(
        ["flip", "flip", "flip", "cut", "garbage", "zeros", "drop", "prefix", "html"]
    ),
    share=st.floats(0, 1),
    bit=st.integers(0, 7),
)
def test_a_damaged_archive_is_whole_or_nothing(fresh, kind, damage, share, bit):
    folder, content = fresh(), bytearray(pack(kind))
    at = min(int(share * len(content)), len(content) - 1)
    if damage == "flip":
        content[at] ^= 1 << bit
    elif damage == "garbage":
        content[at : at + 16] = b"\xaa" * len(content[at : at + 16])
    elif damage == "zeros":
        content[at : at + 16] = bytes(len(content[at : at + 16]))
    elif damage in ("cut", "drop"):
        del content[at : len(content) if damage == "cut" else at + 1]
    else:
        content = b"<html>404</html>" + (content if damage == "prefix" else b"")
    outcome = unpack(folder, kind, bytes(content))
    if outcome.is_refused:
        return REFUSED
    assert unpacked(folder / "raw" / "set") == CONTENT
    return RIGHT


@tries("whole archives", 4, 200, kind=st.sampled_from(KINDS), data=st.data())
def test_a_whole_archive_gives_its_files(fresh, kind, data):
    names = st.from_regex(r"[a-z]{1,3}/[a-zA-Z0-9_ é.-]{1,20}[a-z]", fullmatch=True)
    contents = st.dictionaries(names, st.binary(max_size=50), min_size=1, max_size=6)
    content = {name: bytes(binary) for name, binary in data.draw(contents).items()}
    content["readme"] = b""
    folder = fresh()
    outcome = unpack(folder, kind, pack(kind, content))
    assert not outcome.is_refused, outcome.text
    assert unpacked(folder / "raw" / "set") == content
    return RIGHT


# names, and whether unpacking them must be refused (None: either)
NAMES = {
    "../outside": True,
    "a/../../outside": True,
    "/tmp/outside-of-the-archive": True,
    "..\\outside": True,
    "C:\\outside": True,
    "\\\\host\\share\\x": True,
    "a/./b.jpg": None,
    "./b.jpg": None,
    "a//b.jpg": None,
    "x" * 300: True,
    "a/" * 300 + "x": None,
    "é" * 130: True,
    "new\nline.jpg": None,
    "a\tb.jpg": None,
    "CON.jpg": None,
    " .jpg": None,
    "-rf": None,
    "\udcff.jpg": None,  # a byte that is not UTF-8
    "name\\with.jpg": None,
    ".": None,
    "..": True,
}


@tries(
    "archives with names that lead elsewhere, or cannot be",
    *(12, 600),
    kind=st.sampled_from(KINDS),
    name=st.sampled_from(sorted(NAMES)),
    place=st.integers(0, 2),
)
def test_odd_names_stay_inside(fresh, kind, name, place):
    folder, items = fresh(), list(CONTENT.items())
    items.insert(place, (name, b"odd"))
    content = pack(kind, dict(items))
    outcome = unpack(folder, kind, content)
    assert not Path("/tmp/outside-of-the-archive").exists()
    if outcome.is_refused:
        return REFUSED
    assert not NAMES[name], f"{name[:40]!r} was unpacked"
    files = unpacked(folder / "raw" / "set")
    assert {key: files.get(key) for key in CONTENT} == CONTENT
    return RIGHT


@tries("archives with one name twice", 4, 200, kind=st.sampled_from(KINDS), data=st.data())
def test_a_name_twice_is_the_same_file_or_refused(fresh, kind, data):
    folder = fresh()
    first, second = data.draw(st.sampled_from([("a", "a"), ("a", "a/b"), ("a/b", "a"), ("A", "a")]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "_writecheck", lambda *_: None)
        content = pack(kind, {first: b"1", "x": b"", second + "/" * (first == second): b"2"})
    outcome = unpack(folder, kind, content)
    if outcome.is_refused:
        return REFUSED
    files = unpacked(folder / "raw" / "set")
    last = {first: b"1", "x": b"", second: b"2"}  # as tar appends: the last of a name counts
    assert files == last, f"{first} and {second} became {files}"
    return RIGHT


LINKS = {"symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}
DEVICES = {"character": tarfile.CHRTYPE, "block": tarfile.BLKTYPE}
TARGETS = st.sampled_from(["readme.txt", "../../outside", "/etc/passwd", ".", "set/train"])


@tries(
    "archives with links and devices",
    *(6, 300),
    link=st.sampled_from([*LINKS, *DEVICES, "zip", "none"]),
    target=TARGETS,
)
def test_links_and_devices_are_refused(fresh, link, target):
    folder, out = fresh(), io.BytesIO()
    if link == "zip":
        with zipfile.ZipFile(out, "w") as opened:
            opened.writestr("readme.txt", b"")
            info = zipfile.ZipInfo("link")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            opened.writestr(info, target)
    else:
        content = gzip.decompress(pack("tar.gz"))
        out.write(content)
        out.seek(0)
        with tarfile.open(fileobj=out, mode="a") as opened:
            info = tarfile.TarInfo("link")
            info.type = (LINKS | DEVICES).get(link, tarfile.REGTYPE)
            info.linkname = target
            opened.addfile(info)
        out = io.BytesIO(gzip.compress(out.getvalue()))
    outcome = unpack(folder, "zip" if link == "zip" else "tar.gz", out.getvalue())
    assert outcome.is_refused == (link != "none"), f"{link} was unpacked"
    return REFUSED if outcome.is_refused else RIGHT


@tries(
    "archives larger than the disk",
    *(4, 60),
    kind=st.sampled_from(KINDS),
    megabytes=st.sampled_from([1, 4]),
    lies=st.booleans(),
)
def test_a_bomb_is_refused_before_it_fills_the_disk(fresh, kind, megabytes, lies):
    folder = fresh()
    free = 2 << 20
    content = bytearray(pack(kind, {"a": bytes(megabytes << 20), "b": b""}))
    if lies and kind.endswith("zip"):  # both headers say 16 bytes
        size = (megabytes << 20).to_bytes(4, "little")
        content = content.replace(size, (16).to_bytes(4, "little"))
    usage = shutil.disk_usage(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
        outcome = unpack(folder, kind, bytes(content))
    is_too_large = megabytes << 20 > free
    assert outcome.is_refused == (is_too_large or (lies and kind.endswith("zip"))), outcome.text
    return REFUSED if outcome.is_refused else RIGHT
