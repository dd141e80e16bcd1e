# make demo                  sample, check, train, classify and serve on generated photos, offline
# make demo DEMO=--no-serve  the same without serving at the end
# make test                  lint, types, and the tests but the slow ones: some minutes
# make test-slow             the slow tests: kills, fine-tuning, 8-bit, pretraining, long attacks
# make lock                  requirements.txt, -gpu.txt and -lean.txt, with hashes, from requirements-bento.txt
# make bench                 the benchmarks, peers included; BENCH=--quick, BENCH=--photos=FOLDER

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?=
BENCH ?=
# Each process would spend five seconds on these two, which only slow tests use.
FAST := -p no:schemathesis -p no:hypothesispytest --ignore tests/attack/test_requests_by_schema.py
PEERS := benchmarks/.envs/peers

.PHONY: demo test test-slow bench lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/handful demo $(DEMO)

# Takes the hashes of the pinned versions from the index that pip is configured with; installs nothing.
lock: $(VENV)/bin/python
	$(BIN)/python .ci/lock.py

test: $(VENV)/.installed-dev .types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "Running the tests: some minutes, a dot per test; types are checked beside them and told at the end ..."
	@$(BIN)/mypy > .types/found 2>&1 & mypy=$$!; trap 'kill $$mypy 2>/dev/null' EXIT; trap 'exit 130' INT TERM; \
	$(BIN)/python -m pytest -m "not slow" $(FAST) --numprocesses auto --maxprocesses 4 --dist loadfile; tests=$$?; \
	wait $$mypy; types=$$?; cat .types/found; exit $$((tests || types))

test-slow: $(VENV)/.installed-dev
	@echo "Running the slow tests: some minutes ..."
	$(BIN)/python -m pytest -m slow --numprocesses auto --maxprocesses 4 --dist loadfile

bench: $(VENV)/.installed-dev $(PEERS)/.installed
	$(BIN)/python -m benchmarks $(BENCH)

# The libraries that handful is compared with, in an environment of their own: about 6 GB.
$(PEERS)/.installed: benchmarks/peers/requirements.txt
	@echo "Installing the libraries that handful is compared with: about 6 GB, many minutes, only this once ..."
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement $<
	touch $@

# mypy reads the installed layout, in which service and training lie below handful.
.types:
	mkdir -p .types/handful
	ln -sfn $(addprefix ../../,$(wildcard handful/*.py)) ../../handful/py.typed .types/handful/
	ln -sfn ../../service ../../training .types/handful/

# Installed once, and again only when pyproject.toml changes.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Making an environment in $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing handful and its libraries into $(VENV): some gigabytes, some minutes, only this once ..."
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@
	@echo "Installed."

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing handful, its libraries and the test tools into $(VENV): some minutes, only this once ..."
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed
	@echo "Installed."

clean:
	rm -rf $(VENV) .types build dist *.egg-info demo benchmarks/.envs benchmarks/.cache
