"""Stages that are killed, have no room, or run twice at once: whole outputs or none, and the next
run is as if nothing had been.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest
from hypothesis import strategies as st

from tests.soak.kinds import IS_LONG, REFUSED, RIGHT, tries
from tests.soak.processes import STAGES, error_of, finish, job_of, left_in, wait_for_end

FAST = st.sampled_from(STAGES if IS_LONG else ("report", "tables"))
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
SHARED = ("extract", "distances")  # of several processes, whose bytes are those of one
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def undisturbed(finished, one_cell, tmp_path_factory):
    """A function: stage -> (digests, seconds) of a run that nothing disturbs, run once."""
    known = {}

    def run(stage):
        if stage not in known:
            job = job_of(stage, finished, one_cell, tmp_path_factory.mktemp(stage))
            started = time.monotonic()
            code, spoken = job.run()
            assert code == 0, spoken
            assert left_in(job) == []
            known[stage] = job.digests(), time.monotonic() - started
        return known[stage]

    return run


@pytest.fixture
def make_job(fresh, finished, one_cell):
    return lambda stage: job_of(stage, finished, one_cell, fresh())


def check_rerun(job, expected):
    """Assert that the next run gives what an undisturbed one gives, and leaves nothing beside."""
    job.remove()
    shutil.rmtree(job.work / "tmp")
    code, spoken = job.run()
    assert code == 0, spoken
    assert job.digests() == expected
    assert left_in(job) == []
    unfinished = job.work / "unfinished"
    assert not unfinished.exists() or not list(unfinished.rglob("*.pt*"))


@tries(
    "a stage killed at a random moment: SIGTERM, SIGINT, SIGHUP, SIGKILL, process or group",
    *(2, 80),
    is_shrunk=False,
    stage=FAST,
    number=st.sampled_from(SIGNALS),
    to_group=st.booleans(),
    moment=st.floats(0, 1.1),
    processes=st.sampled_from([None, "2"]),
)
def test_a_kill_leaves_all_or_nothing(
    make_job, undisturbed, stage, number, to_group, moment, processes
):
    job, (expected, seconds) = make_job(stage), undisturbed(stage)
    is_shared = processes and stage in SHARED
    process = job.start(**{"REID_PROCESSES": processes} if is_shared else {})
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment * seconds * (2 if is_shared else 1))
    has_begun = job.out.parent.exists() and any(job.out.parent.iterdir())
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if to_group else os.kill)(process.pid, number)
    code, spoken = finish(process)
    wait_for_end(process.mark)
    written = job.digests()
    assert written in ({}, expected), "half an output"
    assert (code == 0) <= (written == expected), "exit code 0 without the output"
    assert code in (0, -number, 128 + number), f"exit code {code}: {spoken[-500:]}"
    if number != signal.SIGKILL:
        assert left_in(job) == [], f"left after {number.name}"
        assert "Traceback" not in spoken or not has_begun, spoken[-1500:]
    check_rerun(job, expected)
    return RIGHT


@tries(
    "a stage that may write files of so many bytes only",
    *(2, 40),
    is_shrunk=False,
    stage=FAST,
    share=st.floats(0, 1.3),
)
def test_a_limit_of_file_sizes_is_told(make_job, undisturbed, stage, share):
    job, (expected, _) = make_job(stage), undisturbed(stage)
    largest = max(file.stat().st_size for file in sized(job, undisturbed))
    size = int(share * largest)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return check_disturbed(job, job.run(limit), expected)


def sized(job, undisturbed):
    """The files of an output, from the finished benchmark."""
    names = {"prepare": "data", "train": "model"}
    folder = job.inputs / names.get(job.stage, job.stage)
    places = {"extract": "features", "rerank": "reranked", "evaluate": "runs"}
    folder = job.inputs / places[job.stage] if job.stage in places else folder
    if job.stage in ("tables", "report"):
        folder = job.inputs / "runs"
    return [file for file in folder.rglob("*") if file.is_file()]


def check_disturbed(job, ended, expected):
    """A run that had to do with less: all of its output, or words and nothing -> the outcome."""
    code, spoken = ended
    assert left_in(job) == []
    if code == 0:
        assert job.digests() == expected
        return RIGHT
    assert code == 1, f"exit code {code}: {spoken[-1500:]}"
    error_of(spoken)
    assert job.digests() == {}
    check_rerun(job, expected)
    return REFUSED


@contextlib.contextmanager
def small_disk(folder, size):
    """Mount a tmpfs of `size` bytes; skip where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        is_mounted = False
    if not is_mounted:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@tries(
    "a stage on a disk that is full, or becomes full",
    *(1, 40),
    is_shrunk=False,
    stage=FAST,
    share=st.floats(0, 1.5),
    where=st.sampled_from(["results", "tmp"]),
)
def test_a_full_disk_is_told(make_job, undisturbed, stage, share, where):
    job, (expected, _) = make_job(stage), undisturbed(stage)
    total = sum(file.stat().st_size for file in sized(job, undisturbed))
    with small_disk(job.work / where, 4096 + int(share * total)):
        ended = job.run()
        code, spoken = ended
        assert code in (0, 1), f"exit code {code}: {spoken[-1500:]}"
        assert left_in(job) == []
        if code == 0:
            assert job.digests() == expected
            return RIGHT
        error_of(spoken)
        assert job.digests() == {}
    if where == "results":
        (job.work / where).rmdir()
    else:
        (job.work / where).mkdir(exist_ok=True)
    check_rerun(job, expected)
    return REFUSED


@tries(
    "two or three runs on one output at once",
    *(2, 50),
    is_shrunk=False,
    stage=FAST,
    seed=SEEDS,
    count=st.integers(2, 3),
)
def test_of_two_at_once_one_wins(make_job, undisturbed, stage, seed, count):
    job, (expected, seconds) = make_job(stage), undisturbed(stage)
    rng, processes = random.Random(seed), []
    for _ in range(count):
        processes.append(job.start())
        time.sleep(rng.choice([0, 0, rng.random() * 0.3, rng.random() * seconds]))
    ended = [finish(process) for process in processes]
    assert job.digests() == expected, "the output is not that of one run"
    assert left_in(job) == []
    assert [code for code, _ in ended].count(0) >= 1, ended
    for code, spoken in ended:
        if code:
            assert code == 1, f"exit code {code}: {spoken[-1500:]}"
            error_of(spoken)
    return REFUSED if any(code for code, _ in ended) else RIGHT
