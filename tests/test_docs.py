"""The documents: every command is classified and accepted by its parser, every link, path and
setting exists. No figure is compared with the work tree, so that this holds before and after
`make repro`.
"""

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

import reid
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*PAGES, ROOT / "CHANGELOG.md"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PROGRAMS = ("dvc", "git", "make", "pip", "pre-commit", "python", "reid", "torchrun")
FENCES = {"bash", "mermaid", "python", "text", "yaml"}

REPRO = "test_repro_runs_every_cell_and_writes_the_tables"
ONE_CELL = "test_an_experiment_on_the_report_trains_one_cell_only"
GRID = "test_a_queued_grid_of_headlines"
MARKET = "test_market1501_as_its_authors_distribute_it"
CONVERTED = "test_dvc_runs_everything_but_training_on_a_converted_checkpoint"
FINISHED = "test_every_stage_writes_its_files"
OTHER_SYSTEM = "test_evaluate_without_a_cell_is_for_features_of_other_systems"
COMPARED = "test_two_columns_of_a_run_are_compared_as_in_its_json"
SHOW = "test_show_writes_a_ranked_list_and_an_alignment"
SEARCH = "test_description_and_search_are_measured"
RANKED = "test_every_column_ranks_as_the_stages_do"
SEARCHED = "test_the_list_is_drawn_and_drawn_again"
FOLDERS = "test_the_stages_work_on_features_of_folders"
IN_ONE_GO = "test_evaluation_in_one_go_is_that_of_the_stages"
EXPORTED = "test_the_command_writes_one_file_that_says_how_to_prepare_images"
BENCHMARKS = "test_the_command_writes_a_table_and_its_numbers"

CELL = "features/synthetic/ls/0 distances/synthetic/ls/0"
SWEPT = "--k1 10 20 30 --k2 3 6 --lambda-value 0.1 0.3"
EVALUATED = (
    "metrics/runs/synthetic/ls/0.json --dataset synthetic --loss ls --seed 0"
    " --training models/synthetic/ls/0/training.json"
)

# Command -> the test that runs it, on a tiny benchmark and in folders of its own.
RUN = {
    "dvc repro": REPRO,
    "git status": "test_a_second_repro_does_nothing",
    "dvc exp run": "test_another_headline_runs_report_and_page_alone_and_diff_shows_it",
    "dvc exp run -S loss=ls": "test_another_headline_runs_report_and_page_alone_and_diff_shows_it",
    "dvc metrics diff": "test_another_headline_runs_report_and_page_alone_and_diff_shows_it",
    "dvc exp run report -S loss=ls -S train.learning_rate=1e-4": ONE_CELL,
    "dvc exp run report -S loss=ls -S datasets.synthetic.train.epochs=100": ONE_CELL,
    "dvc exp run -S 'tables.seeds=[0,1,2]'": (
        "test_another_seed_trains_one_more_of_each_cell_and_the_tables_show_the_spread"
    ),
    "dvc exp run -S rerank.k1=10": "test_another_k1_reranks_and_evaluates_and_no_more",
    "dvc exp run -S loss=softmax,ls --queue": GRID,
    "dvc queue start": GRID,
    "dvc exp run report -S 'tables.datasets=[synthetic,market1501]' -S dataset=market1501"
    " -S loss=ls": MARKET,
    "dvc repro prepare@market1501": CONVERTED,
    "dvc commit --force train@market1501-ls-0": CONVERTED,
    "python -m reid.tools.convert_checkpoint CHECKPOINT.pth.tar models/market1501/ls/0"
    " --dataset market1501": CONVERTED,
    "python -m reid.tools.convert_checkpoint CHECKPOINT.pth.tar OUT --dataset market1501": (
        "test_the_command_writes_what_the_train_stage_writes"
    ),
    "python -m reid.tools.export models/synthetic/ls/0/model.safetensors model.onnx": (
        "test_the_command_writes_one_file_that_says_how_to_prepare_images"
    ),
    "python -m stages.prepare synthetic data/synthetic": FINISHED,
    "python -m stages.train data/synthetic/train models/synthetic/ls/0 --dataset synthetic"
    " --loss ls --seed 0": FINISHED,
    "python -m stages.extract data/synthetic models/synthetic/ls/0/model.safetensors"
    " features/synthetic/ls/0": FINISHED,
    f"python -m stages.distances {CELL}": FINISHED,
    f"python -m stages.rerank {CELL} reranked/synthetic/ls/0": FINISHED,
    f"python -m stages.evaluate {CELL} reranked/synthetic/ls/0 {EVALUATED}": FINISHED,
    "python -m stages.tables metrics/runs metrics/tables": REPRO,
    "python -m stages.report metrics/runs/synthetic/ls metrics/report.json": REPRO,
    "python -m stages.page data/synthetic models/synthetic features/synthetic distances/synthetic"
    " reranked/synthetic metrics/runs/synthetic metrics/tables report --dataset synthetic"
    " --loss ls": REPRO,
    "python -m stages.distances FEATURES DISTANCES": FINISHED,
    "python -m stages.rerank FEATURES DISTANCES RERANKED": FINISHED,
    "python -m stages.evaluate FEATURES DISTANCES RERANKED run.json": OTHER_SYSTEM,
    "python -m benchmarks.search": SEARCH,
    "python -m benchmarks.search --model built-in --images 2048": SEARCH,
    f"reid sweep {CELL} {SWEPT}": ("test_scores_are_those_of_the_stages"),
    "reid compare synthetic/softmax/0 synthetic/ls/0": COMPARED,
    "reid compare synthetic/ls/0:dmli synthetic/ls/0:local --protocol partial": (COMPARED),
    "python -m benchmarks.training": "test_training_is_measured_against_the_bare_step",
    "python -m benchmarks": BENCHMARKS,
    "python -m benchmarks --precision int8": BENCHMARKS,
    "python -m pytest tests/test_pipeline.py": REPRO,
    "python -m benchmarks.page": "test_the_page_is_measured_on_made_up_folders",
    f"reid show data/synthetic {CELL} reranked/synthetic/ls/0 list.png"
    " --query 0 --column dmli": SHOW,
    f"reid show data/synthetic {CELL} reranked/synthetic/ls/0 pair.png --query 0 --gallery 7": SHOW,
    "reid search QUERY --gallery FOLDER": RANKED,
    "reid search query/0002_c3s1_000017_02.jpg --gallery gallery --save list.png": SEARCHED,
    "reid compare-images A B": "test_two_pictures_are_compared",
    "reid extract FOLDER OUT": "test_without_a_csv_nobody_is_known",
    "reid extract FOLDER OUT --csv people.csv": FOLDERS,
    "python -m stages.distances OUT DISTANCES": FOLDERS,
    "reid evaluate FEATURES": IN_ONE_GO,
    "reid evaluate OUT": IN_ONE_GO,
    "reid sweep FEATURES DISTANCES": "test_scores_are_those_of_the_stages",
    "reid show DATA FEATURES DISTANCES RERANKED out.png --query 0": SHOW,
    "reid convert CHECKPOINT OUT": "test_the_command_writes_what_the_train_stage_writes",
    "reid export MODEL OUT.onnx": EXPORTED,
    "python docs/figures.py": "test_command_draws_the_tables_of_the_folder_it_runs_in",
}

ENVIRONMENT = "sets up an environment, and repeats what the tests run"
UNPACKS = "unpacks what `make repro` has drawn"
NETWORK = "needs a network"
REAL = "needs a real dataset"
LONG = "takes many minutes; the parsers of its options are tested"
SEVERAL = "needs several hosts or GPUs; smaller groups of processes are tested"

# Command -> why no test runs it.
NOT_RUN = {
    "make repro": ENVIRONMENT,
    "make test": ENVIRONMENT,
    "make lint": ENVIRONMENT,
    "make soak": ENVIRONMENT,
    "python -m zipfile -e data/synthetic/gallery/images.zip gallery": UNPACKS,
    "python -m zipfile -e data/synthetic/query/images.zip query": UNPACKS,
    "pip install pip-audit": NETWORK,
    "pip install --constraint constraints.txt --editable '.[onnx]'": NETWORK,
    "pip install pre-commit": NETWORK,
    "pre-commit install": NETWORK,
    "python docs/contact_sheet.py": "draws over docs/people.jpg",
    "dvc cache dir --local /disk/cache": "a folder of another disk",
    "python docs/screenshots.py": "draws over docs/images",
    "dvc exp show": "only shows",
    "dvc plots show": "only shows",
    "dvc plots diff main": "only shows",
    "dvc repro -sf page": "repeats a stage of `make repro`",
    "pip install vl-convert-python": NETWORK,
    "python docs/offline_plots.py": "needs a package that the project does not",
    "dvc config --local plots.html_template tmp/offline.html": "only shows",
    "python docs/comparisons.py": LONG,
    "dvc exp run report -S loss=ls -S +datasets.synthetic.train.margin=0.5": LONG,
    "dvc exp run report -S 'tables.losses=[ls,strong]' -S loss=strong": LONG,
    "dvc exp run report -S 'tables.datasets=[synthetic,cuhk03]' -S dataset=cuhk03 -S loss=ls": REAL,
    "dvc exp run report -S 'tables.datasets=[synthetic,cuhk03_classic]' -S dataset=cuhk03_classic"
    " -S datasets.cuhk03_classic.source.split=3": REAL,
    "python -m stages.prepare cuhk03 OUT": REAL,
    "python -m stages.prepare DATASET OUT": REAL,
    "dvc repro -f prepare@market1501": REAL,
    "dvc repro -s train@market1501-ls-0": REAL,
    "dvc repro --force --single-item train@market1501-ls-0": REAL,
    "dvc repro evaluate@market1501-alignedreid-0": REAL,
    "dvc repro evaluate@market1501-ls-0": REAL,
    "dvc exp run report --queue -S loss=softmax,softmax_trihard,alignedreid,ls": SEVERAL,
    "dvc queue start --jobs 4": SEVERAL,
    "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint host:29500"
    " -m stages.distances features/market1501/ls/0 distances/market1501/ls/0": SEVERAL,
    "dvc commit distances@market1501-ls-0": SEVERAL,
    "python -m benchmarks.search --model resnet50 --images 128": LONG,
    "python -m benchmarks --precision int8 --scale 0.25": LONG,
    "python -m benchmarks --scale 0.05 --steps features products distances --precision bf16": LONG,
    "python -m benchmarks --size msmt17 --precision int8 --work FOLDER": LONG,
    "python -m benchmarks --size msmt17 --precision int8 --channels 64"
    " --steps features distances rerank evaluate --work FOLDER": LONG,
    "python -m benchmarks --size distractors500k --scale 0.02 --threads 2": LONG,
    "python -m benchmarks.training --dataset market1501 --steps 3 --turns 3 --people 45": LONG,
}


def fences(text):
    """The fenced blocks of a page -> pairs of language and content."""
    return re.findall(r"^```(.*)\n((?:.*\n)*?)```$", text, flags=re.MULTILINE)


def prose(text):
    """A page without its fenced blocks."""
    return re.sub(r"^```.*\n(?:.*\n)*?```$", "", text, flags=re.MULTILINE)


def code_spans(text):
    """All that stands between backticks in prose, line breaks as spaces."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text))]


def command_of(line):
    """A line without prompt, comment, variables and `time` -> a command of PROGRAMS, or None."""
    line = " ".join(re.sub(r"\s#.*$", "", line).split())
    line = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line).removeprefix("time ")
    return line if " " in line and line.split()[0] in PROGRAMS else None


def commands_of(text):
    blocks = [content for language, content in fences(text) if language == "bash"]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return {found for line in [*lines, *code_spans(text)] if (found := command_of(line))}


COMMANDS = sorted({command for page in PAGES for command in commands_of(page.read_text())})
MODULES = [command for command in COMMANDS if command.startswith("python -m ")]


def test_commands_are_found_in_blocks_spans_and_table_cells():
    page = (
        "Say `make\ntest`, not `make`.\n\n| `dvc repro` | all |\n\n"
        "```bash\nREID_PROCESSES=4 dvc  repro -f   # again\nls\n```\n"
    )
    assert commands_of(page) == {"make test", "dvc repro", "dvc repro -f"}


def test_every_command_is_classified_and_every_classified_command_is_on_a_page():
    assert not set(RUN) & set(NOT_RUN)
    unclassified = set(COMMANDS) - set(RUN) - set(NOT_RUN)
    assert not unclassified, (
        "classify in tests/test_docs.py, by the test that runs them or the reason why none can: "
        f"{sorted(unclassified)}"
    )
    gone = (set(RUN) | set(NOT_RUN)) - set(COMMANDS)
    assert not gone, f"on no page any more, so remove from tests/test_docs.py: {sorted(gone)}"


def test_every_named_test_exists():
    tests = {
        node.name
        for file in (ROOT / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    missing = {command: test for command, test in RUN.items() if test not in tests}
    assert not missing, f"no such test: {missing}"


class Parsed(BaseException):
    """A command's arguments were accepted."""


def parse(module, arguments, monkeypatch):
    """Let a module's own parser read the arguments, and run nothing after it."""
    name = module
    if importlib.util.find_spec(name).submodule_search_locations:
        name = f"{name}.__main__"
    original = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, *args, **kwargs):
        original(parser, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.chdir(ROOT)
    with pytest.raises(Parsed):
        importlib.import_module(name).main()


@pytest.mark.parametrize("command", MODULES)
def test_modules_accept_their_arguments(command, monkeypatch):
    _, _, module, *arguments = shlex.split(command)
    if module == "zipfile":
        assert (ROOT / arguments[1]).parts[-4] == "data"
    elif module == "pytest":
        assert all((ROOT / file).exists() for file in arguments if file.startswith("tests/"))
    else:
        parse(module, arguments, monkeypatch)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("reid ")])
def test_reid_accepts_its_arguments(command, monkeypatch):
    parse("reid.tools.command", shlex.split(command)[1:], monkeypatch)


@pytest.mark.parametrize("module", ["stages.train", "benchmarks"])
def test_an_option_that_a_module_lacks_is_noticed(module, monkeypatch):
    with pytest.raises(SystemExit):
        parse(module, ["--no-such-option"], monkeypatch)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("torchrun ")])
def test_torchrun_accepts_its_arguments(command, monkeypatch):
    parser = importlib.import_module("torch.distributed.run").get_args_parser()
    arguments = parser.parse_args(shlex.split(command)[1:])
    assert arguments.module
    parse(arguments.training_script, arguments.training_script_args, monkeypatch)


def test_scripts_exist():
    scripts = [shlex.split(line)[1] for line in COMMANDS if line.startswith("python ")]
    assert all((ROOT / script).exists() for script in scripts if script != "-m")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_make_knows_its_targets(command):
    done = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def lookup(keys):
    """The value of params.yaml at a dotted path; raises KeyError with the part that it lacks."""
    value = PARAMS
    for key in keys.split("."):
        if not isinstance(value, dict) or key not in value:
            raise KeyError(f"params.yaml has no {keys}")
        value = value[key]
    return value


def check_target(target):
    """A stage of dvc.yaml, for a cell of the matrix: known dataset and loss, any seed."""
    stage, _, cell = target.partition("@")
    assert stage in STAGES, target
    if cell:
        choices = {"dataset": PARAMS["datasets"], "loss": PARAMS["losses"]}
        parts = dict(zip(STAGES[stage]["matrix"], cell.split("-"), strict=True))
        for side, part in parts.items():
            assert part in choices[side] if side in choices else part.isdecimal(), target


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("dvc ")])
def test_dvc_accepts_its_arguments_and_knows_settings_and_stages(command):
    parser = pytest.importorskip("dvc.cli.parser").get_main_parser()
    arguments = vars(parser.parse_args(shlex.split(command)[1:]))
    for override in arguments.get("set_param") or []:
        keys = override.partition("=")[0]
        new = keys.startswith("+")  # a key to add: what it is added to must exist
        lookup(keys[1:].rpartition(".")[0] if new else keys)
    for target in arguments.get("targets") or []:
        check_target(target)


SECTIONS = sorted(set(PARAMS) - {"dataset", "loss", "datasets", "losses"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_a_page_names_exist(page):
    pattern = re.compile(rf"((?:{'|'.join(SECTIONS)})(?:\.[a-z_0-9]+)+)(?::.*)?")
    for span in code_spans(page.read_text()):
        if (found := pattern.fullmatch(span)) and not span.endswith(".safetensors"):
            lookup(found[1])


def slug(heading):
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page):
    return {slug(line) for line in re.findall(r"^#+ (.*)$", prose(page.read_text()), re.MULTILINE)}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_relative_to(ROOT.resolve()), link
        assert target.exists(), f"{page.name} links to {link}, which is missing"
        assert not anchor or anchor in anchors(target), f"{page.name}: no heading for {link}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_files_and_modules_that_a_page_names_exist(page):
    for span in code_spans(page.read_text()):
        if re.fullmatch(r"(?:reid|stages|tests|docs|benchmarks|\.ci)/[^\s<*{]*", span):
            assert (ROOT / span).exists(), f"{page.name} names {span}, which is missing"
        if page in PAGES and re.fullmatch(r"(?:reid|stages|benchmarks)(?:\.[a-z_0-9]+)+", span):
            is_of_library = span.removeprefix("reid.") in reid.__all__
            assert is_of_library or importlib.util.find_spec(span), (
                f"{page.name} names {span}, which is missing"
            )


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_the_form_of_a_page(page):
    text = page.read_text()
    machine = re.findall(r"(?:^|[\s`'\"(=])(/(?:home|root|Users|tmp|work|mnt|opt)/\S*)", text)
    assert not machine, f"{page.name} names a path of one machine: {machine}"
    languages = {language for language, _ in fences(text)}
    assert languages <= FENCES, f"{page.name}: say bash, mermaid, text or yaml after each fence"
    assert text.count("```") == 2 * len(fences(text)), f"{page.name}: a fence is not closed"
    assert prose(text).count("`") % 2 == 0, f"{page.name}: a backtick is not closed"
    indented = [line for line in prose(text).splitlines() if line.startswith("    ")]
    assert not [line for line in indented if command_of(line)], f"{page.name}: use a bash fence"
    for language, content in fences(text):
        assert language != "yaml" or isinstance(yaml.safe_load(content), dict)


def test_the_readme_is_short_and_leads_to_every_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    missing = [page.name for page in DOCUMENTS[1:] if page.name not in text]
    assert not missing, f"README.md does not link to {missing}"


def test_the_readmes_diagram_has_every_stage():
    blocks = dict(fences((ROOT / "README.md").read_text()))
    assert set(STAGES) <= set(re.findall(r"[a-z]+", blocks["mermaid"]))


def test_citation_names_the_project_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    (paper,) = citation["references"]
    assert paper["doi"] == "10.1016/j.patcog.2019.05.028"
    assert len(paper["authors"]) == 6
