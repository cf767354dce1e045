# `make repro` regenerates all tables, `make test` passes the tests, `make soak` tries for half an
# hour and writes docs/reliability.md; all set up .venv first.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: repro test soak lint setup repository
repro: repository setup
	dvc repro
	@cat metrics/tables/*.md

test: setup
	python -m pytest

soak: setup
	SOAK=1 python -m pytest tests/soak -o addopts= --numprocesses=2 --dist=worksteal --tb=short -v

lint: setup
	ruff check
	ruff format --check

# DVC works in a git repository, which a ZIP download is not
repository:
	@git rev-parse --git-dir >/dev/null 2>&1 || grep -qs 'no_scm = true' .dvc/config.local || \
		{ echo "error: this folder is no git repository, and DVC needs one. Type" \
		"'git init && git add . && git commit -m start' (git: https://git-scm.com), or, without git and" \
		"without experiments, '.venv/bin/dvc config --local core.no_scm true'. Then run make again." >&2; exit 1; }

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch .venv/ready
