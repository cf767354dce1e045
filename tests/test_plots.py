"""The ablation figure: drawn, the same bytes each time, and refused when there is nothing to
draw.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from reid.arrays.names import COLUMNS
from reid.results import plots
from reid.runtime.errors import InputError

ROOT = Path(__file__).parents[1]


def make_rows(losses=("Softmax", "Alignedreid(LS)")):
    return [
        {
            "model": "Resnet50",
            "loss": loss,
            "source": "ours",
            "columns": {
                column: {"rank1": 60.0 + 2 * i + j, "mAP": 40.0 + 3 * i + j}
                for j, column in enumerate(COLUMNS)
            },
        }
        for i, loss in enumerate(losses)
    ]


def test_figure_is_a_png_and_the_same_each_time(tmp_path):
    tables = {"synthetic": make_rows(), "synthetic, partial queries": make_rows()}
    for name in ("first", "second"):
        plots.ablation_figure(tables, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    with Image.open(tmp_path / "first") as image:
        assert (image.format, image.width) == ("PNG", 11 * 120)
        assert len(image.convert("RGB").getcolors(1 << 20)) > 10  # not a blank page


def test_published_rows_are_not_drawn(tmp_path):
    extra = [
        {
            "model": "Resnet50",
            "loss": "Softmax",
            "source": "published",
            "columns": {"global": {"rank1": 1.0}},
        }
    ]
    plots.ablation_figure({"a": make_rows()}, tmp_path / "ours.png")
    plots.ablation_figure({"a": make_rows() + extra}, tmp_path / "both.png")
    assert (tmp_path / "ours.png").read_bytes() == (tmp_path / "both.png").read_bytes()


@pytest.mark.parametrize("tables", [{}, {"a": []}, {"a": make_rows(), "b": []}])
def test_nothing_to_draw_is_refused(tmp_path, tables):
    with pytest.raises(InputError, match="dvc repro tables"):
        plots.ablation_figure(tables, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("value", [float("nan"), None, "90"])
def test_number_that_cannot_be_drawn_is_refused(tmp_path, value):
    rows = make_rows()
    rows[1]["columns"]["dmli"]["mAP"] = value
    with pytest.raises(InputError, match="'synthetic' cannot be drawn"):
        plots.ablation_figure({"synthetic": rows}, tmp_path / "none.png")


@pytest.mark.parametrize("rows", [3, {"a": 1}, [{}], [{"source": "ours", "columns": {}}]])
def test_rows_of_another_form_are_refused(tmp_path, rows):
    with pytest.raises(InputError, match="'synthetic' cannot be drawn"):
        plots.ablation_figure({"synthetic": rows}, tmp_path / "none.png")


def draw(folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "docs" / "figures.py")]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_command_draws_the_tables_of_the_folder_it_runs_in(tmp_path):
    (tmp_path / "metrics" / "tables").mkdir(parents=True)
    assert draw(tmp_path).returncode == 1  # no table yet
    for name in ("synthetic", "synthetic_partial"):
        (tmp_path / "metrics" / "tables" / f"{name}.json").write_text(json.dumps(make_rows()))
    assert draw(tmp_path).returncode == 0
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["ablation.png"]


def test_command_names_a_broken_table_in_one_line(tmp_path):
    (tmp_path / "metrics" / "tables").mkdir(parents=True)
    (tmp_path / "metrics" / "tables" / "synthetic.json").write_text("{")
    done = draw(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "synthetic.json" in done.stderr
    assert "Traceback" not in done.stderr
