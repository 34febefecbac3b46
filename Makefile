# Everything happens in .venv, which is made when needed.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# The Python for the oldest versions that pyproject.toml allows: 3.10 where there is one
OLDEST_PYTHON ?= $(shell python3.10 -c 'import sys; print(sys.executable)' 2> /dev/null || echo $(PYTHON))
OLDEST := .venv-oldest

.PHONY: demo quick test test-slow test-oldest test-faults docs check format clean

demo: $(INSTALLED)
	$(BIN)/python -m tla.demo

quick: $(INSTALLED)
	$(BIN)/python -m pytest --quick -m 'not slow and not faults and not browser' --ignore tests/faults

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-slow: $(INSTALLED) test-oldest
	$(BIN)/python -m pytest -m slow

# What an old library warns of, or newer ones of it, is nobody's mistake: warnings stay warnings
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -W default

test-faults: $(INSTALLED)
	$(BIN)/python -m pytest -m 'faults or not slow' tests/faults

# In build/docs; needs no network
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) docs
	$(MAKE) test

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv $(OLDEST) build *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("tla needs Python 3.10 or newer; this is " + sys.version.split()[0] + " (make PYTHON=python3.11 ...)" if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(OLDEST)/.installed: pyproject.toml
	test -x $(OLDEST)/bin/python || $(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check --quiet uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	touch $@
