PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench format

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $(STAMP)

demo: $(STAMP)  ## the main job on the shipped clip, offline
	$(BIN)/python -m groundstream.pipeline.demo

test: $(STAMP)  ## all tests; installs the servers that some of them need where it can
	sh tests/servers/install.sh
	$(BIN)/python -m pytest

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
