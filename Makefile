# A newcomer's two commands: `make train` and `make test`. Everything lands in .venv beside this file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
RECIPE := setup.py setup.cfg pyproject.toml constraints.txt plugins/read/pyproject.toml rlenhance/engine/render.c rlenhance/engine/pyramid.c rlenhance/engine/convolve.c rlenhance/engine/lookup.c rlenhance/engine/kernels.c rlenhance/engine/compiled.h

.PHONY: train test test-slow evidence stress lint docs bench networks results screenshots extras changes clean

train: $(VENV)/.core          ## learn on the bundled sample photographs (two to five minutes)
	$(BIN)/python -m experiments.lol_train

test: $(VENV)/.dev            ## the test suite (about five minutes)
	$(BIN)/python -m pytest -n 2 -m "not slow and not statistical"

test-slow: $(VENV)/.dev       ## what is slow: every command and example of the pages, notebooks, processes, killed trainings
	$(BIN)/python -m pytest -n 2 -m "slow and not statistical"

evidence: $(VENV)/.dev        ## learners reach their scores, over seeds; log in runs/evidence.xml
	$(BIN)/python -m pytest -m statistical -rA --junitxml=runs/evidence.xml

# the packages as the wheel has them, for what reads them without importing: linters, the documentation
TREE := $(VENV)/tree
LAY_TREE = rm -rf $(TREE) && mkdir -p $(TREE) && cp -pr rlenhance research benchmarks plugins/read/rlenhance_read $(TREE) && \
	cp -pr envs agents experiments $(TREE)/rlenhance

MINUTES ?= 10
stress: $(VENV)/.dev          ## laws that hold for any input, tried for MINUTES=60 (docs/security.md); report in runs/stress
	$(BIN)/python -m tests.stress --minutes $(MINUTES)

lint: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(LAY_TREE)
	cd $(TREE) && PYTHONPATH=. ../../$(BIN)/lint-imports --config ../../pyproject.toml
	cd $(TREE) && ../../$(BIN)/python -m mypy --config-file ../../pyproject.toml -p rlenhance -p rlenhance_read -p research -p benchmarks

docs: $(VENV)/.docs           ## the documentation as a site that opens offline: site/index.html
	$(LAY_TREE)
	$(BIN)/mkdocs build --strict -q

bench: $(VENV)/.core          ## what training costs, side by side, into runs/benchmarks (docs/results/benchmarks.md)
	$(BIN)/python -m benchmarks

networks: $(VENV)/.core       ## how each shipped network was trained: time, seed and commands, from the cards
	$(BIN)/python -m research.networks

results: $(VENV)/.core        ## the tables of the pages from docs/results/tables; research/results.py takes new ones
	$(BIN)/python -m research.results

screenshots: $(VENV)/.dev     ## the pictures of the web page in docs/images/page, made anew by its tests in a Chromium
	RLENHANCE_SCREENSHOTS=docs/images/page $(BIN)/python -m pytest tests/unit/test_demo_browser.py

extras: $(VENV)/.dev          ## each extra alone in a fresh environment: its size, and a command that uses it
	$(BIN)/python -m tests.support.extras

changes: $(VENV)/.dev         ## what is not released yet, of the files in changes/
	$(BIN)/towncrier build --draft --version "not released yet"

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 14) else f'rlenhance needs Python 3.11 to 3.14; $(PYTHON) is {v.major}.{v.minor}: name another one, make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "venv is missing: on Debian, apt-get install python3-venv"; exit 1; }

$(VENV)/.core: $(VENV)/bin/python $(RECIPE)
	$(INSTALL) -e ".[train]"
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(INSTALL) -e ".[dev]" -e plugins/read
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(INSTALL) -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info plugins/*/build plugins/*/*.egg-info
