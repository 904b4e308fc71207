# make demo   the main job on real media, from nothing
# make test   everything CI runs: style, types, contracts, tests
# make help   the rest

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
LAKE   ?= demo-lake
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint types contracts pytest fast install clean

help: ## this text
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Xmodal needs CPython 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

install: $(STAMP) ## create the environment and install

demo: $(STAMP) ## curate the demo corpus, search it, say what to try next
	$(BIN)/xmodal demo --lake $(LAKE)

lint: $(STAMP) ## ruff
	$(BIN)/ruff check .

types: $(STAMP) ## mypy
	$(BIN)/mypy

contracts: $(STAMP) ## who may import whom
	$(BIN)/lint-imports

pytest: $(STAMP) ## all tests
	$(BIN)/python -m pytest

fast: $(STAMP) ## tests without real clusters, servers and kills
	$(BIN)/python -m pytest -m 'not slow'

test: lint types contracts pytest ## everything CI runs

clean: ## remove the environment and the demo's lake
	rm -rf $(VENV) $(LAKE)
