"""Several processes as one: the same bytes, one message when one fails, nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from torch import distributed as torch_distributed

from reid.runtime import cli, distributed, outputs
from reid.runtime.errors import InputError
from tests.conftest import longer, run_stage


@pytest.fixture(scope="module")
def small_steps(params, tmp_path_factory):
    """Settings by which the tiny benchmark has many batches and panels."""
    changed = yaml.safe_load(yaml.safe_dump(params))
    changed["extract"]["batch"] = 4
    changed["distances"] |= {"tile_rows": 3, "tile_columns": 4}
    file = tmp_path_factory.mktemp("small") / "params.yaml"
    file.write_text(yaml.safe_dump(changed))
    return file


def start(stage, *arguments, count=2, by_hand=False):
    """Run a stage as several processes, by REID_PROCESSES or by torchrun -> the finished
    command.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-m"]
    if by_hand:
        python += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"]
    else:
        environment["REID_PROCESSES"] = str(count)
    return subprocess.run(
        [*python, f"stages.{stage}", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=100,
    )


def contents(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_two_processes_extract_the_bytes_of_one(finished, small_steps, tmp_path):
    arguments = finished / "data", finished / "model/model.safetensors"
    assert run_stage("extract", *arguments, tmp_path / "one", "--params", small_steps) == 0
    done = start("extract", *arguments, tmp_path / "two", "--params", small_steps)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_two_processes_compute_the_distances_of_one(finished, small_steps, tmp_path):
    assert (
        run_stage("distances", finished / "features", tmp_path / "one", "--params", small_steps)
        == 0
    )
    done = start("distances", finished / "features", tmp_path / "two", "--params", small_steps)
    assert done.returncode == 0, done.stderr
    assert "by 2 processes, 2 of them on this host" in done.stdout
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert {"full/neighbours.npz", "partial/dmli.npy"} <= set(contents(tmp_path / "two"))


def test_more_processes_than_panels_started_by_torchrun(finished, params_file, tmp_path):
    arguments = finished / "features", tmp_path / "three", "--params", params_file
    done = start("distances", *arguments, count=3, by_hand=True)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "three") == contents(finished / "distances")


def test_one_that_fails_stops_all_with_its_message_and_nothing_is_left(copied, small_steps):
    pack = bytearray((copied / "data/gallery/images.zip").read_bytes())
    last = pack.rfind(b"\xff\xd8\xff")  # in the second process's share
    pack[last + 300 : last + 400] = bytes(100)
    (copied / "data/gallery/images.zip").write_bytes(pack)
    arguments = (
        copied / "data",
        copied / "model/model.safetensors",
        copied / "out",
        "--params",
        small_steps,
    )
    before = sorted(copied.iterdir())
    done = start("extract", *arguments)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "error" in line.lower()] == [
        done.stderr.strip()
    ]
    assert done.stderr.startswith("error: ")
    assert ".jpg" in done.stderr
    assert sorted(copied.iterdir()) == before


def test_what_all_find_wrong_is_told_once(copied, params_file):
    shutil.rmtree(copied / "features/gallery")
    done = start("distances", copied / "features", copied / "out", "--params", params_file)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "gallery/global_features.npy is missing" in done.stderr


@pytest.mark.parametrize("value", ["x", "0", "-2", "1.5"])
def test_a_number_of_processes_that_cannot_be_is_refused(value, monkeypatch):
    monkeypatch.setenv("REID_PROCESSES", value)
    with pytest.raises(SystemExit, match=f"REID_PROCESSES is '{value}': wanted a whole number"):
        distributed.run(pytest.fail)


@pytest.mark.parametrize("value", ["", "1"])
def test_one_process_is_this_one(value, monkeypatch):
    monkeypatch.setenv("REID_PROCESSES", value)
    monkeypatch.setattr("sys.argv", ["stage"])
    seen = []
    distributed.run(
        lambda: seen.append(
            (distributed.rank(), distributed.world_size(), distributed.local_world_size())
        )
    )
    assert seen == [(0, 1, 1)]
    assert distributed.shard(range(5)) == range(5)
    assert distributed.gather(np.arange(3))[0].tolist() == [0, 1, 2]


def test_cores_are_shared_out_unless_threads_are_set(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    monkeypatch.setattr("sys.argv", ["stages.extract", "one", "two"])
    monkeypatch.setenv("REID_PROCESSES", "5")
    for threads in (None, "7"):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if threads:
            monkeypatch.setenv("OMP_NUM_THREADS", threads)
        distributed.run(lambda: None)
    assert [call[2]["OMP_NUM_THREADS"] for call in started] == ["2", "7"]
    assert started[0][1][-4:] == ["5", __name__, "one", "two"]


def test_a_stage_for_one_process_refuses_torchrun(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="this command works in one process"):
        cli.run(pytest.fail)


@pytest.fixture
def second(monkeypatch):
    """This process taken for the second of two, the first of which has got as far."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_max", lambda array: np.array([42]))


def test_a_folder_that_another_host_does_not_see_is_named(second, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "VISIBLE_SECONDS", 0)
    (tmp_path / "stale").mkdir()  # of the same name, on this host's own disk
    for folder in (tmp_path / "none", tmp_path / "stale"):
        with pytest.raises(
            InputError, match=rf"does not see .*{folder.name}, which process 0 has made"
        ):
            distributed.create_shared_folder(folder, pytest.fail)
    (tmp_path / "stale" / ".42").touch()
    distributed.create_shared_folder(tmp_path / "stale", pytest.fail)


def test_shares_are_unbroken_and_alike(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    shares = []
    for rank in range(4):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(list(distributed.shard(range(10))))
    assert [item for share in shares for item in share] == list(range(10))
    assert {len(share) for share in shares} == {2, 3}


def test_the_second_process_writes_into_the_draft_and_leaves_the_rest_to_the_first(
    second, tmp_path, monkeypatch
):
    monkeypatch.setattr(distributed, "broadcast", lambda text: ".out.0.partial")
    (tmp_path / ".out.0.partial").mkdir()
    (tmp_path / ".out.0.partial" / "of the first").touch()
    with distributed.shared_output(tmp_path / "out") as draft:
        (draft / "of the second").touch()
    assert [path.name for path in tmp_path.iterdir()] == [".out.0.partial"]
    assert len(list((tmp_path / ".out.0.partial").iterdir())) == 2


def test_a_process_that_fails_removes_the_draft_but_tells_first(second, tmp_path, monkeypatch):
    at_exit = []
    monkeypatch.setattr(distributed.atexit, "register", lambda *call: at_exit.append(call))
    monkeypatch.setattr(distributed, "broadcast", lambda text: ".out.0.partial")
    (tmp_path / ".out.0.partial").mkdir()
    with pytest.raises(InputError, match="broken"), distributed.shared_output(tmp_path / "out"):
        raise InputError("broken")
    assert [path.name for path in tmp_path.iterdir()] == [".out.0.partial"]
    for function, *arguments in at_exit:
        function(*arguments)
    assert not list(tmp_path.iterdir())


def test_processes_are_refused_an_output_that_another_run_is_writing(
    finished, small_steps, tmp_path
):
    with outputs.lock(tmp_path / "out"):
        arguments = finished / "features", tmp_path / "out", "--params", small_steps
        done = start("distances", *arguments)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert f"out is being written by process {os.getpid()} on " in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_a_signal_to_the_launcher_ends_all_processes(number, code, finished, params, tmp_path):
    settings = longer(params, 60.0, tmp_path / "params.yaml")
    cell = ("--dataset", "synthetic", "--loss", "ls", "--seed", "0", "--params", str(settings))
    command = [sys.executable, "-m", "stages.train", finished / "data/train", tmp_path / "out"]
    running = subprocess.Popen(
        [*map(str, command), *cell],
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "REID_PROCESSES": "2",
            "DVC_ROOT": str(tmp_path),
        },
    )
    while not any(".partial" in path.name for path in tmp_path.iterdir()):
        time.sleep(0.01)
    running.send_signal(number)
    _, stderr = running.communicate(timeout=60)  # until all have closed it
    assert running.returncode == code
    assert "Traceback" not in stderr
    assert ("SIGHUP: all processes have ended" in stderr) == (number == signal.SIGHUP)
    assert {path.name for path in tmp_path.iterdir()} <= {"params.yaml", "unfinished"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE is 'abc', wanted a whole number"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK is '-1', wanted a whole number"),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK is '', wanted a whole number"),
        ({"WORLD_SIZE": "0"}, "wanted ranks from 0, below the count"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2 and WORLD_SIZE is 2, wanted ranks from 0"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2 and RANK, MASTER_ADDR, MASTER_PORT is missing"),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "99999"},
            "process 0 cannot meet the others at localhost:99999",
        ),
    ],
)
def test_variables_of_torchrun_that_make_no_sense_are_named(values, told, monkeypatch):
    monkeypatch.setattr("sys.argv", ["stage"])
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"error: .*{told}"):
        distributed.run(pytest.fail)


@pytest.mark.parametrize(
    ("error", "code"), [(InputError, 1), (ZeroDivisionError, 1), (KeyboardInterrupt, 130)]
)
def test_the_first_that_fails_tells(error, code, monkeypatch):
    monkeypatch.setattr(distributed.signal, "signal", lambda *_: None)
    store = torch_distributed.HashStore()
    with pytest.raises(error), distributed._report_once(store):
        raise error
    for _ in range(2):
        with pytest.raises(SystemExit) as stopped, distributed._report_once(store):
            raise error
        assert stopped.value.code == code


def test_a_stages_own_exit_passes():
    with (
        pytest.raises(SystemExit) as stopped,
        distributed._report_once(torch_distributed.HashStore()),
    ):
        sys.exit(75)
    assert stopped.value.code == 75
