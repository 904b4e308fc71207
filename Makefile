# make demo   the main job on real media, from nothing
# make test   everything CI runs: style, types, contracts, tests
# make help   the rest

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
LAKE   ?= demo-lake
JOBS   ?= 2
SEED   ?= 0
IMAGES ?= /usr/share/openclipart/png
LIMIT  ?= 0
ROWS   ?= 100000
FUZZ   ?= 3000
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint types contracts pytest fast clusters torture hostile fuzz guided compare scale install clean

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
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

fast: $(STAMP) ## tests without real clusters, servers and kills
	$(BIN)/python -m pytest -m 'not slow'

clusters: $(STAMP) ## object stores and hosts of its own, every cut of the network; minutes
	XMODAL_LONG=1 $(BIN)/python -m pytest tests/storage/test_lease.py tests/storage/test_object_store.py tests/flows/test_store_cuts.py tests/flows/test_clusters.py

torture: $(STAMP) ## kill, fill, cut and damage everything, 100 seeded kills and all faults: half an hour
	$(BIN)/python -m tests.torture --faults --runs 100 --seed $(SEED) --out torture.jsonl

test: lint types contracts pytest ## everything CI runs

hostile: $(STAMP) ## 2,000 hostile files through ingest; prints what came of them
	$(BIN)/python -m benchmarks.hostile

fuzz: $(STAMP) ## every parser of ours on generated input, for minutes; FUZZ=n examples each
	XMODAL_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/fuzz --timeout 7200

guided: $(STAMP) ## the same parsers, guided by coverage (Atheris), a minute each
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,fuzz]'
	for target in sniff drawing csv jsonl parquet tar urls recipe statement condition; do \
		$(BIN)/python -m benchmarks.fuzz $$target -max_total_time=60 -verbosity=0 || exit 1; done

clean: ## remove the environment and the demo's lake
	rm -rf $(VENV) $(LAKE)

compare: $(STAMP) ## Xmodal beside plain Python and its rivals, in turn (IMAGES=FOLDER LIMIT=N)
	$(BIN)/python -m benchmarks.compare --images $(IMAGES) --limit $(LIMIT)

scale: $(STAMP) ## how every step grows with the lake (ROWS=N)
	$(BIN)/python -m benchmarks.scale --rows $(ROWS)
