"""The oldest Python and torch that pyproject.toml names, in an environment of their own."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.soak.kinds import IS_LONG, RIGHT, tries

FOLDER = ROOT / ".venv-oldest"
PINNED = ("torch", "torchvision")  # at the oldest version; pip chooses what goes with them
LEFT_OUT = ("dvc", "gdown")  # no stage imports them
TESTS = ("losses", "alignment", "model", "metrics", "tile", "distances", "reranking", "stages")
MINUTES = 15


def oldest():
    """pyproject.toml -> the oldest Python, such as 3.11, and the requirements."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    requirements = []
    for requirement in project["dependencies"]:
        name = re.match(r"[\w-]+", requirement)[0]
        if name in PINNED:
            requirement = f"{requirement.replace('>=', '==')}.*"
        if name not in LEFT_OUT:
            requirements.append(requirement)
    return project["requires-python"].removeprefix(">="), [*requirements, "hypothesis", "pytest"]


def interpreter(version):
    """The Python of that version, None where there is none."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        return sys.executable
    return shutil.which(f"python{version}")


def environment():
    """Make the environment unless it is there -> its Python. Skip where it cannot be had."""
    version, requirements = oldest()
    python, made = interpreter(version), FOLDER / "bin" / "python"
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    ready = FOLDER / "ready"
    if not ready.exists() or ready.read_text(encoding="utf-8") != str(requirements):
        subprocess.run([python, "-m", "venv", "--clear", FOLDER], check=True)
        install = [made, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*install, *requirements], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"pip cannot install it: {done.stderr.strip().splitlines()[-1][:200]}")
        ready.write_text(str(requirements), encoding="utf-8")
    return made


@pytest.mark.skipif(not IS_LONG, reason="takes minutes and 5 GB: `make soak` runs it")
@tries("the oldest Python and torch: losses to a tiny benchmark", 1, 1, False, once=st.just(1))
def test_the_oldest_packages(once):
    files = [f"tests/test_{name}.py" for name in TESTS]
    command = [environment(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts="]
    done = subprocess.run(
        [*command, *files], cwd=ROOT, capture_output=True, text=True, timeout=60 * MINUTES
    )
    assert done.returncode == 0, done.stdout[-1500:]
    return RIGHT
