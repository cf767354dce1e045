"""dvc.yaml is the truth: what a stage imports lies under its deps. And imports run one way: stages
and tools -> a wing -> what wings share -> runtime.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

STAGES = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
WINGS = ("datasets", "training", "distances", "reranking", "results")
TOP = ("stages", "reid.page", "reid.tools", "reid.lookup", "benchmarks")
CODE = [*Path("stages").glob("*.py"), *Path("reid").rglob("*.py")]


def imports(file):
    """The project's modules that a file names in its imports, as dotted names."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if Path(name.replace(".", "/") + ".py").exists()}


def imported_by(file, seen=None):
    """The project's files that a file imports, however deep, itself included."""
    seen = set() if seen is None else seen
    if file not in seen:
        seen.add(file)
        for name in imports(file):
            imported_by(Path(name.replace(".", "/") + ".py"), seen)
    return seen


def python_deps(stage):
    return [Path(dep) for dep in STAGES[stage]["deps"] if dep.startswith(("stages/", "reid/"))]


def lies_under(file, dep):
    return file == dep or dep in file.parents


@pytest.mark.parametrize("stage", STAGES)
def test_every_imported_file_lies_under_a_dep_and_every_dep_is_imported_from(stage):
    files, deps = imported_by(Path(f"stages/{stage}.py")), python_deps(stage)
    assert not [str(file) for file in files if not any(lies_under(file, dep) for dep in deps)]
    assert not [str(dep) for dep in deps if not any(lies_under(file, dep) for file in files)]
    assert all(dep.exists() for dep in deps)


def test_the_graph_names_few_python_deps():
    assert sum(len(python_deps(stage)) for stage in STAGES) <= 56


def test_every_stage_is_in_the_graph():
    assert {file.stem for file in Path("stages").glob("[!_]*.py")} == set(STAGES)


def test_training_does_not_depend_on_what_comes_after_it():
    wings = {file.parts[1] for file in imported_by(Path("stages/train.py")) if len(file.parts) > 2}
    assert wings == {"training", "trunk", "runtime"}
    data = [dep for dep in STAGES["train"]["deps"] if dep.startswith("data/")]
    assert data == ["data/${item.dataset}/train"]


# the packages of commands let signals end them while they import torch
SIGNALS = ["from reid.runtime import starting", "starting.end_by_signals()"]
STARTING = {"stages/__init__.py": SIGNALS, "reid/tools/__init__.py": SIGNALS}


def floor(module):
    """How far up a module stands: 0 runtime, 1 shared, 2 a wing, 3 stages, tools and benchmarks."""
    if module.startswith(TOP):
        return 3
    parts = module.split(".")
    if parts[1] in WINGS:
        return 2
    return 0 if parts[1] == "runtime" else 1


@pytest.mark.parametrize("file", CODE, ids=str)
def test_imports_run_one_way(file):
    module = ".".join(file.with_suffix("").parts)
    if file == Path("reid/__init__.py"):
        return  # what it names, it imports when that is used: the test below
    if file.name == "__init__.py":
        work = [line for line in file.read_text().splitlines() if line and '"""' not in line]
        assert work == STARTING.get(str(file), []), "packages do no work when imported"
        return
    for imported in imports(file):
        assert floor(imported) <= floor(module), f"{file} imports {imported} from above"
        if floor(imported) == floor(module) == 2:
            wings = [name.split(".")[1] for name in (module, imported)]
            assert wings[0] == wings[1], f"{file}: wings do not import each other"
        if module.startswith("stages."):
            assert not imported.startswith("stages."), f"{file}: stages do not import each other"


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("stages.tables, stages.report", "torch numba scipy matplotlib"),
        ("stages.page", "torch numba scipy matplotlib dvc"),
        ("stages.rerank, stages.evaluate, stages.prepare", "torch matplotlib"),
        ("stages.train, stages.extract, stages.distances", "matplotlib dvc"),
    ],
)
def test_stages_start_without_what_they_do_not_need(modules, absent):
    code = (
        f"import sys; import {modules}; print(*(n for n in {absent.split()} if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_package_imports_nothing_before_it_is_used():
    code = "import sys, reid; print(*(name for name in sys.modules if name.startswith('reid')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["reid"]


def test_no_stage_needs_dvc():
    for file in CODE:
        assert "import dvc" not in file.read_text()


def test_the_headline_is_the_only_metrics_file():
    assert yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["metrics"] == [
        "metrics/report.json"
    ]
    assert not any("persist" in str(stage) for stage in STAGES.values())


def test_names_from_params_are_quoted_in_commands():
    for stage in STAGES.values():
        words = [word for command in commands(stage) for word in command.split()]
        assert all(word[0] == word[-1] == "'" for word in words if "${" in word)


def commands(stage):
    return stage["cmd"] if isinstance(stage["cmd"], list) else [stage["cmd"]]


def test_names_are_checked_before_they_come_to_a_shell():
    check = "python -m reid.runtime.config"
    checked = {name for name, stage in STAGES.items() if commands(stage)[0] == check}
    # a dataset comes first to prepare, a loss and a seed to train, the headline to the others
    assert checked == {"prepare", "train", "report", "page"}
    for name, stage in STAGES.items():
        if "${" in str(stage["cmd"]) and name not in checked:
            assert any(dep.startswith(("models/", "features/")) for dep in stage["deps"]), name
