# Both commands set themselves up in $(VENV). PIP_ARGS is passed on to pip install.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
WEIGHTS ?=
IMAGE ?=

.PHONY: demo test coverage lint docs clean

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py $(if $(WEIGHTS),--model "$(WEIGHTS)") $(if $(IMAGE),--image "$(IMAGE)")

# Two processes of one thread each are faster than one of two.  tests/conftest.py says what begins first.
SUITE := -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python $(SUITE)

# The same tests.  Fails where they run less than 90 % of the lines; counting takes time, too.
coverage: $(VENV)/installed
	$(BIN)/python -m coverage erase
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run $(SUITE)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

# Into build/site_docs; a link or an anchor that leads nowhere is an error, which --quiet would hide.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Without the warning that setuptools gives for every editable installation.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@echo "Installing PyTorch and the engines into $(VENV): 2 to 3 GB, several minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt --editable ".[dev]"
	# Without its opencv-python, which would take the place of opencv-python-headless.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt --no-deps trackers
	touch $@

clean:
	rm -rf $(VENV) build dist demo_output .coverage* *.egg-info
