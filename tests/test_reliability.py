"""docs/reliability.md, as a long run of tests/soak writes it."""

from types import SimpleNamespace

from tests.soak import page
from tests.soak.kinds import REFUSED, RIGHT, Tally

HOLES = "left `x` in ['/tmp/pytest-of-root/out/.a.partial'] | 1/2 [y](z.md) C:\\a"


def row(what, order, outcomes, error=None):
    tally = Tally(what, outcomes, 90.0, error is not None)
    report = SimpleNamespace(failed=error is not None, skipped=False)
    return page.row(tally, order, report, SimpleNamespace(value=error))


def test_rows_say_how_often_what_happened():
    good = row("archives", 3, {RIGHT: 3, REFUSED: 2})
    assert (good["tried"], good["right"], good["refused"], good["failed"]) == (5, 3, 2, 0)
    assert (good["minutes"], good["failure"]) == (1.5, "")
    bad = row("archives", 3, {RIGHT: 3, REFUSED: 2}, AssertionError("off by\n1"))
    assert (bad["tried"], bad["failed"], bad["failure"]) == (6, 1, "AssertionError off by 1")


def test_a_failure_is_plain_text_without_folders_of_one_machine():
    failure = row("archives", 3, {}, AssertionError(HOLES))["failure"]
    assert failure == "AssertionError left 'x' in ''.a.partial'' ' 1/2 'y'(z.md) C:'a"
    group = ExceptionGroup("two", [ValueError("x" * 300), KeyError("k")])
    assert row("archives", 3, {}, group)["failure"] == f"ValueError {'x' * 200}; KeyError 'k'"
