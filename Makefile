# `make help` lists the targets. PYTHON, PORT, WORKERS, PYTEST and TORCH_INDEX may be set: make run PORT=8000
PYTHON ?= python3
PORT ?= 7860
VENV := .venv
BIN := $(VENV)/bin
# Processes of the tests; 0 runs them in one, in which a debugger works.
WORKERS ?= 2
# Further options of pytest: make test PYTEST='-k zoo'
PYTEST ?=
# Index of the wheels of torch, for example the CPU-only one that pytorch.org names; empty: pip's own.
TORCH_INDEX ?=
# A file of exact versions to install, for example constraints.txt; empty: the newest that fit.
CONSTRAINTS ?=
PIN := $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
# Tools that look at what is installed from outside, so that they are not among it.
TOOLS := .venv-tools
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help
.PHONY: help install run test test-fast test-looks coverage check format browser data models reproduce verify tables charts examples soak fuzz constraints audit sbom hints screenshots

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; got " + sys.version)'
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	[ -z "$(TORCH_INDEX)" ] || $(BIN)/pip install $(PIN) --index-url "$(TORCH_INDEX)" torch torchvision
	$(BIN)/pip install --disable-pip-version-check $(PIN) -e .
	touch $@

$(VENV)/.installed-train: $(VENV)/.installed
	$(BIN)/pip install --disable-pip-version-check $(PIN) -e '.[train]'
	touch $@

# torchattacks pins an old version of requests that it needs for downloads only, hence --no-deps
$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --disable-pip-version-check $(PIN) -e '.[dev]'
	$(BIN)/pip install --disable-pip-version-check --no-deps 'torchattacks==3.5.1'
	touch $@

install: $(VENV)/.installed ## make the virtual environment and install NLS Lab

run: install ## set up everything and serve the app at port 7860
	NLS_PORT=$(PORT) $(BIN)/python app.py

browser:
	@command -v chromium >/dev/null || { $(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends chromium chromium-driver fonts-dejavu-core; }

test: $(VENV)/.installed-dev browser ## set up everything and run all tests
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST)

test-fast: $(VENV)/.installed-dev ## the tests without browser, training and real app processes
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not browser and not training and not app'

test-looks: $(VENV)/.installed-dev browser ## the browser tests at both widths, each in both themes (`make test` takes two of the four)
	$(BIN)/python -m pytest tests/browser --looks four

coverage: ## all tests, and which lines of nls_core they reach; fewer than 95 % fail
	$(MAKE) test PYTEST=--cov

check: $(VENV)/.installed-dev ## lint, format, types (of code, tests and scripts) and import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

format: $(VENV)/.installed-dev ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

data: ## install Fashion-MNIST from Debian's package (elsewhere `nls train` says how to download it)
	$(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends dataset-fashion-mnist

models: $(VENV)/.installed-train data ## train the Fashion-MNIST models again, one seed (hours)
	$(BIN)/nls train --grid fashion

SEEDS ?= 3
reproduce: $(VENV)/.installed-dev data browser ## make all evidence again, from the data to the findings (a day)
	@echo 'This runs, on one core of a small server (two cores: about half, with JOBS=2):'
	@echo '  1. nls train --grid fashion --seeds $(SEEDS)   searches, ablations, 9 cells: 8 to 14 hours'
	@echo '  2. nls evaluate --family fashion        attacks and all else: 15 to 20 minutes for each of the runs'
	@echo '  3. ... --baselines, --aberrations       what the claims are held against, wrong labels and long tails: 7 and 4 hours'
	@echo '  4. nls bench, measure_hints.py          the price of partial padding, hints of pictures of no class: minutes'
	@echo '  5. nls findings fashion                 docs/findings.md: seconds'
	@echo '  6. make_golden.py, make tables          what tests compare; tables of README and docs: seconds'
	@echo '  7. make charts                          the images of README and findings: a minute'
	@echo 'Stop it at any time; the same command goes on where it was.'
	$(BIN)/nls train --grid fashion --seeds $(SEEDS) --jobs $(or $(JOBS),1)
	$(BIN)/nls evaluate --family fashion
	$(BIN)/nls train --grid fashion --baselines --jobs $(or $(JOBS),1)
	$(BIN)/nls train --grid fashion --aberrations --jobs $(or $(JOBS),1)
	$(BIN)/nls bench --json > models/fashion/bench.json
	$(BIN)/python scripts/measure_hints.py
	$(BIN)/nls findings fashion
	$(BIN)/python scripts/make_golden.py
	$(MAKE) tables charts

verify: $(VENV)/.installed-train data ## measure the shipped models anew and compare with the committed report (an hour)
	$(BIN)/nls verify

tables: install ## write the tables of README and docs, and the model cards, anew from the reports
	$(BIN)/python scripts/make_tables.py
	$(BIN)/python scripts/make_cards.py

hints: install data ## measure anew when fashion's models say that a picture is perhaps no clothing (minutes)
	$(BIN)/python scripts/measure_hints.py

screenshots: $(VENV)/.installed-dev browser ## take the pictures of README and previews anew, from the real app (a minute)
	$(BIN)/python scripts/make_screenshots.py

examples: install ## measure the examples with the opening pairs, and choose what the page opens with (minutes)
	$(BIN)/python scripts/measure_examples.py

charts: $(VENV)/.installed-dev browser ## draw the charts of README and findings as images
	$(BIN)/python scripts/make_charts.py

# Results of the long tests, of which docs/reliability.md shows the tables.
RESULTS := runs/reliability
REQUESTS ?= 10000
SECONDS ?= 600

soak: $(VENV)/.installed-dev ## the long tests: mixed load, overload, fuzzing; an hour, nothing else running
	$(BIN)/python -m tests.security.corpus $(RESULTS)/files
	$(BIN)/nls soak --requests $(REQUESTS) --files $(RESULTS)/files/hostile --json > $(RESULTS)/soak.json
	$(BIN)/nls soak --overload --json > $(RESULTS)/overload.json
	$(BIN)/python -m tests.helpers.described 500 > $(RESULTS)/rest.json
	$(MAKE) fuzz
	$(BIN)/python scripts/make_reliability.py $(RESULTS)

fuzz: $(VENV)/.installed-dev ## mutate pictures for the decoder, guided by the lines that they reach; 10 minutes
	$(BIN)/pip install --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.security.corpus $(RESULTS)/files
	$(BIN)/python scripts/fuzz_decoder.py $(RESULTS)/files/sound --seconds $(SECONDS) > $(RESULTS)/fuzz.json

constraints: $(VENV)/.installed-dev ## write constraints.txt anew: the exact versions that are installed
	$(BIN)/python scripts/make_constraints.py

$(TOOLS)/.installed:
	[ -x $(TOOLS)/bin/python ] || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --disable-pip-version-check 'pip-audit>=2.9' 'cyclonedx-bom>=7'
	touch $@

# --strict: without the advisories, as off the network, it fails rather than finds nothing
audit: $(TOOLS)/.installed ## ask PyPI for known weaknesses of the versions in constraints.txt
	$(TOOLS)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

sbom: install $(TOOLS)/.installed ## list what is installed, in sbom.json (CycloneDX)
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json $(BIN)/python
