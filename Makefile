# Two commands do everything on a fresh machine with Python and make: `make demo` and `make test`.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.14 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
CRASH_TESTS := $(addprefix tests/acceptance/test_,crash_matrix.py crash_errors.py fault_points.py database_dies.py \
	disk_faults.py clock_jumps.py)

# Modules are compiled once, whatever the environment says: the tests start commands by the hundred.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo check test crashtest fuzz bench docs lint tools clean

# A simulated night, from raw to manifest, in ./demo.
demo: $(VENV)/.installed
	rm -rf demo
	$(BIN)/ledger demo demo

# Everything: style, types, import rules, and all tests on SQLite and on a real PostgreSQL.
test: lint tools
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST)

# For every day: style, types, import rules, and the tests of what changed since BASE, by the rooms that they lie in.
BASE ?= main
check: lint
	$(BIN)/python -m tests.changed $(BASE) $(PYTEST)

# The whole crash matrix, of which `make test` takes a sample: every fault point, errors of disk and database, both ways.
# TEST_CRASH_ROUNDS: kills at random instants, in each direction and on each database; TEST_CRASH_SEED: of the instants.
crashtest: $(VENV)/.installed-dev tools
	TEST_CRASH=all $(BIN)/python -m pytest -v -n auto $(CRASH_TESTS) $(PYTEST)

# Ever new files, names and configurations from outside, 300 times as many as in `make test`, or TEST_FUZZ times as named;
# the seed is printed, and `make fuzz SEED=…` repeats a run.
fuzz: SEED := $(shell od -An -N4 -tu4 /dev/urandom)
fuzz: $(VENV)/.installed-dev
	TEST_FUZZ=$(or $(TEST_FUZZ),all) $(BIN)/python -m pytest tests/fuzz --hypothesis-seed=$(strip $(SEED)) $(PYTEST)

# That each benchmark runs; how fast everything is, against the same done by tools, and whether the budgets hold: half an
# hour on a machine that does nothing else. It is written into docs/performance.md. (How right pairs and states are:
# benchmarks/accuracy.py.)
bench: $(VENV)/.installed-dev tools
	$(BIN)/python -m pytest tests/benchmarks/measured.py $(PYTEST)
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/report.py

# The pages of docs/, to browse in docs/_build/html and as manual pages in docs/_build/man. No other host is asked.
docs: $(VENV)/.installed-dev
	$(BIN)/python docs/build.py docs/_build

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# funpack and fitsverify judge the compressed files, chromium the pages; sshd and rsync are another host, and tmux is a
# terminal that closes. Installed where this may be done unasked (root on Debian); elsewhere the tests that need them are
# skipped by name, and on CI they fail.
TOOLS := fpack funpack fitsverify ssh ssh-keygen sshd rsync tmux chromium
PACKAGES := libcfitsio-bin fitsverify openssh-client openssh-server rsync tmux chromium
tools:
	@lacking=$$(PATH=$$PATH:/usr/sbin:/usr/local/sbin; for t in $(TOOLS); do command -v $$t >/dev/null || echo $$t; done); \
	if [ -z "$$lacking" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES) >/dev/null; \
	else echo "missing:" $$lacking "(Debian: $(PACKAGES)): their tests are skipped"; fi

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "no Python of at least 3.11 with venv and pip was found (Debian: python3-venv);" \
		"name one: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml hatch_build.py $(wildcard stages/fits/*.c)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.python pyproject.toml hatch_build.py $(wildcard stages/fits/*.c)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo dist docs/_build docs/_generated .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
