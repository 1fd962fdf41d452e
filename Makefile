# Every chore is one word. The virtual environment is made on first use and renewed when its inputs change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 15500
DATA ?= ./synap-data
# Many tests wait for servers: one worker more than there are CPUs keeps these busy.
WORKERS ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))

.PHONY: serve test cluster check format docs bench bench-all growth audit soak clean sdk sdk-python sdk-typescript
.DEFAULT_GOAL := help

help:
	@echo "make serve [PORT=15500] [DATA=./synap-data]   run a server"
	@echo "make test    all tests           make check   lint, types, layers, generated docs"
	@echo "make cluster failovers of real servers, a minute or two"
	@echo "make bench   measure beside peers, 8 to 9 minutes; make bench-all   every part, about 20 minutes"
	@echo "make growth  how it grows, 7 minutes    make soak    long crash and fuzz runs"
	@echo "make audit   known vulnerabilities of dependencies"
	@echo "make sdk     renew what is generated of the kits; make sdk-python, make sdk-typescript   test them"
	@echo "make docs    renew docs/commands.md           make format  renew formatting"

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Synap needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime sdk/python/pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' -e sdk/python
	touch $@

serve: $(VENV)/.runtime
	@exec $(BIN)/synap serve --port $(PORT) --data $(DATA)

test: $(VENV)/.dev
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# Servers that are killed, cut off, slowed down and promoted: they need the machine for themselves.
cluster: $(VENV)/.dev
	$(BIN)/pytest -m 'cluster and not soak' -n 2 --dist worksteal tests/replication

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m synap.commands --check docs/commands.md
	$(BIN)/mypy --config-file sdk/python/pyproject.toml sdk/python/src sdk/python/examples
	$(BIN)/python -m sdk.generate --check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/python -m synap.commands docs/commands.md

sdk: $(VENV)/.dev
	$(BIN)/python -m sdk.generate

sdk-python: $(VENV)/.dev
	$(BIN)/python -m pytest -c sdk/python/pyproject.toml --rootdir=. -n 2 sdk/python/tests

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks --markdown benchmarks/RESULTS.md

bench-all: $(VENV)/.dev
	$(BIN)/python -m benchmarks --all --markdown benchmarks/RESULTS.md

growth: $(VENV)/.dev
	$(BIN)/python -m benchmarks.parts.growth

# Not part of check: it asks a public database of advisories, which is not reachable from everywhere.
audit: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r constraints.txt

soak: $(VENV)/.dev
	$(BIN)/pytest -m soak -n 2

# Installs, builds, checks and tests the TypeScript kit.
sdk-typescript: $(VENV)/.runtime sdk/typescript/node_modules/.installed
	cd sdk/typescript && npm run --silent build && npm run --silent check && npm run --silent package-check && npm test --silent

sdk/typescript/node_modules/.installed: sdk/typescript/package.json
	cd sdk/typescript && npm install --silent
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
