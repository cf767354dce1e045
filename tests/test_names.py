"""Names in params.yaml: the same text to every YAML reader, and harmless in paths and shells."""

import copy
import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reid.runtime import config, names
from reid.runtime.errors import InputError
from tests.test_pipeline import Clone

QUOTED = "x'; touch PWNED; '"
BARE = "x; touch PWNED; #"


@pytest.mark.parametrize(
    "name",
    ["ls", "market1501_to_msmt17", "3dpes", "500k", "e1", "_1", "A-b", "x" * 64, "1-2", "inf"],
)
def test_names(name):
    assert names.check_name(name) == name


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (QUOTED, "letters, digits"),
        ("a b", "letters, digits"),
        ("", "letters, digits"),
        ("a\n", "letters, digits"),
        ("é", "letters, digits"),
        ("../a", "letters, digits"),
        ("-a", "no `-` in front"),
        ("..", "a dot for the border"),
        (".a", "a dot for the border"),
        ("ls_0.2", "a dot for the border of two keys. Write 'ls_0_2'"),
        ("off", "quotes do not help, .* such as row_off"),
        ("y", "such as row_y"),
        ("null", "such as row_null"),
        ("1", "such as row_1"),
        ("1e3", "such as row_1e3"),
        ("0x1F", "such as row_0x1F"),
        ("0o14", "such as row_0o14"),
        ("1_23", "such as row_1_23"),
        ("2020-01-31", "such as row_2020_01_31"),
        ("x" * 65, "at most 64 characters"),
    ],
)
def test_what_is_no_name_is_refused_with_what_to_type(name, wanted):
    with pytest.raises(ValueError, match=wanted):
        names.check_name(name)


def reads(name):
    """What PyYAML, and ruamel.yaml in both versions of YAML, make of a name without quotes."""
    versions = {version: YAML(typ="safe", pure=True) for version in ((1, 1), (1, 2))}
    for version, reader in versions.items():
        reader.version = version
    return [yaml.safe_load(name), *(reader.load(name) for reader in versions.values())]


@given(st.text("0123456789_-eExXoObfnyNa", min_size=1, max_size=8) | st.text(string.ascii_letters))
def test_a_name_is_its_own_text_to_every_reader(name):
    try:
        names.check_name(name)
    except ValueError:
        return
    assert reads(name) == [name] * 3


def good():
    return {
        "dataset": "a",
        "loss": "ls",
        "tables": {"datasets": ["a"], "losses": ["ls"], "seeds": [0]},
        "datasets": {"a": {}},
        "losses": {"ls": {}},
    }


def tables(**lists):
    return lambda params: params["tables"].update(lists)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p.update(dataset=BARE), "`dataset` in params.yaml: got 'x; touch PWNED; #'"),
        (lambda p: p.update(loss=1), "`loss` in params.yaml: got 1, wanted a name"),
        (lambda p: p["datasets"].update(off=1), "`datasets.off` in params.yaml: got 'off'"),
        (lambda p: p["losses"].update({"a.b": 1}), r"`losses\.a\.b` .* Write 'a_b'"),
        (tables(datasets=["a", BARE]), r"`tables\.datasets\[1\]` .*: got 'x; t"),
        (tables(losses=[["ls"]]), r"`tables\.losses\[0\]` .*: got \['ls'\]"),
        (tables(losses={BARE: 1}), r"`tables\.losses` .*, wanted a list"),
        (tables(losses=BARE), r"`tables\.losses` .*: got 'x; t.*, wanted a list"),
        (tables(seeds=[0, BARE]), r"`tables\.seeds\[1\]` .*: got 'x; t"),
        (tables(seeds=[True]), "got True, wanted a whole number from 0 to 4294"),
        (tables(seeds=[-1]), "got -1, wanted a whole number from 0 to 4294"),
        (tables(seeds=[2**32]), "got 4294967296, wanted a whole number"),
        (tables(seeds=[0] * 1001), r"`tables\.seeds` .*, wanted a list of at"),
        (
            tables(datasets=["a", "a-b"], losses=["b-c", "c"]),
            "dataset a with loss b-c and dataset a-b with loss c are both the stage train@a-b-c,",
        ),
    ],
)  # fmt: skip
def test_reading_checks_all_that_the_graph_puts_into_commands(tmp_path, change, told):
    params, file = good(), tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(params), encoding="utf-8")
    assert config.read(file) == params
    change(params)
    file.write_text(yaml.safe_dump(params, default_flow_style=False), encoding="utf-8")
    with pytest.raises(InputError, match=told):
        config.read(file)


@pytest.fixture(scope="module")
def repository(params, tmp_path_factory):
    """A clone in which the inputs of training and of the report stand, but nothing has run."""
    clone = Clone(tmp_path_factory.mktemp("repository"), params)
    for folder in ("data/synthetic/train", f"metrics/runs/synthetic/{QUOTED}"):
        (clone.folder / folder).mkdir(parents=True)
        (clone.folder / folder / "file").touch()
    return clone


def bad(params, what):
    """The settings with a name that runs a command, at one of the places that reach a shell."""
    tables, datasets, losses = params["tables"], params["datasets"], params["losses"]
    name = BARE if what == "bare dataset" else QUOTED
    return {
        "dataset": {"datasets": {**datasets, name: copy.deepcopy(datasets["synthetic"])}},
        "loss": {"losses": {**losses, name: dict(losses["ls"])}},
        "headline": {"loss": name},
        "seed": {},
    }[what.split()[-1]] | {
        "tables": {
            **tables,
            "datasets": [name if "dataset" in what else "synthetic"],
            "losses": [name if what == "loss" else "ls"],
            "seeds": [name if what == "seed" else 0],
        }
    }


@pytest.mark.parametrize(
    ("what", "command"),
    [
        ("bare dataset", ["repro"]),
        ("dataset", ["exp", "run"]),
        ("loss", ["repro", "-s", "train"]),
        ("seed", ["repro", "-s", "train"]),
        ("headline", ["repro", "-s", "report"]),
    ],
)
def test_no_name_runs_a_command(repository, params, what, command):
    text = yaml.safe_dump({**params, **bad(params, what)}, sort_keys=False)
    (repository.folder / "params.yaml").write_text(text, encoding="utf-8")
    (repository.folder / "PWNED").unlink(missing_ok=True)
    done = repository.start("dvc", *command)
    told = done.communicate()
    assert done.returncode != 0
    assert not (repository.folder / "PWNED").exists()
    assert "error: `" in told[1], told
    assert f"got {names.short(BARE if what == 'bare dataset' else QUOTED)}" in told[1]
