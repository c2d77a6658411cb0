# Two commands do all the set-up: `make run` serves Kompas on its embedded Postgres,
# `make test` runs the tests. Everything lives in .venv; nothing else is needed but Python 3.11+.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test check docs openapi bench format lock clean

run: $(VENV)/.runtime ## Serve on 127.0.0.1:8000, on an embedded Postgres
	@exec $(BIN)/kompas serve $(ARGS)

# Tests start many processes: each would compile Kompas again where bytecode is not written.
test: $(VENV)/.development ## The fast suite (ARGS="-k name" for a part of it)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile \
		--no-loadscope-reorder $(ARGS)

check: $(VENV)/.development ## Lint, types, import contracts, freshness of generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy deploy/grafana
	$(BIN)/lint-imports
	$(BIN)/kompas openapi --check openapi.json
	$(BIN)/kompas docs --check docs/reference
	$(BIN)/python deploy/grafana/overview.py --check

docs: $(VENV)/.development ## Make the generated files again
	$(BIN)/kompas openapi --write openapi.json
	$(BIN)/kompas docs --write docs/reference
	$(BIN)/python deploy/grafana/overview.py

bench: $(VENV)/.development ## Hot paths beside their floors, as ratios of one run
	@$(BIN)/python -m tests.bench $(ARGS)

torture-%: $(VENV)/.development ## Break something on purpose (docs/reliability.md), such as torture-kill
	@$(BIN)/python -m tests.torture $* $(ARGS)

format: $(VENV)/.development
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/.development ## Pin every dependency again, with hashes
	@$(BIN)/python tests/tools/lock.py

clean:
	rm -rf $(VENV) build dist

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Kompas needs Python 3.11 or newer (python3 on PATH)." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing; on Debian: apt-get install python3-venv." >&2; exit 1; }

$(VENV)/.runtime: $(BIN)/python constraints.txt pyproject.toml
	@$(INSTALL) --require-hashes -r constraints.txt
	@$(INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/.development: $(BIN)/python constraints-dev.txt pyproject.toml
	@$(INSTALL) --require-hashes -r constraints-dev.txt
	@$(INSTALL) --no-deps --editable .
	@touch $@ $(VENV)/.runtime
