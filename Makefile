# `make demo` and `make test` do their own set-up; they need Python 3.11 or newer, make and git.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# docker, or what takes its options, such as podman
CONTAINER ?= docker
IMAGE ?= serving-bench
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' bench/__init__.py)
REVISION := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
BUILD = $(CONTAINER) build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION)

# pip compiles one file after another, and half of them are tests of packages, or what nothing imports here
COMPILE = $(BIN)/python -W ignore -m compileall -q -x '/(tests|pip|lexers|mypy|mypyc|backrefs)/' $(VENV)/lib

# where the venvs of real servers are, 0.3 to 2 GB each
FOREIGN_VENVS ?= .foreign

.PHONY: demo test tests test-foreign lint docs image install lowest-locust clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "serving-bench needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (TensorFlow is large: some minutes on a slow line)"
	@# the pip of Python 3.11 takes three times the processor time to choose among versions
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --upgrade pip
	@# One core unpacks, another compiles what is there already: what was half written then has another size, and is compiled again below.
	@# pip shows the warnings of setuptools about editable packages.
	@(while kill -0 $$$$; do $(COMPILE); sleep 1; done) >/dev/null 2>&1 & \
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@$(COMPILE) -j 0 || true
	@touch $@

demo: install
	$(BIN)/locust -f scenarios/mnist.py --headless -u 16 -r 16 -t 20s --note demo
	$(BIN)/bench report results/

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md bench docs scenarios

lowest-locust: install
	$(BIN)/python -m tests.load.lowest_locust

# beside each other: tests wait, and mypy takes one core
test: install
	@$(MAKE) --no-print-directory -j 2 lint tests

tests: lowest-locust
	$(BIN)/pytest -n 5 --dist loadfile --no-loadscope-reorder

# servers of others; FOREIGN="mlserver kserve" chooses among them
test-foreign: install
	FOREIGN_VENVS=$(FOREIGN_VENVS) $(BIN)/pytest tests/foreign_servers

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

image:
	$(BUILD) --target client --tag $(IMAGE):$(VERSION) .
	$(BUILD) --target locust --tag $(IMAGE):$(VERSION)-locust .
	$(BUILD) --target server --tag $(IMAGE):$(VERSION)-server .

clean:
	rm -rf $(VENV)
