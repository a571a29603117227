# `make` alone shows what there is. Everything runs in .venv, which is made on first use.
PYTHON ?= python3
SCALE  ?= laptop
JOBS   ?= 2

VENV      := .venv
BIN       := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Refused while make reads this file, so that a typing error does not cost an install first.
ifneq ($(filter book serve,$(MAKECMDGOALS)),)
ifneq ($(words $(SCALE))$(filter-out smoke laptop paper,$(SCALE)),1)
$(error SCALE is "$(SCALE)", but must be smoke, laptop or paper: try "make $(firstword $(filter book serve,$(MAKECMDGOALS))) SCALE=smoke")
endif
endif

.DEFAULT_GOAL := help
.PHONY: help read book html lab serve chapters readme evidence test quick test-cluster bench gpu format clean

help:
	@echo "make read        the book from the published results, without training, in one to four minutes"
	@echo "make book        train, execute every chapter and render: SCALE=smoke, laptop (default) or paper"
	@echo "make html        render the executed chapters again"
	@echo "make lab         open the chapters in JupyterLab"
	@echo "make serve       the rendered book with a Live button: change and run the code of a page in your browser"
	@echo "make test        formatting, types, and all tests"
	@echo "make quick       the tests of the library alone, without the slow ones: under a minute"
	@echo "make test-cluster  the grid of runs on a real Slurm of two nodes, here (root; Debian's slurm-wlm and munge)"
	@echo "make bench       time a step of mask training against a plain one: JSON=1 for programs"
	@echo "make gpu         what a machine with a GPU can show: its tests, the bench, a laptop book; prints what to report"
	@echo "make evidence    make and publish the runs of evidence.yaml at the paper's sizes, JOBS=2 at once: days"
	@echo "make chapters    refresh the outputs that are stored in book/*.ipynb"
	@echo "make readme      take the README's pictures of the rendered book anew, and renew its table of the answer"
	@echo "make format      put the code in its normal form"
	@echo "make clean       remove the built book and caches; runs and .venv stay"

read: $(INSTALLED)
	@$(BIN)/python -m tools.book read

book: $(INSTALLED)
	@$(BIN)/python -m tools.book build --scale $(SCALE)

html: $(INSTALLED)
	@$(BIN)/python -m tools.book html

lab: $(INSTALLED)
	$(BIN)/python -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) book/index.ipynb

# The scale only if it is given: otherwise MODULES_SCALE decides, as for make lab.
serve: $(INSTALLED)
	@$(BIN)/python -m tools.serve $(if $(filter command environment,$(firstword $(origin SCALE))),--scale $(SCALE))

chapters: $(INSTALLED)
	@$(BIN)/python -m tools.book refresh

readme: $(INSTALLED)
	@$(BIN)/python -m tools.readme

# Needs root, slurm-wlm and munge; not part of `make test`.
test-cluster: $(INSTALLED)
	$(BIN)/python -m tests.book.cluster

test: $(INSTALLED)
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy modules_lib reproduction tools benchmarks _ext
	$(BIN)/python -m pytest tests/book tests/reproduction tests/library tests/test_*.py -n 4 --dist loadfile --no-loadscope-reorder

quick: $(INSTALLED)
	$(BIN)/python -m pytest tests/library -n 4 --dist loadfile -q -m "not slow"

evidence: $(INSTALLED)
	@$(BIN)/python -m tools.evidence --make $(JOBS)

bench: $(INSTALLED)
	@$(BIN)/python -m benchmarks.bench $(if $(JSON),--json)

gpu: $(INSTALLED)
	@$(BIN)/python -m tools.gpu

format: $(INSTALLED)
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

clean:
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find book modules_lib reproduction tests tools _ext \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# $(call needs-python,COMMAND,WAY OUT)
needs-python = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "This project needs Python 3.11 or newer, which \"$(1)\" is not: $(2)." >&2; exit 1; }

# The stamp comes last: after a failed or interrupted install the next make goes on where that one ended.
# A .venv that is there already is used as it is, whoever made it; one without pip is given pip.
$(INSTALLED): requirements.txt pyproject.toml
	@test -x $(BIN)/python || { \
		$(call needs-python,$(PYTHON),install one or name it as in 'make PYTHON=python3.12 book') && \
		$(PYTHON) -m venv $(VENV); }
	@$(call needs-python,$(BIN)/python,move $(VENV) away and run make again)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@echo "Installing into $(VENV); the first time this takes a few minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
