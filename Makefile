# make demo                  sample, check, train, classify and serve on generated photos, offline
# make demo DEMO=--no-serve  the same without serving at the end
# make test                  lint, types, tests
# make lock                  requirements.txt and requirements-gpu.txt, with hashes, from requirements-bento.txt
# make bench                 the benchmarks, peers included; BENCH=--quick, BENCH=--photos=FOLDER

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?=
BENCH ?=
PEERS := benchmarks/.envs/peers

.PHONY: demo test bench lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/handful demo $(DEMO)

test: $(VENV)/.installed-dev .types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

bench: $(VENV)/.installed-dev $(PEERS)/.installed
	$(BIN)/python -m benchmarks $(BENCH)

# Takes the hashes of the pinned versions from the index that pip is configured with; installs nothing.
lock: $(VENV)/bin/python
	$(BIN)/python .ci/lock.py

# The libraries that handful is compared with, in an environment of their own: about 6 GB.
$(PEERS)/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement $<
	touch $@

# mypy reads the installed layout, in which service and training lie below handful.
.types:
	mkdir -p .types/handful
	ln -sfn ../../handful/__init__.py ../../handful/__main__.py ../../handful/py.typed .types/handful/
	ln -sfn ../../service ../../training .types/handful/

# Installed once, and again only when pyproject.toml changes.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .types build dist *.egg-info demo benchmarks/.envs benchmarks/.cache
