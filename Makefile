PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
SIDE_BY_SIDE := -n 2 --dist loadfile
# One process for each of these: clusters are killed in them, and Ray ends a process that has lost its cluster.
RAY_TESTS := $(wildcard tests/pipeline/executors/test_ray_*.py) tests/pipeline/executors/test_record_ray.py

.DEFAULT_GOAL := help
.PHONY: help demo quick test check format docs coverage bench

help:  ## this list
	@echo "make TARGET; what a target needs is installed in $(VENV) first"
	@sed -nE 's/^([a-z]+):.*  ## (.*)/\1|\2/p' Makefile | awk -F'|' '{ printf "  %-10s %s\n", $$1, $$2 }'

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	# Machines without a screen may lack libGL, which opencv-python wants: take its twin without windows.
	$(BIN)/python -c "import cv2" 2>/dev/null || { \
	  $(BIN)/python -m pip uninstall --quiet --yes opencv-python && \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt opencv-python-headless; }
	touch $(STAMP)

demo: $(STAMP)  ## the main job on the shipped clip, offline
	$(BIN)/groundstream demo

quick: $(STAMP)  ## lint, format and the quick tests: under a minute, no servers, no Ray
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) $(SIDE_BY_SIDE) -q -m "not slow and not server and not alone"

test: $(STAMP)  ## all tests; installs the servers that some of them need where it can
	sh tests/servers/install.sh
	$(PYTEST) $(SIDE_BY_SIDE) -m "not alone" $(RAY_TESTS:%=--ignore=%)
	$(PYTEST) -m alone $(RAY_TESTS:%=--ignore=%)
	for file in $(RAY_TESTS); do $(PYTEST) $$file || exit 1; done

check: $(STAMP)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## mend what lint and format can mend themselves
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## docs/options.md anew, after an option or its text has changed
	$(BIN)/python -m groundstream.pipeline.config.reference > docs/options.new
	mv docs/options.new docs/options.md

coverage: $(STAMP)  ## what the tests reach that start no servers, no Ray, no whole runs; fails below the floor
	$(PYTEST) $(SIDE_BY_SIDE) -q -m "not server and not alone" $(RAY_TESTS:%=--ignore=%) --ignore=tests/pipeline/runs \
	  --ignore=tests/test_package.py --cov --cov-report=term:skip-covered

bench: $(STAMP)  ## benchmarks, both sides in one run each
	$(BIN)/python benchmarks/pipeline_speed.py
	$(BIN)/python benchmarks/against_script.py
	$(BIN)/python benchmarks/grounder_speed.py
	$(BIN)/python benchmarks/glip_speed.py
	$(BIN)/python benchmarks/nano_speed.py plain
	$(BIN)/python benchmarks/temporal_speed.py
	$(BIN)/python benchmarks/recording_cost.py
	$(BIN)/python benchmarks/ray_speed.py
	$(BIN)/python benchmarks/ray_memory.py
