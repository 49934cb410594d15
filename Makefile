# make setup | demo | learn | quick | test | check | slow | bench; each does the set-up it needs, once.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

# Stations that are tested without torch, in under a minute of CPU time.
CORE := $(addprefix tests/,storage text tiling plan shards raw)
# One worker for each processor, eight at most, since each holds torch; a module's tests stay together, so that what they share is made once.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

.PHONY: setup demo learn quick test check slow bench clean
setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/wdstream demo

learn: setup
	$(BIN)/wdstream demo --learn

# One process: on few tests the start of each worker costs more than it saves.
quick: setup
	$(BIN)/python -m pytest --without-torch $(CORE)

test: setup
	$(PYTEST) --without-torch $(CORE)
	$(PYTEST) $(addprefix --ignore=,$(CORE))

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

slow: setup
	$(BIN)/python -m pytest -m slow

bench: setup
	$(BIN)/python tools/bench_plan.py
	$(BIN)/python tools/bench_index.py
	$(BIN)/python tools/bench_pixels.py
	$(BIN)/python tools/bench_stream.py

clean:
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
