# Every target sets up what it needs on a machine that has only Python 3.11 (or newer) and pip.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -c constraints.txt
export JAX_PLATFORMS ?= cpu
PYTEST := $(BIN)/python -m pytest
PAIRS ?= pairs.jsonl
MUTANTS ?= 10000
# rooms whose results rounding decides
ROUNDING := tests/composition tests/evaluation tests/parallel
# The core on the newest jax, which needs a newer Python: imports, composition, goldens of models, a training step.
NEXT_PYTHON ?= $(shell $(PYTHON) tests/newer_python.py)
NEXT_BIN := .venv-next/bin
NEXT := tests/test_imports.py tests/composition/test_weights.py tests/composition/test_entropy.py \
  tests/reward/test_goldens.py tests/experiments/test_config.py tests/model/test_nnx_adapter.py \
  tests/train/test_fine_tune.py::test_a_frozen_backbone_is_read_again_where_a_run_goes_on

# What runs where Tunix is installed; elsewhere the same tests are skipped.
TUNIX := tests/reward/test_tunix.py tests/composition/test_trainers_parity.py

QUICKSTART := -m encore_jax.cli.main quickstart

.PHONY: help quickstart test test-next test-slow test-parity test-tunix test-trackers test-gpu fuzz mutants aot goldens docs lint
.PHONY: published clean
.PHONY: bench-forward bench-train bench-gpu bench-serving bench-import bench-export bench-judge

help:  ## this list
	@awk -F ':.*##  *' '/^[a-z-]+:.*##/ { printf "%-16s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

quickstart: $(VENV)/.core  ## ENCORE on real human ratings, with report: runs/quickstart/report.html
	$(BIN)/python $(QUICKSTART)

test: $(VENV)/.test  ## the ordinary tests and the doctests
	$(PYTEST) -n 2 --dist loadfile -m "not slow and not parity and not network and not gpu" tests
	$(PYTEST) -q -n 2 --dist loadfile --doctest-modules encore_jax experiments

test-next:  ## the core on the newest jax, with a Python 3.12 or 3.13 of this machine; skipped where there is none
	@python="$(NEXT_PYTHON)"; if [ -n "$$python" ]; then \
	  $(MAKE) -s .venv-next/.done NEXT_PYTHON="$$python" && $(NEXT_BIN)/python -m pytest -q $(NEXT); \
	else echo "test-next is skipped: no Python 3.12 or 3.13 is on this machine, and the newest jax for Python 3.11 is" \
	  "$$(sed -n 's/^jax==//p' constraints.txt), which make test takes"; fi

.venv-next/.done: setup.py constraints-next.txt
	$(NEXT_PYTHON) -m venv .venv-next
	$(NEXT_BIN)/python -m pip --disable-pip-version-check install --no-compile -r constraints-next.txt
	$(NEXT_BIN)/python -m pip --disable-pip-version-check install --no-compile --no-deps -e .
	touch $@

test-tunix: .venv-tunix/.done  ## GRPO, GDPO and PPO by Tunix itself, in an environment of its own (.venv-tunix)
	.venv-tunix/bin/python -m pytest -q -k tunix $(TUNIX)

.venv-tunix/.done: setup.py constraints-tunix.txt
	$(PYTHON) -m venv .venv-tunix
	.venv-tunix/bin/python -m pip --disable-pip-version-check install --no-compile -c constraints-tunix.txt \
	  google-tunix pytest hypothesis -e .
	touch $@

test-trackers: .venv-trackers/.done  ## TensorBoard, wandb, MLflow, trackio, XProf, goodput themselves, in .venv-trackers
	.venv-trackers/bin/python -m pytest -q -rs tests/train/test_real_trackers.py tests/train/test_goodput.py

.venv-trackers/.done: setup.py constraints.txt constraints-trackers.txt
	$(PYTHON) -m venv .venv-trackers
	.venv-trackers/bin/python -m pip --disable-pip-version-check install --no-compile -r constraints-trackers.txt
	.venv-trackers/bin/python -m pip --disable-pip-version-check install --no-compile -c constraints.txt pytest hypothesis -e .
	touch $@

lint: $(VENV)/.test  ## ruff check and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/plain_english.py

fuzz: $(VENV)/.test  ## 10,000 damaged files for every loader; MUTANTS=NUMBER
	$(BIN)/python -m tests.fuzz.campaign --mutants=$(MUTANTS)

test-slow: $(VENV)/.llama  ## what takes minutes, or needs a package index
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTEST) -m "slow or network" tests
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTEST) -n 2 -m "not slow and not network and not parity and not gpu" $(ROUNDING)
	$(PYTEST) -n 2 -m "hypothesis and not slow and not parity" --hypothesis-profile=search tests

test-parity: $(VENV)/.parity  ## live comparison with transformers on torch
	$(PYTEST) -m parity tests

test-gpu: $(VENV)/.cuda  ## cuDNN attention and training, on a machine with an NVIDIA GPU
	ENCORE_TEST_PLATFORM=cuda $(PYTEST) -m gpu tests

mutants: $(VENV)/.mutants  ## small mistakes in the core, one at a time: the share that no test notices
	$(BIN)/python tests/mutants/run.py

aot: $(VENV)/.test  ## the 8B and 70B steps compiled for real TPU slices, and refused where they must be; ONLY=judge
	$(BIN)/python -m experiments.aot_matrix $(if $(ONLY),--only=$(ONLY))

bench-train: $(VENV)/.bench  ## training pairs/s beside TRL, on PAIRS=FILE
	$(BIN)/python -m experiments.benchmarks.train_throughput --pairs=$(PAIRS)

bench-gpu: $(VENV)/.cuda $(VENV)/.bench  ## training and scoring on one NVIDIA GPU, beside TRL, on PAIRS=FILE; writes docs/benchmarks.md
	JAX_PLATFORMS= $(BIN)/python -m experiments.benchmarks.gpu --pairs=$(PAIRS)
	$(BIN)/python -m experiments.published runs/gpu

bench-serving: $(VENV)/.test  ## the server under 64 clients beside the batch scorer, on PAIRS=FILE
	$(BIN)/python -m experiments.benchmarks.serving_throughput --pairs=$(PAIRS)

bench-import: $(VENV)/.core  ## peak host memory of importing an 8B checkpoint (writes 15 GB to /tmp)
	$(BIN)/python -m experiments.benchmarks.import_memory

bench-export: $(VENV)/.core  ## peak host memory of exporting a model of the 8B's widths (writes 3 GB to /tmp)
	$(BIN)/python -m experiments.benchmarks.export_memory --layers=4

bench-forward: $(VENV)/.parity  ## forward tokens/s beside transformers
	$(BIN)/python -m experiments.benchmarks.forward_throughput

bench-judge: $(VENV)/.parity  ## the local judge's ratings/s beside transformers, on PAIRS=FILE
	$(BIN)/python -m experiments.benchmarks.judge_throughput --pairs=$(PAIRS)

goldens: $(VENV)/.parity  ## makes tests/goldens/*.npz anew
	$(BIN)/python tests/goldens/make_goldens.py

docs: $(VENV)/.docs  ## the documentation, in build/docs; a broken link or reference fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

published: $(VENV)/.core  ## the quickstart with ArmoRM's gate; puts the quickstart's output and figures into docs/results.md
	$(BIN)/python $(QUICKSTART) --config.baselines.gate.steps=2000
	$(BIN)/python -m experiments.published runs/quickstart

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e .
	touch $@

$(VENV)/.test: setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[test,aot]'
	touch $@ $(VENV)/.core

$(VENV)/.llama: setup.py constraints.txt | $(VENV)/.test  # builds llama.cpp: needs cmake and a C++ compiler, 10 minutes
	$(INSTALL) -e '.[test,aot,llama]'
	touch $@ $(VENV)/.test $(VENV)/.core

$(VENV)/.mutants: setup.py constraints.txt | $(VENV)/.test
	$(INSTALL) -e '.[test,aot,mutants]'
	touch $@ $(VENV)/.test $(VENV)/.core

$(VENV)/.parity: setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[test,aot,parity]'
	touch $@ $(VENV)/.test $(VENV)/.core

# A virtual environment of its own would take longer; what it needs touches nothing else.
$(VENV)/.docs: setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[docs]'
	touch $@ $(VENV)/.core

$(VENV)/.bench: setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) torch==2.13.0
	$(INSTALL) -e '.[bench]'
	touch $@ $(VENV)/.core

$(VENV)/.cuda: setup.py constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[test,cuda]'
	touch $@ $(VENV)/.core

clean:  ## removes the virtual environment, builds and caches
	rm -rf $(VENV) .venv-next .venv-tunix build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
