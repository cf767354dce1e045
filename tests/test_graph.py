"""dvc.yaml is the truth: each stage's deps are exactly the modules it imports, and the house's
imports run one way.
"""

import ast
from pathlib import Path

import pytest
import yaml

DATASETS = ("market1501", "dukemtmcreid", "cuhk03", "msmt17", "partialreid", "own")
STAGES = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]


def imported_by(file, seen=None):
    """The project's files that a file imports, however deep, itself included."""
    seen = set() if seen is None else seen
    if file in seen:
        return seen
    seen.add(file)
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            module = Path(name.replace(".", "/") + ".py")
            if module.exists() and module.parts[0] in ("reid", "stages"):
                imported_by(module, seen)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_exactly_the_modules_that_the_stage_imports(stage):
    declared = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    assert declared == {str(file) for file in imported_by(Path(f"stages/{stage}.py"))}


def test_every_stage_is_in_the_graph():
    assert {file.stem for file in Path("stages").glob("[!_]*.py")} == set(STAGES)


def test_packages_do_no_work_when_imported():
    for package in ("reid", "stages"):
        assert Path(package, "__init__.py").read_text() == ""


def test_imports_run_one_way():
    for file in Path("reid").glob("*.py"):
        assert not any(used.parts[0] == "stages" for used in imported_by(file)), file
    for file in Path("stages").glob("*.py"):
        assert {used for used in imported_by(file) if used.parts[0] == "stages"} == {file}


@pytest.mark.parametrize(
    "module",
    ["alignment", "compiled", "evaluation", "records", "partial", "features", "origin", "seeds"],
)
def test_the_ground_floor_imports_nothing_but_errors_and_arrays(module):
    file = Path(f"reid/{module}.py")
    assert imported_by(file) <= {file, Path("reid/runtime/errors.py"), Path("reid/arrays/npy.py")}


def test_reranking_stands_on_its_compiled_loops_alone():
    names = ("reranking", "encodings", "compiled", "errors")
    assert imported_by(Path("reid/reranking/rerank.py")) == {
        Path(f"reid/{name}.py") for name in names
    }


def test_datasets_imports_its_readers_alone():
    """`datasets` and each dataset's module stand on `records`, `folders` and `errors`."""
    ground = {Path(f"reid/{name}.py") for name in ("records", "folders", "errors")}
    readers = {Path(f"reid/{name}.py") for name in DATASETS}
    assert imported_by(Path("reid/datasets/readers.py")) == {
        Path("reid/datasets/readers.py"),
        *readers,
        *ground,
    }
    for file in readers:
        assert imported_by(file) <= {file, *ground}


@pytest.mark.parametrize("stage", ["tables", "report", "rerank", "evaluate", "prepare"])
def test_light_stages_do_without_torch(stage):
    for file in imported_by(Path(f"stages/{stage}.py")):
        tree = ast.parse(file.read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("torch" in ast.unparse(node) for node in imports), file


def test_no_stage_needs_dvc():
    for file in [*Path("stages").glob("*.py"), *Path("reid").glob("*.py")]:
        assert "import dvc" not in file.read_text()


def test_the_headline_is_the_only_metrics_file():
    assert yaml.safe_load(Path("dvc.yaml").read_text())["metrics"] == ["metrics/report.json"]
    assert not any("persist" in str(stage) for stage in STAGES.values())


def test_params_have_no_anchors():
    """`dvc exp run -S` silently drops an override of an anchored map."""
    events = yaml.parse(Path("params.yaml").read_text())
    assert not [event for event in events if getattr(event, "anchor", None)]
