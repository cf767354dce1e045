"""How a command ends: one paragraph, one line after a signal, its exit code, nothing left."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from reid.runtime import cli, system_errors
from reid.runtime.errors import InputError
from tests.conftest import ROOT

MAIN = """
    import errno, os, pathlib, signal, sys, time
    from reid.runtime import cli

    def main():
        with cli.atomic_output(sys.argv[1]) as draft:
            draft.mkdir()
            (draft / "half").touch()
            {body}

    cli.run(main)
"""
WAITING = """
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                print("cleaning", flush=True)
                time.sleep(0.3)
"""


def start(body, *arguments, **options):
    """Start a small command that writes a folder, and does `body` meanwhile."""
    code = textwrap.dedent(MAIN.format(body=body.strip()))
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_bad_input_ends_with_one_paragraph_and_exit_code_one(capsys):
    def main():
        raise InputError("the file x is\n   broken: fix it.")

    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    assert (
        stopped.value.code == "error: the file x is broken: fix it."
    )  # sys.exit prints text and exits with 1


def test_what_cannot_be_printed_is_spelled():
    with pytest.raises(SystemExit) as stopped, cli.exit_codes():
        raise InputError("a\x07 b\n\udcff é")
    assert stopped.value.code == r"error: a\x07 b \udcff é"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: 1 / 0)


def test_an_interrupt_exits_with_130(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    assert stopped.value.code == 130
    assert "nothing was written" in capsys.readouterr().err


def test_handlers_are_as_before_after_a_command():
    before = [signal.getsignal(number) for number in cli.SIGNALS]
    cli.run(lambda: None)
    with pytest.raises(SystemExit):
        cli.run(fail)
    assert [signal.getsignal(number) for number in cli.SIGNALS] == before


def fail():
    raise InputError("wrong")


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "interrupted: nothing was written\n"),
        (signal.SIGTERM, 143, "SIGTERM: nothing was written\n"),
        (signal.SIGHUP, 129, "SIGHUP: nothing was written\n"),
    ],
)
def test_a_signal_cleans_up_with_one_line_and_a_second_does_not_stop_that(
    number, code, line, tmp_path
):
    running = start(WAITING, tmp_path / "out")
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    assert running.stdout.readline() == "cleaning\n"
    for again in cli.SIGNALS:
        running.send_signal(again)
    _, stderr = running.communicate(timeout=20)
    assert (running.returncode, stderr) == (code, line)
    assert list(tmp_path.iterdir()) == []


SLOW_IMPORT = """
    import importlib.abc, runpy, sys, time

    class Slow(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name == "reid.results":
                print("importing", flush=True)
                time.sleep(60)

    sys.meta_path.insert(0, Slow())
    sys.argv = ["-m"]
    runpy.run_module("stages.report", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "interrupted: nothing was written\n"),
        (signal.SIGTERM, 143, "SIGTERM: nothing was written\n"),
        (signal.SIGHUP, 129, "SIGHUP: nothing was written\n"),
    ],
)
def test_a_signal_while_modules_are_imported_ends_in_one_line(number, code, line):
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW_IMPORT)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout.readline() == "importing\n"
    running.send_signal(number)
    assert running.communicate(timeout=20)[1] == line
    assert running.returncode == code


def test_a_signal_after_the_output_is_complete_changes_nothing(tmp_path):
    body = "sys.argv[0] = '-m'; from reid.runtime import starting; starting.end_by_signals()"
    late = textwrap.dedent(MAIN).replace("def main", f"{body}\n\ndef main").format(body="pass")
    done = subprocess.run(
        [sys.executable, "-c", f"{late}\nos.kill(os.getpid(), signal.SIGTERM)", tmp_path / "out"],
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "out" / "half").exists()


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    body = 'os.kill(os.getpid(), signal.SIGHUP); (draft / "whole").touch()'
    ignoring = start(
        body, tmp_path / "out", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    assert ignoring.communicate(timeout=20)[1] == ""
    assert ignoring.returncode == 0
    assert (tmp_path / "out" / "whole").exists()


def test_output_that_nobody_reads_is_no_traceback(tmp_path):
    for body in ('print("x" * 100_000)', 'print("x" * 100)'):
        reader, writer = os.pipe()
        os.close(reader)
        running = start(body, tmp_path / "out", stdout=writer)
        os.close(writer)
        assert running.communicate(timeout=20)[1] == ""
        assert running.returncode == 141


def test_a_standard_output_that_is_full_is_told(tmp_path):
    with open("/dev/full", "w", encoding="utf-8") as full:
        running = start('print("x")', tmp_path / "out", stdout=full)
        stderr = running.communicate(timeout=20)[1]
    assert stderr == "error: the standard output cannot be written: No space left on device.\n"
    assert running.returncode == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ((errno.ENOENT, "No such file", "in/a.npy"), r"in/a\.npy cannot be read: No such file"),
        ((errno.EROFS, "Read-only", "in/a.npy"), r"in/a\.npy cannot be written: Read-only"),
        ((errno.ENOSPC, "No space", "in/a.npy"), r"in/a\.npy cannot be written: No space.*Make ro"),
        ((errno.EACCES, "Denied", "in/x.nbi"), r"x\.nbi, of Numba's cache, .*NUMBA_CACHE_DIR"),
        ((errno.EACCES, "Denied", "{tmp}/x"), r"/x cannot be used: Denied.*TMPDIR"),
        (
            (errno.EIO, "Input/output error"),
            r"Input/output error; the system names no file. Free now: ",
        ),
    ],
)
def test_an_error_of_the_system_names_its_file_and_side(error, told, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    number, reason, *file = error

    def main():
        raise OSError(number, reason, *[name.format(tmp=tmp_path) for name in file])

    with pytest.raises(SystemExit, match=rf"^error: .*{told}"):
        cli.run(main)


def test_no_folder_for_temporary_files_is_told(monkeypatch):
    """As under `ulimit -f 0`: no file of a byte can be written anywhere."""

    def none_usable(*_):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", none_usable)
    with pytest.raises(SystemExit, match=r"^error: No usable temp.*by .* TMPDIR\..*`ulimit -f`"):
        cli.run(none_usable)
    with pytest.raises(SystemExit, match=r"^error: /x cannot be read: Denied"), cli.exit_codes():
        raise OSError(errno.EACCES, "Denied", "/x")


def test_a_full_disk_is_named(monkeypatch, tmp_path):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    error = OSError(errno.ENOSPC, "No space left on device")
    free = {tmp_path: 9 << 30, tmp_path / "tmp": 0}
    monkeypatch.setattr(system_errors, "_free", lambda folder: free[folder])
    told = system_errors.describe(error, tmp_path / "out" / "below")
    assert f"Full: the disk of {tmp_path}/tmp (for temporary files, TMPDIR)." in told
    free |= {tmp_path: 0, tmp_path / "tmp": 9 << 30}
    told = system_errors.describe(error, tmp_path / "out")
    assert f"Full: the disk of {tmp_path} (where {tmp_path}/out lies)." in told
    free |= {tmp_path: 9 << 30}
    told = system_errors.describe(error, tmp_path / "out")
    assert f"9,664 MB in {tmp_path} (where {tmp_path}/out lies), 9,664 MB in" in told
    assert "Look at quotas, at `ulimit -f`" in told


def test_an_output_that_is_an_input_is_refused(tmp_path, monkeypatch):
    (tmp_path / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stages.report", str(tmp_path / "run.json"), "run.json"])
    with pytest.raises(SystemExit, match=r"run\.json is named twice"):
        cli.run(lambda: (tmp_path / "run.json").unlink())
    assert (tmp_path / "run.json").exists()
