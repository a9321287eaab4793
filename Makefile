# Two commands matter: `make demo` and `make test`. Everything they need is set up by `make setup`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REQUIREMENTS := requirements.base.txt requirements.txt requirements.ray.txt requirements.tracing.txt requirements.dev.txt
TOOLS := build/tools
TOOLS_STAMP := $(TOOLS)/.installed

.PHONY: lock bandit audit sbom lint-ci setup system system-tests demo demo-check test test-fast test-long check format faults fuzz soak docs site site-serve docs-pictures screenshots bench bench-quality bench-gpu bench-peers clean

setup: $(STAMP)

$(STAMP): $(REQUIREMENTS) pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$(REQUIREMENTS))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Debian's packages (RTSP server, browser): installed where this user may, else named.
system: setup
	$(BIN)/python -m demo.cameras.system_packages --install

# The same, and what only tests need (a browser, a view of system calls).
system-tests: setup
	$(BIN)/python -m demo.cameras.system_packages --install --tests

demo: setup system
	$(BIN)/python -m demo

demo-check: setup system
	$(BIN)/python -m demo --check

# Three at a time on two cores: half of the time they wait for what they have done to processes. What fails is
# tried once more and listed as RERUN at the end: hundreds of tests do things to real processes, whose timing is
# that of a machine which others share. Every week all run with RERUNS=0.
RERUNS ?= 1
test: setup system-tests
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not long" --reruns $(or $(RERUNS),0)

test-fast: setup
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not slow and not long"

# What takes minutes by itself.
test-long: setup system-tests
	$(BIN)/python -m pytest -m long

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Every promise of docs/reliability.md at its full length, and the table there (about half an hour).
faults: setup system
	$(BIN)/python -m tests.faults

# Everything that reads what strangers send: so many inputs for each parser, then the protocol's state machine
# and the HTTP routes at length (an hour and more of one core).
INPUTS ?= 100000
fuzz: setup
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS)

# Hours of random faults, one a minute, and the picture and verdict there: `make soak MINUTES=480`.
MINUTES ?= 120
soak: setup system
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --picture docs/images/soak.png --page

# What is generated from the code: the settings page, the JSON Schema.
docs: setup
	$(BIN)/python -m siwatsystem docs

# The documents as a site in build/site; a link that leads nowhere fails it.
site: setup
	@# Not --quiet: warnings that are not shown are not counted either.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

site-serve: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# The pictures of docs/pipelines.md, from a real run of the demo's archive.
docs-pictures: setup
	$(BIN)/python docs/pictures.py

# The pictures of pages, each of a real run (minutes): `make screenshots PAGES=control`, or all.
screenshots: setup system-tests
	$(BIN)/python -m docs.screenshots $(PAGES)

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
PEERS := .demo/peers-venv/.installed
$(PEERS): requirements.peers.txt
	test -x .demo/peers-venv/bin/python || $(PYTHON) -m venv .demo/peers-venv
	nice -n 15 .demo/peers-venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

bench-peers: setup system $(PEERS)
	$(BIN)/python -m bench.peers

# What looks after the supply chain, in an environment of its own.
$(TOOLS_STAMP): requirements.tools.lock
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# Every package of the image with its hashes, for Linux on x86-64 and Python 3.11 up. What is locked stays
# as it is where the requirements allow it; `make lock UPGRADE=--upgrade` takes the newest of all.
LOCK = $(TOOLS)/bin/uv pip compile --quiet --no-config --default-index https://pypi.org/simple \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28 --only-binary :all: --emit-build-options \
	--generate-hashes --custom-compile-command "make lock" $(UPGRADE)

lock: $(TOOLS_STAMP)
	$(LOCK) requirements.base.txt requirements.txt -o requirements.lock > /dev/null
	$(LOCK) requirements.base.txt -c requirements.lock -o requirements.base.lock > /dev/null
	$(LOCK) requirements.ray.txt -c requirements.lock -o requirements.ray.lock > /dev/null
	$(LOCK) requirements.tracing.txt -c requirements.lock -c requirements.ray.lock \
		-o requirements.tracing.lock > /dev/null
	$(LOCK) requirements.tools.txt -o requirements.tools.lock > /dev/null

# What ruff's S rules do not see; configured in pyproject.toml.
bandit: $(TOOLS_STAMP)
	$(TOOLS)/bin/bandit --quiet --configfile pyproject.toml --recursive siwatsystem app.py

# Known vulnerabilities of what is locked: status 1 where there are some, 75 where no database answered.
audit: $(TOOLS_STAMP)
	$(TOOLS)/bin/python .ci/audit requirements.lock
	$(TOOLS)/bin/python .ci/audit requirements.tracing.lock
	$(TOOLS)/bin/python .ci/audit requirements.ray.lock

sbom: $(TOOLS_STAMP)
	$(TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.cdx.json requirements.lock

# Workflows, Dockerfiles, the compose file.
lint-ci: $(TOOLS_STAMP)
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(TOOLS)/bin/zizmor --offline --quiet .github/workflows
	$(TOOLS)/bin/hadolint Dockerfile Dockerfile.base

clean:
	rm -rf $(VENV) .demo .pytest_cache .ruff_cache
