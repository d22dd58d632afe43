# make run     serve from this checkout; the first start makes .venv (ARGS="--port 9000" goes to `rooya.py serve`)
# make test    every test, with its own set-up of the machine (PYTEST_ARGS="-k front -x")
# make lint    formatter, linter, types
# make crash   50 rounds of kill -9 under load (a few of them are in `make test`)
# make soak    20 crowds of 500 calls on a budget for few, one process and three, kill -9 among them
# make fuzz    the management API and the calls by schemathesis, at length
# make size    the ledger with ten million rows: start, reports, pages, batches (ARGS="--rows 1000000 --dir /var/tmp/x")
# make bench   CPU per request beside nginx, on this machine (PEERS=litellm for a side-by-side)
# make screenshots  take the README's pictures anew
# make lock    renew both lock files from setup.cfg
# PYTHON=/path/to/python3.x chooses the interpreter of .venv, else the distribution's or the first suitable one.

ARGS ?=
PYTEST_ARGS ?=
PEERS ?=
PYTHON ?=
export PYTHON PEERS

VENV := .venv/bin/python
ROOMS := rooya.py handlers providers limits store

.PHONY: run test lint crash soak fuzz size bench screenshots lock

run:
	@.ci/venv runtime
	@exec $(VENV) rooya.py serve $(ARGS)

test:
	@.ci/machine python redis-server nginx node npm chromium
	@.ci/venv dev
	@.ci/node-sdk
	@exec $(VENV) -m pytest $(PYTEST_ARGS)

lint:
	@.ci/machine python
	@.ci/venv dev
	@$(VENV) -m ruff check --quiet .
	@$(VENV) -m ruff format --check --quiet . || { $(VENV) -m ruff format --check .; exit 1; }
	@$(VENV) -m mypy --no-error-summary $(ROOMS)

crash:
	@.ci/machine python
	@.ci/venv dev
	@CRASH_ROUNDS=50 exec $(VENV) -m pytest --timeout 600 tests/sdk/test_ledger_crash.py

soak:
	@.ci/machine python redis-server
	@.ci/venv dev
	@SOAK_ROUNDS=20 exec $(VENV) -m pytest tests/sdk/test_shared_limits.py

fuzz:
	@.ci/machine python
	@.ci/venv dev
	@FUZZ_EXAMPLES=500 exec $(VENV) -m pytest -k keeps_what_it_says tests/sdk/test_reference.py

size:
	@.ci/machine python
	@.ci/venv dev
	@exec $(VENV) tests/bench/ledger_size.py $(ARGS)

bench:
	@.ci/machine python redis-server nginx wrk
	@.ci/venv dev
	@exec $(VENV) tests/bench/run.py $(ARGS)

screenshots:
	@.ci/machine python node npm chromium
	@.ci/venv dev
	@.ci/node-sdk
	@exec $(VENV) tests/screenshots/take.py

lock:
	@.ci/venv dev
	@.ci/lock
