"""The command `reid`: its help, its exit codes, and what each sub-command starts."""

import signal
import subprocess
import sys
import time

import pytest

from reid.tools.command import NAMES
from tests.conftest import ROOT

CALL = [sys.executable, "-c", "from reid.tools.command import main; main()"]


def call(*arguments):
    return subprocess.run([*CALL, *arguments], capture_output=True, text=True, cwd=ROOT)


def test_its_help_names_every_command_and_imports_none():
    code = (
        "import sys; from reid.tools import command; sys.argv = ['reid', '--help']\n"
        "try: command.main()\n"
        "finally: print([name for name in ('numpy', 'torch', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert done.stdout.endswith("\n[]\n")
    assert all(f"\n  {name} " in done.stdout for name in NAMES)
    assert len(done.stdout.splitlines()) <= 25


@pytest.mark.parametrize("name", NAMES)
def test_help_fits_a_screen_and_has_an_example(name):
    done = call(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: reid {name} ")
    assert f"example: reid {name} " in done.stdout
    assert len(done.stdout.splitlines()) <= 24
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("name", NAMES)
def test_usage_is_exit_code_2(name):
    done = call(name, "--no-such-option")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_exit_code_2_and_a_mistake_1():
    assert call("serach").returncode == 2
    assert call().returncode == 2
    done = call("evaluate", "absent")
    assert done.returncode == 1
    assert done.stderr.startswith("error: absent/gallery/global_features.npy is missing")


def test_an_interrupt_is_exit_code_130():
    code = (
        "import sys, time; from reid.tools import command, search\n"
        "search.main = lambda: (print('ready', flush=True), time.sleep(60))\n"
        "sys.argv = ['reid', 'search']; command.main()"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert started.stdout.readline() == b"ready\n"
    time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    assert started.communicate()[1] == b"interrupted: nothing was written\n"
    assert started.returncode == 130
