"""The drawn benchmark: the same bytes from the same seed, Market-1501's names, and splits that
evaluation can use.
"""

import dataclasses
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid.datasets.synthetic import benchmark, reader
from reid.datasets.synthetic.people import dress
from reid.datasets.synthetic.picture import draw_shot
from reid.datasets.synthetic.reader import draw
from reid.runtime import settings
from reid.runtime.errors import InputError
from tests.conftest import ROOT

SETTINGS = benchmark.SyntheticSettings(
    reader="synthetic", seed=3, train_people=4, test_people=3, images_per_camera=1.5,
    distractors=5, junk=3, height=64, width=32,
    misalignment=0.6, occlusion=0.6, lookalikes=0.7, camera_shift=0.8,
)  # fmt: skip
NAME = re.compile(r"(-1|\d{4})_c([1-6])s[1-6]_\d{6}_\d{2}\.jpg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw(SETTINGS, folder, workers=1)
    return folder


def _people_and_cameras(folder: Path) -> list[tuple[int, int]]:
    return [
        tuple(map(int, NAME.fullmatch(path.name).groups())) for path in sorted(folder.iterdir())
    ]


def _checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.jpg")
    }


def test_two_workers_give_the_same_bytes_as_one(folder, tmp_path):
    draw(SETTINGS, tmp_path, workers=2)
    assert _checksums(tmp_path) == _checksums(folder)


def killed(chunk):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_draw_chunk", killed)
    with pytest.raises(InputError, match=r"a process that draws .* was killed, .* run .* again"):
        draw(SETTINGS, tmp_path, workers=2)


def asleep(chunk):
    (chunk[1] / str(os.getpid())).touch()
    time.sleep(60)


def test_processes_end_with_the_one_that_started_them_even_if_that_is_killed(tmp_path):
    code = (
        "import pathlib, sys; from tests import test_synthetic as t; "
        "t.reader._draw_chunk = t.asleep; t.draw(t.SETTINGS, pathlib.Path(sys.argv[1]), 1 + 1)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    while not (pids := [int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()]):
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid):
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text("utf-8")  # zombies have ended
    except OSError:
        return False


def test_another_seed_draws_other_images(folder, tmp_path):
    draw(dataclasses.replace(SETTINGS, seed=4), tmp_path, workers=1)
    assert not set(_checksums(tmp_path).values()) & set(_checksums(folder).values())


def test_an_image_depends_on_no_other(folder):
    everything = benchmark.list_shots(SETTINGS)
    shot = next(shot for shot in reversed(everything) if shot.pid > 0)
    person = dress(SETTINGS.seed, shot.pid, SETTINGS.lookalikes)
    first, second = (draw_shot(SETTINGS, shot, person) for _ in range(2))
    assert first == second
    assert len({shot.path for shot in everything}) == len(everything)


def test_people_cameras_and_extras_are_as_asked(folder):
    train, query, gallery = (_people_and_cameras(folder / name) for name in benchmark.FOLDERS)
    trained, tested = {pid for pid, _ in train}, {pid for pid, _ in query}
    assert (len(trained), len(tested)) == (4, 3)
    assert not trained & tested
    assert {pid for pid, _ in gallery} == tested | {-1, 0}
    counts = Counter(pid for pid, _ in gallery)
    assert (counts[0], counts[-1]) == (5, 3)
    for pid in trained | tested:
        assert 3 <= len({camid for who, camid in train + query if who == pid}) <= 6


def test_every_query_is_alone_with_its_camera_and_has_a_match_under_another(folder):
    query, gallery = (_people_and_cameras(folder / name) for name in benchmark.FOLDERS[1:])
    assert len(set(query)) == len(query)
    for pid, camid in query:
        assert (pid, camid) in gallery
        assert any(who == pid and other != camid for who, other in gallery)


def test_images_have_the_asked_size_and_are_no_two_alike(folder):
    images = [Image.open(path) for path in sorted(folder.rglob("*.jpg"))]
    assert {image.size for image in images} == {(32, 64)}
    assert len({image.tobytes() for image in images}) == len(images)


def test_mean_of_images_per_camera_is_as_asked():
    settings = dataclasses.replace(SETTINGS, train_people=300, images_per_camera=3.0)
    train = [
        shot
        for shot in benchmark.list_shots(settings)
        if shot.path.startswith("bounding_box_train")
    ]
    assert len(train) / len({(shot.pid, shot.camid) for shot in train}) == pytest.approx(
        3.0, abs=0.2
    )


def test_difficulty_may_be_all_or_nothing(tmp_path):
    for value in (0, 1):
        knobs = dict.fromkeys(("misalignment", "occlusion", "lookalikes", "camera_shift"), value)
        settings = dataclasses.replace(
            SETTINGS, train_people=1, test_people=1, distractors=40, junk=20, **knobs
        )
        draw(settings, tmp_path / str(value), workers=1)
        for path in (tmp_path / str(value)).rglob("*.jpg"):
            assert np.asarray(Image.open(path)).std() > 2


def test_a_camera_changes_the_colours_and_nothing_else():
    person = dress(SETTINGS.seed, 1, SETTINGS.lookalikes)
    plain, shifted = (
        draw_shot(
            dataclasses.replace(SETTINGS, camera_shift=shift), benchmark.Shot(1, 2, 0, ""), person
        )
        for shift in (0.0, 1.0)
    )
    plain, shifted = (np.asarray(image.convert("L"), float).ravel() for image in (plain, shifted))
    assert 0.7 < np.corrcoef(plain, shifted)[0, 1] < 0.999


WRONG = {
    "seed": [-1], "train_people": [0, 9999], "test_people": [0],
    "images_per_camera": [0.5, float("inf")],
    "distractors": [-1], "junk": [-1], "height": [31], "width": [0],
    "misalignment": [1.2], "occlusion": [-0.1], "lookalikes": [float("nan")], "camera_shift": [2],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    values = {**dataclasses.asdict(SETTINGS), name: value}
    with pytest.raises(InputError, match=name):
        settings.make(benchmark.SyntheticSettings, values, "datasets.synthetic.source")


def test_a_folder_that_is_not_empty_is_refused(folder):
    with pytest.raises(InputError, match="exists already"):
        draw(SETTINGS, folder, workers=1)


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(InputError, match="workers"):
        draw(SETTINGS, tmp_path / "drawn", workers=0)
