# make demo: two parties and a dealer train one model on this machine.   make test: everything that must hold.
# make docs: the documentation as a site, in build/site.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo docs test clean

setup: $(STAMP)

$(STAMP): pyproject.toml hatch_build.py $(wildcard amint_mpc/mpc/ring/*.c)
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,docs,two-party]'
	touch $(STAMP)

demo: setup
	$(BIN)/amint-mpc demo

docs: setup
	$(BIN)/mkdocs build --strict

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
