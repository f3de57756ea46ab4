# Everything here needs only Python 3.11 or newer, make, and (once) a package index.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO = sample_models/digits_resnet

.PHONY: demo test lint bench emulator docs format clean

demo: $(VENV)/installed  ## convert a sample model and print the report
	$(BIN)/qconvert convert $(DEMO)/digits_resnet.onnx -r $(DEMO)/recipe.yaml -d $(DEMO) -o out/demo

test: lint  ## lint, type-check, and run all tests
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-dev  ## calibration, conversion, latency and accuracy beside onnxruntime's quantizer
	$(BIN)/python -m tests.bench

emulator: $(VENV)/installed  ## other cores for `verify: emulate`: downloads about 100 MB into the cache of the user, where it is not there yet
	$(BIN)/qconvert emulator status | grep -q "cortex-a76.*\(ready\|native\)" || $(BIN)/qconvert emulator setup

docs: $(VENV)/installed  ## write the reference pages anew from the code
	$(BIN)/python docs/reference.py

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/installed
