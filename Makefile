# daskd: make help lists every target.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# two processes: the suite is meant for two cores
PARALLEL ?= -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-unit test-real test-releases lint types proto proto-check proto-baseline docs format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.ready ## .venv with everything for use and development

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) lacks venv; installing it"; apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; } || \
	    { echo "install your system's python3-venv, then run make venv again" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: venv ## the main job, end to end, on this machine
	$(BIN)/python docs/demo/demo.py

test: lint types proto-check test-unit test-real ## everything that .ci/run runs, but the older releases of distributed

test-unit: venv ## what needs no daemon
	$(PYTEST) $(PARALLEL) -m "not real" tests

test-real: venv ## real daemons, clusters, clients; processes killed for real
	$(PYTEST) $(PARALLEL) -m real tests

test-releases: venv ## the client and the runtime on the oldest, a middle, and the newest releases; the wheel
	$(BIN)/python -m tests.releases

lint: venv ## ruff, and the arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: venv ## mypy, strict
	$(BIN)/mypy

proto: ## renew the generated code
	./proto/generate

proto-check: venv ## the generated code is fresh, the protos are well-formed and break no client
	tests/proto/check

proto-baseline: venv ## on a release: keep the API of today as the one that later ones must not break
	cd proto && ../$(BIN)/buf build --exclude-source-info -o baseline.binpb

docs: venv ## build the documentation, warnings are errors
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs

format: venv ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what was made
	rm -rf $(VENV) .venv-proto build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
