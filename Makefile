# Python 3.11 or later and make are all that this needs: everything else goes into .venv, at the versions and hashes
# of requirements.lock (0.5 GB to serve, 0.9 with tests and tools). A later run starts at once.
#
#   make run     serve on http://localhost:8000
#   make test    the whole test suite                    make test ARGS="tests/unit -x" JOBS=0
#   make check   format, lint, types, import contracts, shape, generated docs
#   make bench   the benchmarks                          make bench ARGS="--help"
#   make chaos   three servers, and everything that can die, dies     make chaos SECONDS=600 SEED=7
#   make screenshots  draw docs/images anew
#   make lock    write requirements.lock anew            make lock ARGS="--upgrade"
#   make clean   remove .venv and caches; your data in .parley stays

PYTHON ?= python3
ARGS ?=
SECONDS ?= 60
SEED ?=
# Processes that test side by side, each with servers of its own: on two cores three, since many tests wait.
JOBS ?= 3

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
SERVING := $(VENV)/.serving
INSTALLED := $(VENV)/.installed
TYPED := $(wildcard app.py parley providers data_layer tests benchmarks)

.PHONY: run test check bench screenshots chaos lock clean

run: $(SERVING)
	exec $(BIN)/python -m parley serve $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --max-worker-restart=0 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/shape
	$(BIN)/python -m parley.settings.docs --check
	$(BIN)/hadolint Dockerfile

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(ARGS)

chaos: $(INSTALLED)
	$(BIN)/python -m tests.e2e.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

screenshots: $(INSTALLED)
	$(BIN)/python -m tests.screenshots

lock: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --all-extras \
		--group dev pyproject.toml -o requirements.lock $(ARGS)

clean:
	rm -rf $(VENV) dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Parley needs Python 3.11 or later. '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make run PYTHON=python3.12" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module does not work here. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# pip comes with the venv and reads the machine's pip configuration; it installs uv as the lock has it.
$(UV): | $(BIN)/python
	@echo "Installing uv into $(VENV)"
	@awk '/^[^ #]/ { keep = /^uv==/ } keep' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r $(VENV)/uv.txt

# uv does not read pip's configuration: an index that pip was told to use is handed on.
PIP = index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; $(UV) pip
PARLEY = $(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .

# Without the tools of the tests, of which some are there as source alone for new Pythons: nobody needs a compiler to serve.
$(SERVING): requirements.lock pyproject.toml | $(UV)
	@echo "Installing what serves into $(VENV)"
	@$(PIP) install --quiet --python $(BIN)/python --require-hashes --all-extras --group build \
		--requirements pyproject.toml --constraints requirements.lock
	@$(PARLEY)
	@touch $@

$(INSTALLED): requirements.lock pyproject.toml | $(UV)
	@echo "Installing the packages of requirements.lock into $(VENV)"
	@$(PIP) sync --quiet --python $(BIN)/python requirements.lock
	@$(PARLEY)
	@touch $@
