.DEFAULT_GOAL := help
.PHONY: help install demo test lint types unit slow test-slurm benchmark clean

PYTHON ?= python3
export OMP_WAIT_POLICY ?= passive
BIN := .venv/bin
CPU_WHEELS := https://download.pytorch.org/whl/cpu

help:  ## Show what one can do here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | $(BIN)/python
	@echo "installing 6.5 GB, 4 GB of which only NVIDIA's GPUs use; without one: make install CPU=1"
	$(if $(CPU),$(BIN)/pip install --quiet torch torchvision --index-url $(CPU_WHEELS))
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/installed-dev: pyproject.toml .venv/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

install: .venv/installed  ## Create .venv and install what running needs; CPU=1 for machines without an NVIDIA GPU

demo: install  ## Colour bundled photographs, then train the same model a little on them, with a report: minutes on a CPU
	$(BIN)/python -m datamodules.photos demo/photos
	$(BIN)/python colorize.py demo/photos --out demo/coloured
	$(BIN)/python train.py +experiment=demo resume=auto

test: .venv/installed-dev  ## Lint, check types and run the tests: what CI runs
	@TIMEFORMAT='lint, types and tests took %lR' bash -c 'time $(MAKE) --no-print-directory lint types unit'

lint: .venv/installed-dev  ## Check style with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev  ## Check types with mypy
	$(BIN)/mypy

unit: .venv/installed-dev  ## Run the default tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --durations 10

slow: .venv/installed-dev  ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-slurm: .venv/installed-dev  ## Run jobs on a SLURM cluster that the tests start here
	$(BIN)/python -m pytest -m slurm tests/slurm

benchmark: install  ## Measure cached against naive sampling
	$(BIN)/python benchmarks/sampling.py

clean:  ## Remove .venv and caches; runs stay
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
