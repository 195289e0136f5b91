# make demo: two parties train one model on this machine.   make test: everything that must hold.
# make docs: the documentation as a site, in build/site.
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed
TEST_SETUP := $(VENV)/.installed-test
SOURCES := pyproject.toml hatch_build.py $(wildcard amint_mpc/mpc/*/*.[ch])
PIP_INSTALL = test -x $(BIN)/python || python3 -m venv $(VENV); $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: setup test-setup demo test docs clean

setup: $(SETUP)  # the program alone: enough for a run and for the demo

test-setup: $(TEST_SETUP)  # with all that the tests and the documentation need

$(SETUP): $(SOURCES)
	$(PIP_INSTALL) -e .
	touch $@

$(TEST_SETUP): $(SOURCES)
	$(PIP_INSTALL) -e '.[test,docs]'
	touch $(SETUP) $@

demo: setup
	$(BIN)/amint-mpc demo

test: test-setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest

docs: test-setup  # warnings are errors; `make test` builds it as well
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
