"""The README shows the committed tables, number for number."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["synthetic.md", "synthetic_partial.md"])
def test_readme_holds_every_committed_table_verbatim(name):
    readme = (ROOT / "README.md").read_text()
    tables = re.findall(
        r"(?:^\|.*\n)+", (ROOT / "metrics" / "tables" / name).read_text(), flags=re.MULTILINE
    )
    assert len(tables) == 2, (
        f"metrics/tables/{name} holds {len(tables)} tables, wanted the published layout and every "
        "column"
    )
    for table in tables:
        assert table in readme, f"README.md lacks this table of metrics/tables/{name}:\n{table}"
