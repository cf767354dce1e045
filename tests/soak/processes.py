"""Stages as processes of their own: started, disturbed, and compared with an undisturbed run."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.soak.outcomes import LONGEST, check_words, leftovers

SECONDS = 120
MARK = "REID_TEST_MARK"  # in the environment of a trial's processes and of all that they start
CELL = ("--dataset", "synthetic", "--loss", "ls", "--seed", "0")
STAGES = ("prepare", "train", "extract", "distances", "rerank", "evaluate", "tables", "report")


@dataclass(frozen=True)
class Job:
    """A stage's command on the finished benchmark `inputs`, in the folder `work`, to `out`."""

    stage: str
    inputs: Path
    params: Path
    work: Path
    out: Path

    def command(self):
        at, out = self.inputs, self.out
        folders = (at / "features", at / "distances", at / "reranked")
        trained = ("--training", at / "model/training.json")
        arguments = {
            "prepare": ("synthetic", out),
            "train": (at / "data/train", out, *CELL),
            "extract": (at / "data", at / "model/model.safetensors", out),
            "distances": (folders[0], out),
            "rerank": (*folders[:2], out),
            "evaluate": (*folders, out, *CELL, *trained),
            "tables": (at / "runs", out),
            "report": (at / "runs/synthetic/ls", out),
        }[self.stage]
        module = [sys.executable, "-m", f"stages.{self.stage}"]
        return [*module, *map(str, arguments), "--params", str(self.params)]

    def start(self, preexec=None, **environment):
        """Start the stage in a session of its own, with a TMPDIR of its own."""
        temporary = self.work / "tmp"
        temporary.mkdir(exist_ok=True)
        given = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(temporary),
            MARK: uuid.uuid4().hex,
            **environment,
        }
        process = subprocess.Popen(
            self.command(),
            cwd=self.work,
            env={key: value for key, value in given.items() if value is not None},
            start_new_session=True,
            preexec_fn=preexec,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        process.mark = given[MARK]
        return process

    def run(self, preexec=None, **environment):
        """Run the stage to its end -> (exit code, stderr)."""
        return finish(self.start(preexec, **environment))

    def digests(self):
        """{path: what it holds} of the output, {} when it is absent."""
        out = Path(os.path.realpath(self.out))
        if not os.path.exists(out):  # also where its name is too long
            return {}
        files = sorted(out.rglob("*")) if out.is_dir() else [out]
        return {
            str(file.relative_to(out)): hashlib.sha256(stable(file)).hexdigest()
            for file in files
            if file.is_file()
        }

    def remove(self):
        """Remove the output, as DVC does before it runs a stage."""
        if self.out.is_dir():
            shutil.rmtree(self.out)
        else:
            self.out.unlink(missing_ok=True)


def stable(file):
    """A file's bytes, less what says how long a training took."""
    if file.name in ("training.json",):
        return b""
    return file.read_bytes()


def job_of(stage, finished, params, work):
    """A stage on the finished benchmark, its output called as in the project, in `work`."""
    name = "out.json" if stage in ("evaluate", "report") else "out"
    return Job(stage, finished, params, work, work / "results" / name)


def finish(process, seconds=SECONDS):
    """Wait for a process -> (exit code, stderr). Fail when it hangs."""
    try:
        _, spoken = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"still running after {seconds} s") from None
    return process.returncode, spoken


def marked(mark):
    """The ids of living processes that a trial started, or that those started."""
    found, wanted = [], f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
            if state != "Z" and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def wait_for_end(mark, seconds=15):
    """Assert that nothing of a trial runs on; what does is ended."""
    deadline = time.monotonic() + seconds
    while (living := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for number in living:
        os.kill(number, signal.SIGKILL)
    assert not living, f"{len(living)} processes ran on for {seconds} s"


def error_of(spoken):
    """The one paragraph of a refusal, the last line on stderr."""
    assert "Traceback" not in spoken, spoken[-LONGEST:]
    paragraphs = [line for line in spoken.strip().splitlines() if line.startswith("error: ")]
    assert len(paragraphs) == 1, spoken[-LONGEST:]
    check_words(paragraphs[0].removeprefix("error: "))
    return paragraphs[0]


def left_in(job):
    """What a run left beside its output and in TMPDIR."""
    return leftovers(job.work) + [str(path) for path in (job.work / "tmp").iterdir()]
