"""Errors in one paragraph, outputs whole or not at all."""

import pytest

from reid.runtime import cli
from reid.runtime.errors import InputError


def test_bad_input_ends_with_one_paragraph_and_exit_code_one(capsys):
    def main():
        raise InputError("the file x is\n   broken: fix it.")

    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    assert (
        stopped.value.code == "error: the file x is broken: fix it."
    )  # sys.exit prints text and exits with 1


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


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with cli.atomic_output(tmp_path / "a" / "out") as draft:
        draft.mkdir()
        (draft / "file").write_text("done")
        assert not (tmp_path / "a" / "out").exists()
    assert (tmp_path / "a" / "out" / "file").read_text() == "done"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def fail_halfway(draft):
    draft.write_text("half")
    raise ZeroDivisionError


def test_a_failure_leaves_nothing_and_an_earlier_file_as_it_was(tmp_path):
    (tmp_path / "out").write_text("earlier")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), cli.atomic_output(tmp_path / "out") as draft:
            fail_halfway(draft)
    assert (tmp_path / "out").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_leftovers_of_a_killed_run_are_replaced(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "old").touch()
    (tmp_path / "out").mkdir()  # empty, as DVC leaves it
    with cli.atomic_output(tmp_path / "out") as draft:
        draft.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list((tmp_path / "out").iterdir())


def test_a_file_takes_the_place_of_an_empty_folder(tmp_path):
    (tmp_path / "out").mkdir()
    with cli.atomic_output(tmp_path / "out") as draft:
        draft.write_text("done")
    assert (tmp_path / "out").read_text() == "done"


def test_places_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file" / "below", tmp_path / "file"):
        with (
            pytest.raises(InputError, match="cannot be written"),
            cli.atomic_output(place) as draft,
        ):
            draft.mkdir()
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_output_that_is_an_input_is_refused(tmp_path, monkeypatch):
    (tmp_path / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stages.report", str(tmp_path / "run.json"), "run.json"])
    with pytest.raises(SystemExit, match=r"run\.json is named twice"):
        cli.run(lambda: (tmp_path / "run.json").unlink())
    assert (tmp_path / "run.json").exists()


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "mine").touch()
    with (
        pytest.raises(InputError, match=r"docs is not empty"),
        cli.atomic_output(tmp_path / "docs"),
    ):
        pass
    assert (tmp_path / "docs" / "mine").exists()
