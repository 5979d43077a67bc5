# What people type. Everything happens in .venv, made with the first suitable Python (or `make PYTHON=...`).
.DEFAULT_GOAL := help
.PHONY: help demo demo-kafka install test test-long test-all check generate bench clean

RUN := .venv/bin/python -m
JOBS ?= 3# test processes; most tests wait for a call at real pace
STAMP := .venv/installed

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## hear a call: caller, agent, transcript, summary (make demo ARGS="--say 'remind me to ...'")
	@$(RUN) calltape demo $(ARGS)

demo-kafka: $(STAMP) ## the same call through a real Apache Kafka, a real PostgreSQL and a process for each role
	@$(RUN) calltape demo --on kafka $(ARGS)

install: $(STAMP) ## make .venv with everything the demo and the tests need

test: $(STAMP) ## run the tests that take less than five minutes together
	@$(RUN) pytest -m "not long" -n $(JOBS) --dist loadfile $(ARGS)

# One after the other: each starts a house of processes, and kills them.
test-long: $(STAMP) ## run the rest: brokers, processes and browsers, started and killed
	@$(RUN) pytest -m long $(ARGS)

test-all: test test-long ## run all tests

check: $(STAMP) ## ruff, mypy and the import contracts
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@.venv/bin/python .venv/bin/lint-imports

generate: $(STAMP) ## write schema/json and the generated pages of docs/ anew
	@$(RUN) calltape.generate

bench: $(STAMP) ## run a benchmark: make bench NAME=log_append
	@test -n "$(NAME)" || { echo "calltape: say which: make bench NAME=<a file of benchmarks/ without .py>" >&2; exit 2; }
	@.venv/bin/python benchmarks/$(NAME).py $(ARGS)

clean: ## remove .venv and every cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build

# Wheels only: a missing one is a sentence of pip's, never a compiler's error.
$(STAMP): pyproject.toml constraints.txt
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) || exit 1; \
	{ test -x .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; } || \
		{ rm -rf .venv && "$$python" -m venv .venv; } || exit 1; \
	echo "calltape: installing into .venv ($$(.venv/bin/python --version))"; \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		-c constraints.txt -e '.[demo,dev]' || \
		{ echo "calltape: the packages could not be installed (see pip's words above); nothing else was changed." >&2; exit 1; }
	@touch $@
