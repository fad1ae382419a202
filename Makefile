PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RAY_TESTS := $(wildcard tests/pipeline/executors/test_ray_*.py) tests/pipeline/executors/test_record_ray.py

.PHONY: demo test check bench format

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

test: $(STAMP)  ## all tests; installs the servers that some of them need where it can
	sh tests/servers/install.sh
	$(BIN)/python -m pytest $(RAY_TESTS:%=--ignore=%)
	# One process for each: clusters are killed in them, and Ray ends a process that has lost its cluster.
	for file in $(RAY_TESTS); do $(BIN)/python -m pytest $$file || exit 1; done

check: $(STAMP)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

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
