# The doors of the project. tests/setup brings what they need; VENV names another virtual environment than .venv.
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
export VENV

.PHONY: help check test chaos races simulate lint format types docs picture demo bench lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: ## all that a change must pass: lint, types, tests
	.ci/run

test: ## the tests; make test ARGS="tests/unit -k money"
	tests/run $(ARGS)

races: $(BIN)/python ## 500 callers at once where there is room for seven, two hundred times; make races ARGS="--runs 20"
	$(BIN)/python -m tests.races $(ARGS)

simulate: $(BIN)/python ## an hour of 20 gateways before 5 bad providers, twenty times; a table and simulation.png; ARGS="--seeds 1 2"
	$(BIN)/python -c 'import matplotlib' 2>/dev/null || $(BIN)/pip install -q --require-hashes -r requirements-plot.lock
	$(BIN)/python -m tests.simulation $(ARGS)

chaos: $(BIN)/python ## kill, freeze and set back everything for ten minutes, and judge; ARGS="--seconds 60" or "--outages 60"
	$(BIN)/python -m tests.chaos $(ARGS)

lint: $(BIN)/ruff ## ruff's rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(BIN)/ruff ## write the code as ruff wants it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(BIN)/mypy ## mypy, strict
	$(BIN)/mypy

docs: $(BIN)/python ## write the generated tables of README.md and deploy/env.example anew
	$(BIN)/python -m tests.readme

picture: $(BIN)/python ## rooms and floors of the source, as text
	$(BIN)/python -m tests.architecture

demo: $(BIN)/python ## gateway demo from this tree
	$(BIN)/python -m gateway demo

bench: $(BIN)/python ## measure; two cores and a C compiler, nginx if there is one; make bench ARGS="--rounds 9"
	$(BIN)/python bench/run.py $(ARGS)

lock: $(BIN)/pip-compile ## write the lock files anew; make lock ARGS=--upgrade takes the newest versions
	.ci/lock $(ARGS)

$(BIN)/%:
	tests/setup
