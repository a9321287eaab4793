# Two commands matter: `make demo` and `make test`. Everything they need is set up by `make setup`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REQUIREMENTS := requirements.base.txt requirements.txt requirements.dev.txt

.PHONY: setup system demo demo-check test test-fast check format docs docs-pictures bench bench-quality bench-gpu bench-peers clean

setup: $(STAMP)

$(STAMP): $(REQUIREMENTS) pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$(REQUIREMENTS))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Debian's packages (RTSP server, browser): installed where this user may, else named.
system: setup
	$(BIN)/python -m demo.cameras.system_packages --install

demo: setup system
	$(BIN)/python -m demo

demo-check: setup system
	$(BIN)/python -m demo --check

test: setup system
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-fast: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What is generated from the code: the settings page, the JSON Schema.
docs: setup
	$(BIN)/python -m siwatsystem docs

# The pictures of docs/pipelines.md, from a real run of the demo's archive.
docs-pictures: setup
	$(BIN)/python docs/pictures.py

# The performance goals, each against its other side; writes bench/results and the tables of the
# documents. Nothing else should run meanwhile: about a quarter of an hour on two cores.
bench: setup system
	$(BIN)/python -m bench

# How right it is: accuracy of the demo, tracking beside other trackers (five minutes more).
bench-quality: setup
	$(BIN)/python -m bench.accuracy
	$(BIN)/python -m bench.accuracy --precision fast
	$(BIN)/python -m bench.tracking
	$(BIN)/python -m bench.sampling

# On a machine with an NVIDIA GPU.
bench-gpu: setup
	$(BIN)/python -m bench.gpu

# Beside other products, which need an environment of their own (6 GB).
bench-peers: setup system
	$(BIN)/python -m bench.peers

clean:
	rm -rf $(VENV) .demo .pytest_cache .ruff_cache
