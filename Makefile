# Every target makes the environment it needs; run it again at any time. Tested on Linux.
#   make demo                     adapt the starter to real pictures, fetched for you
#   make demo DATA=my-photos      adapt it to yours
#   make PYTHON=python3.12 test   choose the Python
#   make test MARK=slow           those tests only that `make check` leaves out
#   make desk-clip                build desk-clip anew; docs/desk_clip.md says how

PYTHON ?= python3
DATA ?=
# As many processes for tests as there are cores, from 2 to 4: each takes some 2 GB.
JOBS ?= $(shell n=$$(nproc 2> /dev/null || echo 2); [ $$n -le 4 ] || n=4; [ $$n -ge 2 ] || n=2; echo $$n)
MARK ?=
N ?= 200

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
RACES := $(filter-out __init__ rows word_kinds desk_clip% %_choice %_clients %_code %_commands %_rows %_stability %_cost,$(basename $(notdir $(wildcard bench/*.py))))

.DEFAULT_GOAL := help
.PHONY: help install demo test check slow-list bench faults claims desk-clip docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(READY) ## create .venv and install deixis with its development tools

$(READY): pyproject.toml
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "No '$(PYTHON)' was found. Install Python 3.11 or newer (Debian, Ubuntu: sudo apt-get install python3 python3-venv),"; \
	  echo "or name one: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "deixis needs Python 3.11 or newer, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1)."; \
	  echo "Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "'$(PYTHON)' cannot create virtual environments: its module venv or ensurepip is missing."; \
	  echo "On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@"$(BIN)/python" -m pip --version > /dev/null 2>&1 || { \
	  echo "Creating $(VENV) with $$("$(PYTHON)" --version)"; "$(PYTHON)" -m venv --clear $(VENV); }
	@echo "Installing deixis into $(VENV); the first time this downloads torch, which takes some minutes"
	$(BIN)/python -m pip install -e '.[dev,data]'
	@touch $@

demo: $(READY) ## adapt a model to real pictures and write a new folder in runs; DATA=folder takes your own
	$(BIN)/deixis data get starter
	$(BIN)/deixis demo $(if $(DATA),"$(DATA)")

# What can't be fetched is said here, and its tests are skipped with the same reason.
test: $(READY) ## run every test, the slow ones too
	@for name in starter stamps; do \
	  $(BIN)/deixis data get $$name || echo "Going on without '$$name': the tests that need it will be skipped."; done
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(if $(MARK),-m "$(MARK)")

check: $(READY) ## format, lint, types and the fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

# On an idle machine; a test that is new and long is found so.
slow-list: $(READY) ## measure all tests, and keep those that take long out of the fast ones
	@mkdir -p build
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=0 --durations-min=0.05 -q > build/durations.txt
	$(BIN)/python -m tests.slow_list < build/durations.txt

$(VENV)/.bench: $(READY)
	$(BIN)/python -m pip install -e '.[dev,data,bench]'
	@touch $@

bench: $(VENV)/.bench ## race the peers; rows are added to results/bench.jsonl
	@set -e; for race in $(RACES); do echo "race $$race"; $(BIN)/python -m bench.$$race; done

faults: $(READY) ## kill commands at N random times and run them again; rows are added to results/faults.jsonl
	$(BIN)/python -m bench.fault_rows $(N)

claims: $(READY) ## try the claims whose inputs changed, MINUTES=100 a part of them; rows are added to results/claims.jsonl
	$(BIN)/deixis claim --all $(if $(MINUTES),--minutes $(MINUTES))

desk-clip: $(READY) ## try desk-clip's settings, build the best (some 15 minutes), measure it; rows in results/desk_clip.jsonl
	$(BIN)/python -m bench.desk_clip --choose --seed 0 --out build
	$(BIN)/python -m bench.desk_clip_rows build/seed-0.safetensors

docs: $(READY) ## write the pages that are made from the methods and from results/; contact sheets to docs/sheets
	$(BIN)/python -m docs.build
	$(BIN)/python -m docs.pictures

clean: ## remove caches and build output; .venv and runs stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests bench docs -name __pycache__ -type d -prune -exec rm -rf {} +
