# Every target sets up what it needs on a machine that has only Python 3.11 (or newer) and pip.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
INSTALL := $(PIP) install -c constraints.txt
export JAX_PLATFORMS ?= cpu
PYTEST := $(BIN)/python -m pytest
PAIRS ?= pairs.jsonl
QUICKSTART := -m experiments.run --config=experiments/configs/quickstart.py

.PHONY: quickstart test test-slow test-parity aot bench-forward bench-train bench-import goldens lint readme clean

quickstart: $(VENV)/.core  ## ENCORE on real human ratings, with report: runs/quickstart/report.html
	$(BIN)/python $(QUICKSTART)

test: $(VENV)/.test  ## the ordinary tests and the doctests
	$(PYTEST) -n 2 -m "not slow and not parity and not network" tests
	$(PYTEST) -q --doctest-modules encore_jax experiments

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test-slow: $(VENV)/.test  ## what takes minutes, or needs a package index
	$(PYTEST) -m "slow or network" tests

test-parity: $(VENV)/.parity  ## live comparison with transformers on torch
	$(PYTEST) -m parity tests

aot: $(VENV)/.test  ## the 8B training step compiled for four real TPU slices, and refused for one; about 5 minutes
	$(BIN)/python -m experiments.aot_matrix

bench-train: $(VENV)/.bench: setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[bench]'
	touch $@ $(VENV)/.core

readme: quickstart  ## puts the quickstart's output and figures into README.md
	$(BIN)/python -m experiments.readme runs/quickstart

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
