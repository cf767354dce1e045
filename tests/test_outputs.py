"""Outputs whole or not at all: what is refused before the work, and two runs on one output."""

import errno
import multiprocessing
import os
import resource
import signal
import socket
import time

import pytest

from reid.runtime import outputs
from reid.runtime.errors import InputError


def write(output):
    """Write a folder that holds one file."""
    with outputs.atomic(output) as draft:
        draft.mkdir()
        (draft / "file").write_text("done")


def write_file(output, text="done"):
    with outputs.atomic(output, is_file=True) as draft:
        draft.write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with outputs.atomic(tmp_path / "a" / "out") as draft:
        draft.mkdir()
        (draft / "file").write_text("done")
        assert not (tmp_path / "a" / "out").exists()
    assert (tmp_path / "a" / "out" / "file").read_text() == "done"
    assert names(tmp_path / "a") == ["out"]


def fail_halfway(draft):
    draft.write_text("half")
    raise ZeroDivisionError


def test_a_failure_leaves_nothing_and_an_earlier_file_as_it_was(tmp_path):
    write_file(tmp_path / "out", "earlier")
    for _ in range(2):
        with (
            pytest.raises(ZeroDivisionError),
            outputs.atomic(tmp_path / "out", is_file=True) as draft,
        ):
            fail_halfway(draft)
    assert (tmp_path / "out").read_text() == "earlier"
    assert names(tmp_path) == ["out"]
    write_file(tmp_path / "out", "later")
    assert (tmp_path / "out").read_text() == "later"


def test_leftovers_of_a_killed_run_are_removed_and_those_of_other_outputs_stay(tmp_path):
    (tmp_path / ".out.0123abcd.partial").mkdir()
    (tmp_path / ".out.0123abcd.partial" / "old").touch()
    (tmp_path / ".out.lock").write_text("process 1")
    (tmp_path / ".out.json.0123abcd.partial").touch()  # of out.json
    (tmp_path / "out").mkdir()  # empty, as DVC leaves it
    write(tmp_path / "out")
    assert names(tmp_path) == [".out.json.0123abcd.partial", "out"]


def refuse(output, told, is_file=False):
    with pytest.raises(InputError, match=told), outputs.atomic(output, is_file):
        pytest.fail("the work has started")


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "mine").touch()
    refuse(tmp_path / "docs", "docs is not empty")
    refuse(tmp_path / "docs", "docs is not empty", is_file=True)
    assert names(tmp_path) == ["docs"]


def test_what_is_of_the_other_kind_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    refuse(tmp_path / "folder", "is a folder, and a file is to be written", is_file=True)
    refuse(tmp_path / "file", "is a file, and a folder is to be written")
    refuse(tmp_path / "file" / "below", "cannot be written: Not a directory")
    assert (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path) == ["file", "folder"]


def test_devices_pipes_sockets_and_protected_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "socket"))
    for place in (tmp_path / "fifo", tmp_path / "socket", "/dev/full"):
        refuse(place, "neither a file nor a folder", is_file=True)
    (tmp_path / "cached").touch(mode=0o444)
    refuse(tmp_path / "cached", "write-protected, as files of DVC's cache are", is_file=True)
    assert names(tmp_path) == ["cached", "fifo", "socket"]


def test_mount_points_are_refused(tmp_path, monkeypatch):
    refuse("/", "is a mount point")
    refuse("/proc", "is a mount point")
    (tmp_path / "my disk").mkdir()
    table = f"36 35 98:0 / {tmp_path}/my\\040disk rw - ext3 /dev/root rw\n"
    (tmp_path / "mountinfo").write_text(table)
    monkeypatch.setattr(outputs, "MOUNTS", tmp_path / "mountinfo")
    refuse(tmp_path / "my disk", "is a mount point, which cannot be replaced. Name a place below")
    write(tmp_path / "my disk" / "out")
    monkeypatch.setattr(outputs, "MOUNTS", tmp_path / "none")  # another system than Linux
    write(tmp_path / "out")


def test_names_that_cannot_be_are_refused(tmp_path):
    refuse(tmp_path / ("x" * 300), "File name too long")
    refuse(tmp_path / ("x" * 250), "File name too long")  # of the draft, that is
    refuse("/".join(["x" * 200] * 30), r"x\.\.\. cannot be written: File name too long")
    refuse(f"{tmp_path}/a\0b", r"a\\0b cannot be written: .*null")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "place")

    monkeypatch.setattr(os, "open", denied)  # tests may run as root, to whom nothing is denied
    refuse(tmp_path / "out", "out cannot be written: Permission denied: place. Name another place")


def test_a_link_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real").mkdir()
    (tmp_path / "out").symlink_to("disk/real")
    (tmp_path / "dangling").symlink_to(tmp_path / "disk" / "new")
    (tmp_path / "middle").symlink_to("disk")
    for place in ("out", "dangling", "middle/below/out"):
        write(tmp_path / place)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert names(tmp_path / "disk") == ["below", "new", "real"]
    assert names(tmp_path) == ["dangling", "disk", "middle", "out"]


def test_a_link_out_of_the_project_is_refused_under_dvc(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "data").symlink_to("../disk")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("DVC_STAGE", "prepare")
    refuse("data/out", r"data/out lies in .*/disk/out by a link, .* `dvc cache dir`")
    write("models/out")
    monkeypatch.delenv("DVC_STAGE")
    write("data/out")
    assert names(tmp_path / "disk") == ["out"]


def test_the_current_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (".", "", tmp_path):
        refuse(place, "it is the current folder, which is not to be replaced")


def test_another_users_output_in_a_sticky_folder_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 12345)
    refuse(tmp_path / "file", "file cannot be written: it is another user's", is_file=True)
    tmp_path.chmod(0o777)
    write_file(tmp_path / "file")


def test_a_file_that_is_an_input_or_in_one_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("mine")
    (tmp_path / "link").symlink_to("in")
    for place in (tmp_path / "in", tmp_path / "in" / "file", tmp_path / "link"):
        with (
            pytest.raises(InputError, match="file cannot be written: it is read, as "),
            outputs.atomic(tmp_path / "in" / "file", is_file=True, inputs=[place]),
        ):
            pytest.fail("the work has started")
    assert (tmp_path / "in" / "file").read_text() == "mine"
    with outputs.atomic(tmp_path / "in" / "new", is_file=True, inputs=[tmp_path / "in"]) as draft:
        draft.touch()


def test_a_link_or_pipe_in_the_place_of_the_lock_file_stays_as_it_is(tmp_path):
    (tmp_path / "mine").write_text("mine")
    lock = tmp_path / ".out.lock"
    lock.symlink_to("mine")
    refuse(tmp_path / "out", r"Too many levels of symbolic links: .*\.out\.lock")
    assert (tmp_path / "mine").read_text() == "mine"
    lock.unlink()
    os.mkfifo(lock)
    refuse(tmp_path / "out", r"it is no plain file: .*\.out\.lock")
    assert lock.is_fifo()


def test_links_to_nowhere_and_loops_are_refused(tmp_path):
    (tmp_path / "away").symlink_to(tmp_path / "unmounted" / "disk")
    (tmp_path / "loop").symlink_to("loop")
    told = rf"the link {tmp_path}/away leads to .*/disk, and .*/unmounted is not there"
    refuse(tmp_path / "away", told)
    refuse(tmp_path / "away" / "out", told)
    refuse(tmp_path / "loop", "broken link")
    refuse(tmp_path / "loop" / "out", "cannot be written: (Too many levels|Not a directory)")
    assert names(tmp_path) == ["away", "loop"]


def test_a_second_run_is_refused_at_once_and_told_who_has_the_output(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with outputs.atomic(tmp_path / "out") as draft:
        draft.mkdir()
        for place in ("out", "link"):
            refuse(tmp_path / place, rf"out is being written by process {os.getpid()} on ")
        write(tmp_path / "another")
        assert draft.is_dir()
    assert names(tmp_path) == ["another", "link", "out"]


def test_what_another_has_written_meanwhile_stays(tmp_path):
    def write_theirs(draft):
        write(draft)
        write(tmp_path / "theirs")
        (tmp_path / "theirs").rename(tmp_path / "out")

    with pytest.raises(InputError, match="not empty"), outputs.atomic(tmp_path / "out") as draft:
        write_theirs(draft)
    assert names(tmp_path / "out") == ["file"]
    assert names(tmp_path) == ["out"]


def count_up(file, times):
    """Add 1 to a number in a file, again and again, each time within its lock."""
    for _ in range(times):
        with outputs.lock(file, wait=True):
            file.write_text(str(int(file.read_text()) + 1))


def test_only_one_has_the_lock_however_often_its_file_comes_and_goes(tmp_path):
    file = tmp_path / "number"
    file.write_text("0")
    processes = [
        multiprocessing.get_context("fork").Process(target=count_up, args=(file, 200))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert file.read_text() == "800"
    assert names(tmp_path) == ["number"]


def hold(path):
    with outputs.atomic(path) as draft:
        draft.mkdir()
        time.sleep(60)


def test_a_killed_run_leaves_its_place_to_the_next(tmp_path):
    holder = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path / "out",))
    holder.start()
    while not any(name.endswith(".partial") for name in names(tmp_path)):
        time.sleep(0.01)
    refuse(tmp_path / "out", f"is being written by process {holder.pid} on ")
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert len(names(tmp_path)) == 2
    write(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_without_locks_two_runs_are_warned_and_kept_apart(tmp_path, monkeypatch):
    def unlocked(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(outputs.fcntl, "flock", unlocked)
    with pytest.warns(UserWarning, match=r"has no locks \(No locks available\)"):
        write(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_only_what_was_writing_the_output_is_told_as_that(tmp_path):
    with (
        pytest.raises(InputError, match=r"out cannot be written: No such file"),
        outputs.atomic(tmp_path / "out") as draft,
    ):
        (draft / "file").touch()
    with (
        pytest.raises(FileNotFoundError, match="input"),
        outputs.atomic(tmp_path / "out"),
    ):
        (tmp_path / "input").read_bytes()
    assert names(tmp_path) == []


def test_a_file_that_may_not_grow_is_told(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(InputError, match=r"File too large; .*Free now: .*`ulimit -f`"):
            write_file(tmp_path / "out", "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".out.lock").symlink_to("mine")
    with pytest.raises(InputError, match=r"\.out\.lock"), outputs.atomic(tmp_path / "out"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
