"""Several processes that unpack one archive, or download one file, at the same time: each finds all
of it, also where one of them is killed.
"""

import hashlib
import http.server
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.soak.kinds import RIGHT, tries
from tests.soak.outcomes import LONGEST, leftovers
from tests.soak.test_archives import pack, unpacked

CONTENT = {f"set/{number}.jpg": str(number).encode() * 99 for number in range(1500)}
KINDS = ("zip", "tar.gz")
BLOCK = 1 << 16
JOB = """
import sys
from pathlib import Path
from reid.datasets import archive, download
place, file, digest = sys.argv[1:]
file = Path(place, file)
if digest:
    download.transfer(download.Archive(file.name, digest, "id", "nowhere"), Path(place))
else:
    archive.unpack(file, Path(place, "set"))
"""


@contextmanager
def slow_server(content):
    """Serve `content` under any name, with ranges, in about 0.3 s -> its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=")[:-1])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            for at in range(start, len(content), BLOCK):
                self.wfile.write(content[at : at + BLOCK])
                time.sleep(0.3 * BLOCK / len(content))

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def start(place, name, digest="", mirror="http://127.0.0.1:1"):
    return subprocess.Popen(
        [sys.executable, "-c", JOB, place, name, digest],
        cwd=ROOT,
        env={"PATH": "", "REID_MIRROR": mirror},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_all(place, rng, killed, *arguments):
    """Run three jobs at once, of which the first may be killed; assert that the others succeed."""
    jobs = []
    for _ in range(3):
        jobs.append(start(place, *arguments))
        time.sleep(rng.choice([0, 0.1 * rng.random()]))
    if killed:
        time.sleep(rng.random())
        jobs[0].kill()
    ended = [(job.communicate(timeout=60)[1], job.returncode) for job in jobs]
    for spoken, code in ended[killed:]:
        assert code == 0, spoken[-LONGEST:]
    if killed:  # the next run removes what a kill has left
        spoken = start(place, *arguments).communicate(timeout=60)[1]
        assert "Traceback" not in spoken, spoken[-LONGEST:]


@tries(
    "three unpackings of one archive at once, of which one may be killed",
    *(1, 60),
    is_shrunk=False,
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    killed=st.booleans(),
)
def test_of_unpackings_at_once_each_finds_all(fresh, kind, seed, killed):
    folder = fresh()
    (folder / f"images.{kind}").write_bytes(pack(kind, CONTENT))
    check_all(folder, random.Random(seed), killed, f"images.{kind}")
    wanted = {name.removeprefix("set/"): content for name, content in CONTENT.items()}
    assert unpacked(folder / "set") == wanted
    assert killed or leftovers(folder) == []
    return RIGHT


@tries(
    "three downloads of one file at once, of which one may be killed",
    *(1, 60),
    is_shrunk=False,
    seed=st.integers(0, 2**32 - 1),
    killed=st.booleans(),
)
def test_of_downloads_at_once_each_finds_all(fresh, seed, killed):
    folder, rng = fresh(), random.Random(seed)
    content = rng.randbytes(1 << 21)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with slow_server(content) as mirror:
        check_all(folder, rng, killed, "images.zip", digest, mirror)
    assert (folder / "images.zip").read_bytes() == content
    assert [file.name for file in folder.iterdir()] == ["images.zip"]
    return RIGHT
