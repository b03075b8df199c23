# One command each; the first makes a virtual environment of its own (.venv) and says what it is doing.
#
#   make demo    set up, then run the whole road on a phantom data set that it draws itself
#   make test    set up, then lint, types, import order and every test
#   make help    the rest

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
LINKS := .types/autofuse_planners .types/autofuse_trainers
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 1); echo $$(( n > 4 ? 4 : n )))

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types imports unit test-cluster test-distributed bench bench-growth bench-picture docs clean

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) $(LINKS) ## make the virtual environment with everything in it (done once)

$(STAMP): pyproject.toml setup.py constraints.txt
	@echo "== Setting up $(VENV) with $$($(PYTHON) --version); takes a few minutes the first time"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "autofuse needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt pip setuptools wheel
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --no-build-isolation \
		--editable '.[dev]'
	@touch $(STAMP)
	@echo "== $(VENV) is ready"

.types/autofuse_%:
	@mkdir -p .types
	@ln -sfn ../$* $@

demo: setup ## run the whole road on a phantom data set (under five minutes on two cores)
	@echo "== Running the demo; everything it makes lands in ./autofuse_demo"
	@$(BIN)/autofuse demo autofuse_demo

test: lint types imports unit ## lint, types, import order and every test

lint: setup ## ruff: style, names, forbidden calls
	@echo "== Lint (ruff)"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy, strict
	@echo "== Types (mypy --strict)"
	@$(BIN)/mypy

imports: setup ## import-linter: rooms import only rooms above them
	@echo "== Import order (import-linter)"
	@$(BIN)/lint-imports

unit: setup ## pytest, slow end-to-end tests included
	@echo "== Tests (pytest, $(WORKERS) at once)"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not benchmark and not cluster and not distributed"

test-cluster: setup ## on Dask and a real SLURM, whose packages it installs (root on Debian or Ubuntu; minutes)
	@echo "== Tests on clusters (pytest)"
	@$(BIN)/python -m pytest -m cluster tests/cluster

test-distributed: setup ## tests of several processes that train one model, with every trainer (minutes; no GPU needed)
	@echo "== Tests of several processes (pytest, one at a time)"
	@$(BIN)/python -m pytest -m distributed

bench: setup ## time every stage beside nnU-Net (which gets an environment of its own)
	@echo "== Benchmarks: a while; results land in benchmarks/results"
	@$(BIN)/python benchmarks/against_nnunet.py

bench-growth: setup ## how cost grows with cases, files, voxels, classes, modalities, members; a giant case
	@echo "== Growth: ten thousand cases and a case of 1024 x 1024 x 600; ten minutes or more, 8 GiB of memory"
	@$(BIN)/python benchmarks/growth.py all

bench-picture: setup ## draw the figures of the benchmarks as one picture for the README
	@$(BIN)/python benchmarks/picture.py

docs: setup ## write the pages of documentation/reference that are made from the program itself
	@$(BIN)/python -m autofuse.cli.reference documentation/reference/cli.md

clean: ## remove what make made
	rm -rf $(VENV) .types build dist *.egg-info autofuse_demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
