# Two commands do everything on a fresh machine, each with its own set-up: `make demo` and `make test`.
# .ci/run runs what a change must pass; `make everything` runs all that exists.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRA ?= torch
DEMO := build/demo/digits.msgpack

# uv reads its own settings only: it looks for packages where pip is configured to look, and chooses as pip does.
pip_setting = $(or $(PIP_$(1)),$(shell $(PYTHON) -m pip config get global.$(2) 2>/dev/null))
ifndef UV_FIND_LINKS
export UV_FIND_LINKS := $(call pip_setting,FIND_LINKS,find-links)
endif
ifndef UV_EXTRA_INDEX_URL
export UV_EXTRA_INDEX_URL := $(call pip_setting,EXTRA_INDEX_URL,extra-index-url)
endif
export UV_INDEX_STRATEGY ?= unsafe-best-match
# Where PYTHONDONTWRITEBYTECODE is set, each process would compile TensorFlow again, which takes 9 s.
export UV_COMPILE_BYTECODE ?= 1

.PHONY: setup demo test docs lint faults alone-one peers xla sweep alone every-peer fleet fuzz bench everything clean

# Two processes of pytest with two threads each: OpenBLAS's wait for one another, and numpy took up to ten times longer.
test docs faults sweep: export OMP_NUM_THREADS ?= 1

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --editable ".[all,report,docs,test,dev]"
	touch $(READY)

demo: setup
	$(BIN)/se-resnet demo --out build/demo

test: setup
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not faults and not sweep"

# The examples, the notebooks, and the site; a warning fails, and so does a link to a page or heading that is missing.
docs: setup $(DEMO)
	$(BIN)/pytest -p parity_tests.support.documentation --numprocesses 2 --dist loadfile --timeout 600 README.md docs
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/sphinx-build --builder html --fail-on-warning --quiet docs build/docs/html
	$(BIN)/sphinx-build --builder linkcheck --fail-on-warning --quiet --doctree-dir build/docs/html/.doctrees \
		docs build/docs/links

$(DEMO): | setup
	$(BIN)/se-resnet demo --out build/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: setup
	$(BIN)/pytest --numprocesses 2 -m "faults and not sweep" --timeout 900

alone-one: setup
	$(BIN)/nox --sessions "alone(extra='$(EXTRA)')"

peers: setup
	$(BIN)/nox --sessions peers keras_peers

xla: setup
	$(BIN)/nox --sessions torch_xla

sweep: setup
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m sweep --timeout 900

alone: setup
	$(BIN)/nox --sessions alone

every-peer: setup
	EVERY_PEER=1 $(BIN)/nox --sessions peers keras_peers

fleet: setup
	$(BIN)/nox --sessions ray

fuzz: setup
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m fuzz.run --seconds 60 --json build/fuzz.json
	$(BIN)/nox --sessions fuzz -- -max_total_time=10

bench: setup
	$(BIN)/nox --sessions bench

everything:
	$(MAKE) lint
	$(MAKE) faults
	EVERY_ARCHITECTURE=1 $(MAKE) sweep
	$(MAKE) alone
	$(MAKE) every-peer
	$(MAKE) fleet
	$(MAKE) fuzz
	$(MAKE) xla
	$(MAKE) demo
	$(MAKE) docs
	$(MAKE) test

clean:
	rm -rf build .nox $(VENV)
