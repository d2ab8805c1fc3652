# `make` lists what there is to do.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK   := uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links
# What Streamlit knows of our components is written when the project is installed.
MANIFEST := tracelens/assets/manifest.toml
UNIT   := -m "not envoy and not browser and not process and not slow"

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint format bench prove shots doctor reset lock wheel

help:  ## list what there is to do
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "TraceLens needs Python 3.11 or newer; set PYTHON=/path/to/it")'
	@$(PYTHON) -m venv $(VENV)

# The project itself is installed editable, without its dependencies: those come from the lock.
$(VENV)/.demo: requirements/demo.lock $(MANIFEST) | $(BIN)/python
	@test -e $(VENV)/.test || echo "installing the locked dependencies into $(VENV) …"
	@test -e $(VENV)/.test || $(PIP) --require-hashes -r requirements/demo.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.lock pyproject.toml $(MANIFEST) | $(BIN)/python
	@echo "installing the locked dependencies, those of the tests too, into $(VENV) …"
	@$(PIP) --require-hashes -r requirements/test.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.demo  ## run it all here: real sidecars, a collector, a store and the dashboard
	@$(BIN)/tracelens demo

test: $(VENV)/.test  ## everything that must hold, with real Envoy and real Chromium
	@$(PYTHON) tests/doctor.py --install
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest --durations=25 --durations-min=2

quick: $(VENV)/.test lint  ## about a quarter of an hour: lint, types, unit tests; neither Envoy nor Chromium
	$(BIN)/python -m pytest -q -x $(UNIT)

lint: $(VENV)/.test  ## ruff, mypy, import contracts
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test  ## put the code in shape
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format --quiet .

bench: $(VENV)/.test  ## the table of speeds: medians of several runs, each beside a baseline
	$(BIN)/python -m tests.bench

prove: $(VENV)/.test  ## the long proofs, about two hours: kills, power cuts, bad disks, many examples
	TRACELENS_PROVE=1 $(BIN)/python -m pytest -ra tests/e2e tests/invariants tests/wire \
		tests/acceptance/test_mesh_lens.py
	$(BIN)/python -m tests.prove

shots: $(VENV)/.test  ## pictures of all pages of the dashboard, into docs/shots
	$(BIN)/python -m tests.dashboard.shots docs/shots

doctor:  ## what is missing on this machine, with the command that installs it
	@$(PYTHON) tests/doctor.py

lock: | $(BIN)/python  ## resolve the dependencies anew, with hashes and without addresses
	@$(PIP) uv
	$(BIN)/$(LOCK) pyproject.toml -o requirements/run.lock
	$(BIN)/$(LOCK) pyproject.toml requirements/build.in --extra demo -o requirements/demo.lock
	$(BIN)/$(LOCK) pyproject.toml requirements/build.in --extra demo --extra test -o requirements/test.lock

wheel: $(VENV)/.test  ## build the wheel and the source archive
	$(BIN)/python -m build --no-isolation --quiet

reset:  ## remove what was made here: environment, caches, builds and the local data directory
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tracelens-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
