"""Odd places, languages, caches and variables: the same bytes, or words."""

import ctypes
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.soak.kinds import IS_LONG, REFUSED, RIGHT, tries
from tests.soak.processes import STAGES, Job, error_of, job_of, left_in

FAST = st.sampled_from(STAGES if IS_LONG else ("report", "tables"))
COMPILED = ("distances", "rerank")


@pytest.fixture(scope="module")
def expected(finished, one_cell, tmp_path_factory):
    """A function: stage -> the digests of an ordinary run, run once."""
    known = {}

    def run(stage):
        if stage not in known:
            job = job_of(stage, finished, one_cell, tmp_path_factory.mktemp(stage))
            code, spoken = job.run()
            assert code == 0, spoken
            known[stage] = job.digests()
        return known[stage]

    return run


def check(job, ended, wanted, must_work=True):
    """Assert the same bytes, or, where that will do, words and nothing written -> the outcome."""
    code, spoken = ended
    assert "Traceback" not in spoken, spoken[-1500:]
    assert left_in(job) == []
    if code == 0:
        assert job.digests() == wanted
        return RIGHT
    assert code == 1, f"exit code {code}: {spoken[-1500:]}"
    error = error_of(spoken)
    assert not must_work, error
    assert job.digests() == {}
    return REFUSED


# names of folders and files, and whether they must work
NAMES = {
    "a b": True,
    "it's": True,
    'say "x"': True,
    "$HOME `id`; #&|<>*?[x]": True,
    "-out": True,
    "--params": True,
    "ünï 日本 🙂": True,
    "e\u0301": True,
    "%d {x} %(y)s": True,
    "a\\b": True,
    "new\nline": True,
    "tab\there": True,
    ".hidden": True,
    "not utf-8 \udcff": True,
    "n" * 200: True,
    "n" * 240: False,
    "n" * 255: False,
    "n" * 256: False,
    "d/" * 300 + "x": True,
    f"{'d' * 200}/" * 25 + "x": False,
    "../up": True,
    "x/": True,
}


@tries(
    "odd names of outputs and of the folder around all",
    *(2, 45),
    is_shrunk=False,
    stage=FAST,
    name=st.sampled_from(sorted(NAMES)),
    is_output=st.booleans(),
)
def test_odd_names_work_or_are_refused(fresh, finished, one_cell, expected, stage, name, is_output):
    wanted, must_work, work = expected(stage), NAMES[name], fresh()
    if is_output:
        job = Job(stage, finished, one_cell, work, work / "results" / name)
        if name.startswith("-"):  # an option to the command, unless it has a folder
            job = replace(job, out=Path(f"results/{name}"))
        if job.out.suffix == "" and stage in ("evaluate", "report"):
            job = replace(job, out=job.out.with_name(f"{job.out.name}x"))
    else:
        inside = work / "in" / name
        try:
            inside.mkdir(parents=True)
        except OSError:
            return REFUSED  # by the system
        job = job_of(stage, link(finished, inside), one_cell, inside)
    if not job.out.is_absolute():
        job = replace(job, out=job.work / job.out)
    return check(job, job.run(), wanted, must_work)


def link(finished, folder):
    """The finished benchmark as seen at a place of another name."""
    (folder / "inputs").symlink_to(finished)
    return folder / "inputs"


LOCALES = st.fixed_dictionaries(
    {
        "LC_ALL": st.sampled_from(["C", "POSIX", "C.UTF-8", "tr_TR.UTF-8", "nowhere", "", None]),
        "LANG": st.sampled_from(["C", "ja_JP.SJIS", None]),
        "PYTHONUTF8": st.sampled_from(["0", "1", None]),
        "PYTHONCOERCECLOCALE": st.sampled_from(["0", None]),
        "PYTHONIOENCODING": st.sampled_from(["ascii", "latin-1", "utf-16", None]),
        "TZ": st.sampled_from(["Pacific/Kiritimati", None]),
        "PYTHONHASHSEED": st.sampled_from(["0", "1", "random"]),
        "PYTHONWARNINGS": st.sampled_from(["default", "ignore", None]),
        "PYTHONWARNDEFAULTENCODING": st.sampled_from(["1", None]),
        "TERM": st.sampled_from(["dumb", "", None]),
        "COLUMNS": st.sampled_from(["1", "0", "x", None]),
    }
)


@tries(
    "odd locales and terminals",
    *(2, 40),
    is_shrunk=False,
    stage=FAST,
    environment=LOCALES,
    name=st.sampled_from(["out", "ünï 日本"]),
)
def test_odd_locales_change_nothing(fresh, finished, one_cell, expected, stage, environment, name):
    wanted, work = expected(stage), fresh()
    suffix = ".json" if stage in ("evaluate", "report") else ""
    job = Job(stage, finished, one_cell, work, work / f"{name}{suffix}")
    return check(job, job.run(**environment), wanted)


PLACES = {
    "nowhere": lambda work: "/dev/null/none",
    "a file": lambda work: file_at(work),
    "empty": lambda work: "",
    "absent": lambda work: str(work / "absent" / "deeper"),
    "unset": lambda work: None,
    "proc": lambda work: "/proc",
}


def file_at(work):
    file = work / "a_file"
    file.write_text("mine", encoding="utf-8")
    return str(file)


@tries(
    "caches and temporary folders that are absent or cannot be written",
    *(2, 35),
    is_shrunk=False,
    stage=FAST,
    variable=st.sampled_from(["NUMBA_CACHE_DIR", "HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCH_HOME"]),
    place=st.sampled_from(sorted(PLACES)),
)
def test_odd_caches_change_nothing(fresh, finished, one_cell, expected, stage, variable, place):
    wanted, work = expected(stage), fresh()
    job = job_of(stage, finished, one_cell, work)
    ended = job.run(**{variable: PLACES[place](work)})
    file = work / "a_file"
    assert not file.exists() or file.read_text(encoding="utf-8") == "mine"
    return check(job, ended, wanted, must_work=variable != "TMPDIR")


@pytest.mark.skipif(not IS_LONG, reason="compiles twice: `make soak` runs it")
@tries(
    "Numba's kept machine code, damaged",
    *(1, 4),
    is_shrunk=False,
    stage=st.sampled_from(COMPILED[::-1]),
    damage=st.sampled_from(["cut", "empty", "text", "folder"]),
)
def test_a_damaged_numba_cache_is_compiled_anew(fresh, finished, one_cell, expected, stage, damage):
    wanted, work = expected(stage), fresh()
    job, cache = job_of(stage, finished, one_cell, work), work / "numba"
    assert job.run(NUMBA_CACHE_DIR=str(cache))[0] == 0
    files = sorted(cache.rglob("*.nb?"))
    assert files, "nothing was kept"
    for file in files:
        content = file.read_bytes()
        file.unlink()
        if damage == "folder":
            file.mkdir()
        else:
            half = {"cut": content[: len(content) // 2], "empty": b"", "text": b"<html>"}
            file.write_bytes(half[damage])
    job.remove()
    return check(job, job.run(NUMBA_CACHE_DIR=str(cache)), wanted)


# variables that people set, and whether the run must work with them
VARIABLES = {
    ("REID_PROCESSES", "0"): None,
    ("REID_PROCESSES", "two"): None,
    ("REID_PROCESSES", ""): True,
    ("REID_PROCESSES", "1"): True,
    ("WORLD_SIZE", "abc"): None,
    ("WORLD_SIZE", "1"): True,
    ("RANK", "0"): True,
    ("LOCAL_RANK", "x"): None,
    ("LOCAL_WORLD_SIZE", "x"): None,
    ("OMP_NUM_THREADS", "x"): None,
    ("OMP_NUM_THREADS", "0"): None,
    ("OMP_NUM_THREADS", "300"): True,
    ("NUMBA_NUM_THREADS", "1"): True,
    ("NUMBA_DISABLE_JIT", "1"): None,
    ("CUDA_VISIBLE_DEVICES", "7"): True,
    ("PYTHONOPTIMIZE", "2"): True,
    ("PYTHONDONTWRITEBYTECODE", "1"): True,
    ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"): True,
    ("PATH", "/nowhere"): True,
    ("REID_DATA", "/nowhere"): True,
}


@tries(
    "odd variables of the environment",
    *(2, 35),
    is_shrunk=False,
    stage=FAST,
    variable=st.sampled_from(sorted(VARIABLES)),
)
def test_odd_variables_are_right_or_told(fresh, finished, one_cell, expected, stage, variable):
    wanted, work = expected(stage), fresh()
    job = job_of(stage, finished, one_cell, work)
    ended = job.run(**dict([variable]))
    return check(job, ended, wanted, must_work=bool(VARIABLES[variable]))


def without_names():
    """In a child: let no user have a name, as in containers that run under a number."""
    libc = ctypes.CDLL(None)
    private, bind = 0x40000 | 0x4000, 0x1000  # MS_PRIVATE | MS_REC, MS_BIND
    libc.unshare(0x20000)  # CLONE_NEWNS: mounts of its own
    libc.mount(b"none", b"/", None, private, None)
    for file in (b"/etc/passwd", b"/etc/nsswitch.conf"):  # systemd knows root even so
        libc.mount(b"/dev/null", file, None, bind, None)


@tries("a user without a name", 1, 4, is_shrunk=False, stage=FAST)
def test_a_user_without_a_name(fresh, finished, one_cell, expected, stage):
    if not has_no_names():
        pytest.skip("mounts of its own are not allowed here")
    wanted, work = expected(stage), fresh()
    job = job_of(stage, finished, one_cell, work)
    return check(job, job.run(without_names, USER=None, LOGNAME=None, HOME=None), wanted)


def has_no_names():
    """Whether `without_names` works here."""
    asked = [sys.executable, "-c", "import os, pwd; pwd.getpwuid(os.getuid())"]
    return subprocess.run(asked, preexec_fn=without_names, capture_output=True).returncode != 0
