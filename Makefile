# Every target that runs something makes .venv first, and reuses it afterwards. Needs Python 3.11 or newer, and make.
VENV := .venv
PY := $(VENV)/bin/python
DEMOS := examples/eight_schools.py examples/vae_digits.py examples/reinforce_cartpole.py
PACKAGES := ppl ppl_dist inference

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test bench docs lint types format clean

help: ## list these targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed-examples ## run the three example programs; their pictures go to out/
	@for program in $(DEMOS); do \
	    printf '\n== %s\n' "$$program"; \
	    $(PY) "$$program" || { echo "make demo: $$program failed" >&2; exit 1; }; \
	done
	@printf '\nAll three programs checked their own answers. The pictures lie in out/:\n'
	@ls out

test: $(VENV)/.installed-test lint types ## lint, types, and every test, doctest and documentation block
	$(PY) -m pytest -n 2

bench: $(VENV)/.installed-bench ## measure against the peers, one thread, and print the table of ratios
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m benchmarks

docs: $(VENV)/.installed-docs ## run every code block of the README and of docs/
	$(PY) -m pytest tests/test_docs.py

lint: $(VENV)/.installed-test ## ruff (lint and format) and codespell
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/codespell

types: $(VENV)/.installed-test ## mypy --strict over the three packages
	$(PY) -m mypy --strict $(PACKAGES)

format: $(VENV)/.installed-test ## rewrite the code as ruff wants it
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean: ## remove out/, caches and build leftovers; the environment stays
	rm -rf out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(PACKAGES) tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The environment.

# `make test PYTHON=/path/to/python` chooses the interpreter; otherwise the first usable one of these is taken.
CANDIDATES = $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14)
PROBE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
USABLE = $(shell for p in $(CANDIDATES); do "$$p" -c '$(PROBE)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
NO_PYTHON = no Python >= 3.11 with venv among: $(CANDIDATES). Install Python 3.11 (on Debian also python3.11-venv), \
or name one: make PYTHON=/path/to/python3.11

# --clear, because a leftover environment whose interpreter is gone cannot be completed.
$(PY):
	@$(or $(USABLE),$(error $(NO_PYTHON))) -m venv --clear $(VENV)

EXTRAS_examples := examples
EXTRAS_test := test,examples
EXTRAS_bench := bench
EXTRAS_docs := docs

# The stamps remember which extras are in; pip only adds, so one target's extras never remove another's.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(PY)
	@echo "Installing ppl[$(EXTRAS_$*)] into $(VENV); the first time takes a few minutes."
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS_$*)]'
	@touch $@
