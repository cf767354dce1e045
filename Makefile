# `make repro` regenerates all tables, `make test` passes the tests, `make soak` tries for half an
# hour and writes docs/reliability.md; all set up .venv first.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: repro test soak lint setup
repro: setup
	dvc repro
	@cat metrics/tables/*.md

test: setup
	python -m pytest

soak: setup
	SOAK=1 python -m pytest tests/soak -o addopts= --numprocesses=2 --dist=worksteal --tb=short -v

lint: setup
	ruff check
	ruff format --check

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch .venv/ready
