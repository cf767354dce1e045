"""A raw folder out of an archive: servers that break off, lie or are gone; archives that are
damaged or malicious.
"""

import gzip
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import gdown
import numpy as np
import pytest
import yaml

from reid.datasets import archive, download, readers
from reid.runtime import outputs
from reid.runtime.errors import InputError
from tests import tiny_market1501
from tests.conftest import run_stage
from tests.tiny_market1501 import IMAGES

FILE = "Market-1501-v15.09.15.zip"
FOLDERS = readers.READERS["market1501"].folders


def market_zip(top="Market-1501-v15.09.15"):
    """Market-1501 in small, as its official zip is laid out."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in tiny_market1501.files().items():
            packed.writestr(f"{top}/{name}", content)
    return file.getvalue()


CONTENT = market_zip()


@contextmanager
def server(content, breaks_after=None, ranges=True):
    """Serve `content` as FILE on 127.0.0.1; yield (address, [Range header of each request])."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers["Range"])
            start = (
                int(asked[-1].removeprefix("bytes=").removesuffix("-"))
                if asked[-1] and ranges
                else 0
            )
            if not self.path.endswith(FILE):
                return self.send_error(404)
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                return self.end_headers()
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            return self.wfile.write(content[start : breaks_after if len(asked) == 1 else None])

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", asked
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def known(content):
    """Market-1501's facts with the MD5 of `content`."""
    return download.Archive(
        FILE, hashlib.md5(content).hexdigest(), "drive-id", "from https://example.org"
    )


@pytest.fixture(autouse=True)
def facts(monkeypatch):
    monkeypatch.setitem(download.ARCHIVES, "market1501", (known(CONTENT),))


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def provide(raw, may_download=True, allow_incomplete=False):
    return download.provide("market1501", raw, FOLDERS, may_download, allow_incomplete)


def refused(*arguments, **settings):
    with pytest.raises(InputError) as error:
        provide(*arguments, **settings)
    return str(error.value)


def assert_by_hand(message, raw):
    """What to fetch, from where, its MD5, where to put it, and how to name another place."""
    for part in (
        FILE,
        known(CONTENT).md5,
        "https://example.org",
        str(raw / FILE),
        "`prepare.raw`",
        "REID_DATA",
    ):
        assert part in message


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


# Downloads


def test_a_whole_download_is_verified_unpacked_and_used_again(raw, monkeypatch):
    with server(CONTENT) as (address, asked):
        monkeypatch.setenv("REID_MIRROR", f"{address}/mirror/")
        folder = provide(raw)
        assert folder == raw / "Market-1501-v15.09.15"
        assert provide(raw) == folder
        assert asked == [None]
    assert listing(raw) == ["Market-1501-v15.09.15", FILE]
    assert listing(folder) == sorted(IMAGES)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("breaks_after", [0, 1, len(CONTENT) // 2, len(CONTENT) - 1])
def test_a_broken_download_is_continued(raw, monkeypatch, ranges, breaks_after):
    with server(CONTENT, breaks_after, ranges) as (address, asked):
        monkeypatch.setenv("REID_MIRROR", address)
        message = refused(raw)
        assert f"the connection closed after {breaks_after:,} of {len(CONTENT):,} bytes" in message
        assert_by_hand(message, raw)
        assert listing(raw) == [f"{FILE}.part"]
        assert (raw / f"{FILE}.part").stat().st_size == breaks_after
        provide(raw)
        assert asked == [None, f"bytes={breaks_after}-" if breaks_after else None]
    assert (raw / FILE).read_bytes() == CONTENT
    assert listing(raw) == ["Market-1501-v15.09.15", FILE]


def test_a_whole_part_only_takes_its_name(raw, monkeypatch):
    (raw / f"{FILE}.part").write_bytes(CONTENT)
    with server(CONTENT) as (address, asked):
        monkeypatch.setenv("REID_MIRROR", address)
        provide(raw)
        assert asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_starts_over_next_time(raw, monkeypatch):
    (raw / f"{FILE}.part").write_bytes(CONTENT + b"more")
    with server(CONTENT) as (address, _):
        monkeypatch.setenv("REID_MIRROR", address)
        assert "416" in refused(raw)
        provide(raw)


def test_an_interrupted_download_is_kept_and_continued(raw, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "BLOCK", 1000)
    part = raw / "part"
    with server(CONTENT) as (address, asked):
        with pytest.raises(KeyboardInterrupt):
            download.resume(f"{address}/{FILE}", part, interrupt)
        assert part.read_bytes() == CONTENT[:1000]
        seen = []
        download.resume(f"{address}/{FILE}", part, lambda done, total: seen.append((done, total)))
        assert asked == [None, "bytes=1000-"]
    assert part.read_bytes() == CONTENT
    assert seen[0] == (2000, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("allow_incomplete", [False, True])
def test_a_corrupted_download_leaves_nothing(raw, monkeypatch, allow_incomplete):
    corrupted = bytes(reversed(CONTENT))
    with server(corrupted) as (address, _):
        monkeypatch.setenv("REID_MIRROR", address)
        message = refused(raw, allow_incomplete=allow_incomplete)
    assert f"MD5 {hashlib.md5(corrupted).hexdigest()}, wanted {known(CONTENT).md5}" in message
    assert_by_hand(message, raw)
    assert listing(raw) == []


def test_a_download_without_published_md5_must_be_a_zip(raw, monkeypatch):
    nameless = (download.Archive(FILE, "", "drive-id", "from https://example.org"),)
    monkeypatch.setitem(download.ARCHIVES, "market1501", nameless)
    with server(b"<html>quota exceeded</html>") as (address, _):
        monkeypatch.setenv("REID_MIRROR", address)
        assert "wanted a zip file" in refused(raw)
    assert listing(raw) == []
    with server(CONTENT) as (address, _):
        monkeypatch.setenv("REID_MIRROR", address)
        assert listing(provide(raw)) == sorted(IMAGES)


def test_a_dead_link_says_what_to_do_by_hand(raw, monkeypatch):
    gone = download.Archive("gone.zip", known(CONTENT).md5, "drive-id", "from https://example.org")
    monkeypatch.setitem(download.ARCHIVES, "market1501", (gone,))
    with server(CONTENT) as (address, _):
        monkeypatch.setenv("REID_MIRROR", address)
        message = refused(raw)
    assert "gone.zip could not be downloaded: HTTP Error 404" in message
    assert f"as it is, at {raw / 'gone.zip'}" in message


def test_offline_says_what_to_do_by_hand(tmp_path, monkeypatch):
    with server(CONTENT) as (address, _):
        pass  # nobody listens there any more
    monkeypatch.setenv("REID_MIRROR", address)
    message = refused(tmp_path / "absent")
    assert "refused" in message
    assert_by_hand(message, tmp_path / "absent")


def test_google_drive_is_asked_through_gdown(raw, monkeypatch):
    def fake(id, output, progress, **_):
        progress(10, 20)
        Path(output).write_bytes(CONTENT)

    from_drive = mock.create_autospec(gdown.download, side_effect=fake)
    monkeypatch.setattr(gdown, "download", from_drive)
    monkeypatch.delenv("REID_MIRROR", raising=False)
    assert listing(provide(raw)) == sorted(IMAGES)
    assert from_drive.call_args.kwargs["id"] == "drive-id"
    assert from_drive.call_args.kwargs["resume"] is True
    assert listing(raw) == ["Market-1501-v15.09.15", FILE]


def test_google_drives_refusal_says_what_to_do_by_hand(raw, monkeypatch):
    error = gdown.exceptions.FileURLRetrievalError(
        "Failed to retrieve file url:\n\n\tToo many users.\n"
    )
    monkeypatch.setattr(gdown, "download", mock.create_autospec(gdown.download, side_effect=error))
    monkeypatch.delenv("REID_MIRROR", raising=False)
    message = refused(raw)
    assert (
        "could not be downloaded: Failed to retrieve file url: Too many users. By hand: put"
        in message
    )
    assert_by_hand(message, raw)
    assert listing(raw) == []


def test_nothing_is_downloaded_unasked(raw):
    with mock.patch.object(download, "transfer") as transfer:
        message = refused(raw, may_download=False)
    transfer.assert_not_called()
    assert "`prepare.download` in params.yaml is false" in message
    assert "there: nothing" in message
    assert_by_hand(message, raw)


@pytest.mark.parametrize(
    ("name", "file", "whom"),
    [
        ("dukemtmcreid", "DukeMTMC-reID.zip", "withdrew the dataset in 2019"),
        ("msmt17", "MSMT17_V1.tar.gz", "on request by e-mail"),
    ],
)
def test_what_may_not_be_downloaded_never_is(raw, monkeypatch, name, file, whom):
    monkeypatch.setenv("REID_MIRROR", "http://127.0.0.1:9")
    with mock.patch.object(download, "transfer") as transfer, pytest.raises(InputError) as error:
        download.provide(name, raw, ("folder",), True, True)
    transfer.assert_not_called()
    message = str(error.value)
    for part in (
        "it may not be downloaded",
        whom,
        download.ARCHIVES[name][0].md5,
        str(raw / file),
        "`prepare.raw`",
    ):
        assert part in message


def test_only_what_its_terms_allow_has_an_address():
    facts = [fact for known in download.ARCHIVES.values() for fact in known]
    assert {fact.file for fact in facts if fact.drive} == {
        FILE,
        "distractors_500k.zip",
        "cuhk03-np.zip",
    }
    for fact in facts:
        assert re.fullmatch("([0-9a-f]{32})?", fact.md5)
        assert fact.file.endswith((".zip", ".tar.gz"))


def test_a_dataset_without_archive_keeps_its_own_error(raw):
    with pytest.raises(InputError, match="looked for a folder mine"):
        download.provide("mine", raw, ("mine",), True, False)


def test_each_step_gives_a_path_or_none(raw):
    archives = download.ARCHIVES["market1501"]
    assert download.find_folder(raw, FOLDERS, archives) is None
    assert download.find_archive(raw, archives) is None
    assert download.fetch(raw, download.ARCHIVES["msmt17"]) is None
    (raw / FILE).write_bytes(CONTENT)
    assert download.find_archive(raw, archives) == raw / FILE
    (raw / "market1501").mkdir()
    assert download.find_folder(raw, FOLDERS, archives) == raw / "market1501"
    (raw / FILE).rename(raw / "market1501" / FILE)
    assert download.find_folder(raw, FOLDERS, archives) is None, "a folder for the archive alone"


# Archives that the user holds


def test_an_archive_with_another_md5_is_refused_unless_allowed(raw):
    other = market_zip() + b"trailing"
    (raw / FILE).write_bytes(other)
    message = refused(raw)
    assert f"its MD5 is {hashlib.md5(other).hexdigest()}, wanted {known(CONTENT).md5}" in message
    assert "`prepare.allow_incomplete: true`" in message
    assert_by_hand(message, raw)
    assert listing(raw) == [FILE]
    assert listing(provide(raw, allow_incomplete=True)) == sorted(IMAGES)


@pytest.mark.parametrize(
    "top", ["Market-1501-v15.09.15", "market-1501-V15.09.15", "Market-1501", "."]
)
def test_the_archives_own_folder_is_found_by_any_name(raw, top):
    (raw / FILE).write_bytes(market_zip(top))
    folder = provide(raw, allow_incomplete=True)
    assert listing(folder) == sorted(IMAGES)
    assert provide(raw) == folder


def test_an_archive_in_a_folder_made_for_it(raw):
    (raw / "market1501").mkdir()
    (raw / "market1501" / FILE).write_bytes(CONTENT)
    for place in (raw, raw / "market1501"):
        assert provide(place) == raw / "market1501" / "Market-1501-v15.09.15"


def test_a_folder_beside_its_archive_is_used_as_it_is(raw):
    for name in IMAGES:
        (raw / "market1501" / name).mkdir(parents=True)
    (raw / "market1501" / FILE).write_bytes(b"kept after unpacking it by hand")
    assert provide(raw) == raw / "market1501"


def test_the_md5_of_a_large_file_is_streamed(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(150_000_000)
    tracemalloc.start()
    assert archive.md5(tmp_path / "large") == "e48f0b45b45dd56102e12a54e08af64a"
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_the_md5_of_what_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*Is a directory"):
        archive.md5(tmp_path)


def test_the_md5_of_nothing(tmp_path):
    (tmp_path / "empty").touch()
    assert archive.md5(tmp_path / "empty") == "d41d8cd98f00b204e9800998ecf8427e"


def test_macos_leftovers_do_not_count(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a/image.jpg", b"1")
        packed.writestr("__MACOSX/a/._image.jpg", b"2")
    archive.unpack(tmp_path / "a.zip", tmp_path / "a")
    assert listing(tmp_path / "a") == ["image.jpg"]


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_truncated_archive_leaves_nothing(tmp_path, name, keep):
    whole = make_archive(tmp_path / name, ["a/1.jpg", "a/2.jpg"]).read_bytes()
    (tmp_path / name).write_bytes(whole[:keep])
    with pytest.raises(InputError, match="cannot be unpacked"):
        archive.unpack(tmp_path / name, tmp_path / "a")
    assert listing(tmp_path) == [name]


def test_a_tar_cut_between_members_is_no_whole_one(tmp_path):
    """tarfile alone takes the end of the stream for the end of the archive."""
    whole = make_archive(
        tmp_path / "a.tar.gz", [f"a/{i}.jpg" for i in range(20)], compresslevel=0
    ).read_bytes()
    for keep in range(len(whole) - 1, 0, -1501):
        (tmp_path / "a.tar.gz").write_bytes(whole[:keep])
        with pytest.raises(InputError):
            archive.unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert listing(tmp_path) == ["a.tar.gz"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_an_interrupted_unpacking_leaves_nothing(tmp_path, name):
    make_archive(tmp_path / name, ["a/1.jpg", "a/2.jpg"])
    with mock.patch("os.replace", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        archive.unpack(tmp_path / name, tmp_path / "a")
    assert listing(tmp_path) == [name]
    (tmp_path / ".a.0123abcd.partial" / "left").mkdir(parents=True)  # by a kill
    archive.unpack(tmp_path / name, tmp_path / "a")
    assert listing(tmp_path) == ["a", name]
    assert listing(tmp_path / "a") == ["1.jpg", "2.jpg"]


def test_an_unwritable_place_is_an_error(tmp_path):
    make_archive(tmp_path / "a.zip", ["a/1.jpg"])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/a cannot be written: File exists.*Name another"):
        archive.unpack(tmp_path / "a.zip", tmp_path / "file" / "a")


def make_archive(path, names, **options):
    rng = np.random.default_rng(0)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name in names:
                packed.writestr(name, rng.bytes(3000))
    else:
        with tarfile.open(path, "w:gz", **options) as packed:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = 3000
                packed.addfile(member, io.BytesIO(rng.bytes(3000)))
    return path


@pytest.mark.parametrize(
    "evil", ["../evil", "/tmp/evil-of-tests", "a/../../evil", "..\\evil", "C:\\evil", "a/..", ".."]
)
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_no_entry_is_written_outside(tmp_path, name, evil):
    make_archive(tmp_path / name, ["a/good", evil])
    with pytest.raises(InputError) as error:
        archive.unpack(tmp_path / name, tmp_path / "a")
    assert f"its entry {evil!r} would be written outside its folder" in str(error.value)
    assert listing(tmp_path) == [name]
    assert not Path("/tmp/evil-of-tests").exists()


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc"),
        (tarfile.SYMTYPE, "../.."),
        (tarfile.SYMTYPE, "good"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "../../secret"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_no_link_or_device_out_of_a_tar(tmp_path, kind, target):
    (tmp_path / "secret").write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
        for name, of in (
            ("a/good", tarfile.REGTYPE),
            ("a/evil", kind),
            ("a/evil/file", tarfile.REGTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = of, target if of == kind else ""
            packed.addfile(member)
    with pytest.raises(InputError, match="its entry 'a/evil' is neither a plain file nor a folder"):
        archive.unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert listing(tmp_path) == ["a.tar.gz", "secret"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_no_link_or_device_out_of_a_zip(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        member = zipfile.ZipInfo("a/evil")
        member.external_attr = (kind | 0o777) << 16
        packed.writestr(member, "/etc")
    with pytest.raises(InputError, match="its entry 'a/evil' is neither a plain file nor a folder"):
        archive.unpack(tmp_path / "a.zip", tmp_path / "a")
    assert listing(tmp_path) == ["a.zip"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a/" + "n" * 2000, "has a name of 2,002 characters"),
        ("a/" + "n" * 300, "File name too long"),
        ("a/good", "'good' comes twice"),
        ("a/./good", "'good' comes twice"),
        ("a/good/more", "cannot be unpacked"),
    ],
)
@pytest.mark.parametrize("file", ["a.zip", "a.tar.gz"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_no_dataset_has(tmp_path, file, name, told):
    make_archive(tmp_path / file, ["a/good", name])
    with pytest.raises(InputError, match=told) as error:
        archive.unpack(tmp_path / file, tmp_path / "a")
    assert len(str(error.value)) < 2_000
    assert listing(tmp_path) == [file]


def test_names_that_are_not_utf8(tmp_path):
    latin = {"format": tarfile.GNU_FORMAT, "encoding": "latin-1"}
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", **latin) as packed:
        packed.addfile(tarfile.TarInfo("a/caf\xe9.jpg"))
    with pytest.raises(InputError, match=r"'a/caf\\udce9.jpg' has a name that is not UTF-8"):
        archive.unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    make_archive(tmp_path / "b.zip", ["b/\xe9.jpg"])
    content = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(content.replace("\xe9".encode(), b"\xff\xfe"))
    with pytest.raises(InputError, match=r"b.zip cannot be unpacked to .*utf-8"):
        archive.unpack(tmp_path / "b.zip", tmp_path / "b")
    assert listing(tmp_path) == ["a.tar.gz", "b.zip"]


def test_names_in_upper_and_lower_case_are_two(tmp_path):
    """Where the file system takes them for one, the second would come twice."""
    make_archive(tmp_path / "a.zip", ["a/b.jpg", "a/B.jpg"])
    archive.unpack(tmp_path / "a.zip", tmp_path / "a")
    assert listing(tmp_path / "a") == ["B.jpg", "b.jpg"]


# Bombs


def make_bomb(path, megabytes):
    """An archive of zeros, a thousandth of its contents."""
    zeros = bytes(1_000_000)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for number in range(megabytes):
                packed.writestr(f"a/{number}.jpg", zeros)
    else:
        with tarfile.open(path, "w:gz") as packed:
            for number in range(megabytes):
                member = tarfile.TarInfo(f"a/{number}.jpg")
                member.size = len(zeros)
                packed.addfile(member, io.BytesIO(zeros))


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_an_archive_that_grows_a_thousandfold_is_refused(tmp_path, name):
    make_bomb(tmp_path / name, 101)
    with pytest.raises(InputError, match=r"its 0\.1 MB unpack to 10[01] MB or more, over 20 times"):
        archive.unpack(tmp_path / name, tmp_path / "a")
    assert listing(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_small_archive_may_grow(tmp_path, name):
    make_bomb(tmp_path / name, 3)
    archive.unpack(tmp_path / name, tmp_path / "a")
    assert len(listing(tmp_path / "a")) == 3


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_an_archive_that_the_disk_cannot_take_is_refused(tmp_path, name, monkeypatch):
    make_bomb(tmp_path / name, 3)
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"it needs [23] MB or more beside it, and 2 MB are free"):
        archive.unpack(tmp_path / name, tmp_path / "a")
    assert listing(tmp_path) == [name]


def test_a_zip_whose_headers_lie_unpacks_to_no_more_than_they_say(tmp_path):
    make_bomb(tmp_path / "a.zip", 1)
    content = (tmp_path / "a.zip").read_bytes()
    size = (1_000_000).to_bytes(4, "little")
    assert content.count(size) == 2
    (tmp_path / "a.zip").write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match="Bad CRC-32"):
        archive.unpack(tmp_path / "a.zip", tmp_path / "a")
    assert listing(tmp_path) == ["a.zip"]


def test_a_tar_whose_header_claims_much_is_refused(tmp_path):
    """An extended header would be read into the memory as a whole."""
    member = tarfile.TarInfo("a/long")
    member.type, member.size = tarfile.XHDTYPE, 10**12
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(110):
            file.write(bytes(1_000_000))
    with pytest.raises(InputError, match="unpack to 100 MB or more"):
        archive.unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert listing(tmp_path) == ["a.tar.gz"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_too_many_entries_are_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(archive, "ENTRIES", 2)
    make_archive(tmp_path / name, ["a/1", "a/2"])
    archive.unpack(tmp_path / name, tmp_path / "a")
    make_archive(tmp_path / name, ["b/1", "b/2", "b/3"])
    with pytest.raises(InputError, match="'b/3' is one of more than 2"):
        archive.unpack(tmp_path / name, tmp_path / "b")
    assert listing(tmp_path) == ["a", name]


# Other forms, and damage


def test_a_zip64(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w") as packed,
        packed.open("a/1.jpg", "w", force_zip64=True) as file,
    ):
        file.write(b"content")
    archive.unpack(tmp_path / "a.zip", tmp_path / "a")
    assert (tmp_path / "a" / "1.jpg").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("offset", "value", "told"),
    [(8, 1, "encrypted, password required"), (10, 99, "compression method is not supported")],
)
def test_a_zip_of_a_form_that_is_not_read(tmp_path, offset, value, told):
    """Flags are at 8 in the central directory's entry, the compression method at 10."""
    content = bytearray(make_archive(tmp_path / "a.zip", ["a/1.jpg"]).read_bytes())
    content[content.index(b"PK\1\2") + offset] = value
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=rf"cannot be unpacked to .*{told}.*unpack it yourself"):
        archive.unpack(tmp_path / "a.zip", tmp_path / "a")
    assert listing(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_any_damage_is_told_and_leaves_nothing(tmp_path, name):
    whole = np.frombuffer(make_archive(tmp_path / name, ["a/1", "a/2"]).read_bytes(), np.uint8)
    rng, told = np.random.default_rng(0), 0
    for _ in range(150):
        broken = whole.copy()
        broken[rng.integers(0, len(whole), 20)] = rng.integers(0, 256, 20)
        (tmp_path / name).write_bytes(broken.tobytes())
        try:
            archive.unpack(tmp_path / name, tmp_path / "a")
            shutil.rmtree(tmp_path / "a")
        except InputError:
            told += 1
        assert listing(tmp_path) == [name]
    assert told > 100


@pytest.mark.parametrize("content", [b"", b"<html>quota exceeded</html>", b"PK\3\4", b"\x1f\x8b"])
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_what_is_no_archive(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be unpacked to .*replace it with a whole copy"):
        archive.unpack(tmp_path / name, tmp_path / "a")
    assert listing(tmp_path) == [name]


# Two at once

UNPACK = """
import sys
from pathlib import Path
from reid.datasets import archive
archive.unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""
TRANSFER = """
import sys
from pathlib import Path
from reid.datasets import download
print(download.transfer(download.Archive("a.zip", "", "drive-id", ""), Path(sys.argv[1])))
"""


def start(code, *arguments):
    """Start a process that waits for a lock, and return it once it says so."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "waiting" in process.stderr.readline()
    return process


def test_the_second_unpacking_waits_and_takes_what_the_first_has_made(tmp_path):
    make_archive(tmp_path / "a.zip", ["a/1.jpg"])
    with outputs.lock(tmp_path / "a"):
        second = start(UNPACK, tmp_path / "a.zip", tmp_path / "a")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "of the first").touch()
    assert second.wait(30) == 0
    assert listing(tmp_path / "a") == ["of the first"]
    assert listing(tmp_path) == ["a", "a.zip"]


def test_the_second_unpacking_does_it_where_the_first_has_failed(tmp_path):
    make_archive(tmp_path / "a.zip", ["a/1.jpg"])
    with outputs.lock(tmp_path / "a"):
        second = start(UNPACK, tmp_path / "a.zip", tmp_path / "a")
    assert second.wait(30) == 0
    assert listing(tmp_path / "a") == ["1.jpg"]


def test_many_unpackings_of_one_archive_make_it_whole(tmp_path):
    make_archive(tmp_path / "a.zip", [f"a/{number}.jpg" for number in range(1_000)])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: archive.unpack(tmp_path / "a.zip", tmp_path / "a"), range(8)))
    assert len(listing(tmp_path / "a")) == 1_000
    assert listing(tmp_path) == ["a", "a.zip"]


def test_the_second_download_waits_and_takes_what_the_first_has_brought(raw, monkeypatch):
    monkeypatch.setenv("REID_MIRROR", "http://127.0.0.1:9")  # nobody listens there
    with outputs.lock(raw / "a.zip"):
        second = start(TRANSFER, raw)
        (raw / "a.zip").write_bytes(b"of the first")
    assert second.communicate(timeout=30)[0].strip() == str(raw / "a.zip")
    assert listing(raw) == ["a.zip"]


def test_a_folder_in_which_another_job_unpacks_is_not_the_dataset(raw):
    (raw / "market1501" / ".Market-1501-v15.09.15.0123abcd.partial").mkdir(parents=True)
    (raw / "market1501" / FILE).write_bytes(CONTENT)
    assert provide(raw) == raw / "market1501" / "Market-1501-v15.09.15"
    assert listing(raw / "market1501") == ["Market-1501-v15.09.15", FILE]


# The whole stage


@pytest.fixture
def stage(raw, tmp_path, monkeypatch):
    """`python -m stages.prepare market1501` on `raw` -> exit code, or the error that goes with
    exit code 1.
    """
    monkeypatch.setenv("REID_DATA", str(raw))

    def prepare(out, **settings):
        section = {
            "raw": "",
            "download": False,
            "partial_seed": 0,
            "allow_incomplete": True,
        } | settings
        params = {
            "prepare": section,
            "datasets": {
                "market1501": {"source": {"reader": "market1501", "distractors_500k": False}}
            },
        }
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        return run_stage(
            "prepare", "market1501", tmp_path / out, "--params", tmp_path / "params.yaml"
        )

    return prepare


def test_a_held_zip_is_prepared_and_its_folder_used_again(raw, stage, tmp_path):
    (raw / FILE).write_bytes(market_zip() + b"a subset")
    assert stage("first") == 0
    assert (
        json.loads((tmp_path / "first" / "statistics.json").read_text())["gallery"]["images"] == 3
    )
    (raw / FILE).unlink()
    shutil.rmtree(raw / "Market-1501-v15.09.15" / "query")
    os.rename(
        raw / "Market-1501-v15.09.15" / "bounding_box_test", raw / "Market-1501-v15.09.15" / "query"
    )
    assert "lacks bounding_box_test" in stage("broken")
    (raw / FILE).write_bytes(CONTENT)
    assert "lacks bounding_box_test" in stage("broken"), (
        "an existing folder is the user's: never unpacked over"
    )
    shutil.rmtree(raw / "Market-1501-v15.09.15")
    assert stage("second") == 0
    files = [path for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert len(files) == 3 * 4 + 1  # three files of each split, and the statistics
    for path in files:
        again = tmp_path / "second" / path.relative_to(tmp_path / "first")
        assert path.read_bytes() == again.read_bytes()


def test_the_stage_downloads(raw, stage, monkeypatch, tmp_path):
    with server(CONTENT) as (address, asked):
        monkeypatch.setenv("REID_MIRROR", address)
        message = stage("out")
        assert "`prepare.download` in params.yaml is false" in message
        assert asked == []
        assert stage("out", download=True) == 0
        assert stage("again", download=True) == 0
        assert asked == [None]
    assert listing(tmp_path / "out") == listing(tmp_path / "again")


def test_the_stage_refuses_an_archive_of_another_md5(raw, stage, tmp_path):
    (raw / FILE).write_bytes(CONTENT[:-1])
    message = stage("out", allow_incomplete=False)
    assert message.startswith(f"error: {raw / FILE} is damaged or not the official archive")
    assert listing(raw) == [FILE]
    assert not (tmp_path / "out").exists()
