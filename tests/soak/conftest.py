"""Keeps what came of each kind, one JSON file a kind, and writes the page at a long run's end."""

import itertools
import json

import pytest
import yaml

from tests.conftest import ROOT
from tests.soak import page
from tests.soak.kinds import IS_LONG, RIGHT

ENOUGH = 30  # trials, of which one must come out right


@pytest.fixture
def fresh(tmp_path):
    """A function that makes an empty folder at each call, for one trial."""
    numbers = itertools.count()

    def make():
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return folder

    return make


@pytest.fixture(scope="session")
def one_cell(params, tmp_path_factory):
    """The tiny benchmark's settings with one cell in the tables, that of `finished`."""
    file = tmp_path_factory.mktemp("one_cell") / "params.yaml"
    content = {**params, "tables": {**params["tables"], "losses": ["ls"]}}
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def _something_came_out_right(request):
    """Fail where all trials of a kind were refused: such a kind tries nothing."""
    yield
    tally = getattr(request.function, "tally", None)
    if tally and tally.tried > ENOUGH and not tally.is_failing:
        assert tally.outcomes[RIGHT], f"of {tally.tried} trials none came out right"


def pytest_sessionstart(session):
    """Forget the kinds of an earlier run."""
    if IS_LONG and not hasattr(session.config, "workerinput"):
        page.forget(_folder(session.config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    tally = getattr(item.function, "tally", None)
    if IS_LONG and tally and (call.when == "call" or report.skipped or report.failed):
        row = page.row(tally, item.session.items.index(item), report, call.excinfo)
        file = _folder(item.config) / f"{item.path.stem}-{item.name}.json"
        file.write_text(json.dumps(row), encoding="utf-8")
    return report


def pytest_sessionfinish(session):
    """Write docs/reliability.md when all kinds were tried, in the process above the workers."""
    config = session.config
    is_whole = config.args == ["tests/soak"] and not config.option.keyword
    if IS_LONG and is_whole and not hasattr(config, "workerinput"):
        page.write(_folder(session.config), ROOT / "docs" / "reliability.md")


def _folder(config):
    return config.cache.mkdir("soak")
