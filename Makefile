# `make demo` and `make test` set up everything they need on a machine with Python 3.11 or 3.12.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Threads that spin while they wait slow each other many times on small machines.
export OMP_WAIT_POLICY ?= PASSIVE
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: install demo test test-fast browser lint fuzz bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	# torch first and by its exact version: an index that has a CPU build of it then gives that one.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/ram-avatar demo

test: install
	$(BIN)/python -m pytest

test-fast: install
	$(BIN)/python -m pytest -m "not slow"

# For the tests of the live page, which are skipped without it. Debian and Ubuntu.
browser:
	command -v chromium || (apt-get update -q && apt-get install -yq --no-install-recommends chromium fonts-dejavu-core)

lint: install
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/lint-imports
	$(BIN)/mypy

# Mutated files for every reader of untrusted files; a finding prints its seed. About an hour on two cores.
fuzz: install
	$(BIN)/python tests/fuzz/campaign.py

bench: install
	$(BIN)/python benchmarks/tracking.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/render.py
	$(BIN)/python benchmarks/retargeting.py

clean:
	rm -rf $(VENV) demo
