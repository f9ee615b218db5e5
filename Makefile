# Two commands do everything on a fresh machine, each with its own set-up: `make demo` and `make test`.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test sweep faults alone peers fleet fuzz xla bench lint clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[all,report,test,dev]"
	touch $(READY)

demo: setup
	$(BIN)/se-resnet demo --out build/demo

test: setup
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "not faults and not sweep"

sweep: setup
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m sweep --timeout 900

faults: setup
	$(BIN)/pytest --numprocesses 2 -m faults --timeout 900

alone: setup
	$(BIN)/nox --sessions alone

peers: setup
	$(BIN)/nox --sessions peers keras_peers

fleet: setup
	$(BIN)/nox --sessions ray

fuzz: setup
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m fuzz.run --seconds 60 --json build/fuzz.json
	$(BIN)/nox --sessions fuzz -- -max_total_time=10

xla: setup
	$(BIN)/nox --sessions torch_xla

bench: setup
	$(BIN)/nox --sessions bench

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf build .nox $(VENV)
