# make demo: set up and animate the bundled example.   make test: set up and run the tests.
# make long: what proves scale alone.   make slow: SVD's full size: 12 GiB of memory, about five minutes on two cores.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# make package: wheel and sdist in dist/.
.PHONY: install demo test long slow check format package clean
install: $(VENV)/.ready
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sfv needs Python 3.11 or newer; set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.ready: $(VENV)/.core
	$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/.core
	@$(BIN)/sfv compare --out out/demo --overwrite

# Two processes of one thread each; a file is the work of one of them.
SHARED := -n 2 --dist loadfile --no-loadscope-reorder
test: install
	$(BIN)/python -m pytest $(SHARED) --ignore=tests/speed
	$(BIN)/python -m pytest $(SHARED) tests/speed  # alone: after OpenVINO, bf16 training in the same process crashed

long: install
	$(BIN)/python -m pytest $(SHARED) -m long

slow: install
	$(BIN)/python -m pytest -m slow

check: install
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy

format: install
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

package: install
	$(BIN)/python -m build --no-isolation --outdir dist .

clean:
	rm -rf $(VENV) out build dist
