# The commands. Each makes the virtual environment it needs; only Python 3.11+ and make must be there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DAEMON := $(VENV)/.daemon
# More than cores: the tests that start processes mostly wait. In the order of `testpaths`, which has
# the longest first; pytest-xdist would begin with the files of most tests.
WORKERS ?= 6

# Hundreds of processes are started: without bytecode each of them would compile all modules anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo demo-nats test test-pythons test-browser pictures check fuzz sanitize wheels bench faults soak simulate-days mutants coverage format clean

help:  ## these lines
	@sed -n 's/^\([a-z-]*\):.*  ## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '  %-14s %s\n' "$$name" "$$what"; done

demo: $(DAEMON)  ## live prices, a broken session, and the way back, narrated
	@$(BIN)/kitefeed demo $(ARGS)

demo-nats: $(STAMP)  ## the feed over NATS: two readers, one killed and back; the server killed and back
	@$(BIN)/python deploy/nats/demo.py

test: $(STAMP)  ## the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

PYTHONS ?= $(foreach minor,11 12 13 14,$(shell command -v python3.$(minor)))
test-pythons:  ## the whole test suite on each Python 3.11 to 3.14 that is here, or on PYTHONS="PATH PATH"
	@for each in $(PYTHONS); do \
	  version=$$($$each -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 1; \
	  echo "Python $$version ($$each)"; \
	  $(MAKE) --no-print-directory test PYTHON=$$each VENV=.venv-$$version || exit 1; \
	done

BROWSER ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
test-browser: $(VENV)/.browser  ## the page in a real Chromium
ifeq ($(BROWSER),)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing chromium ..."; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null \
	    && $(MAKE) --no-print-directory test-browser; \
	else echo "LEFT OUT: there is no Chromium here, so the page was not tried; install it, or name it: make test-browser BROWSER=PATH"; fi
else
	BROWSER=$(BROWSER) $(BIN)/python -m pytest -m browser tests/browser $(ARGS)
endif

pictures: $(VENV)/.browser  ## the pictures of README and docs, from a demo that runs
	BROWSER=$(BROWSER) $(BIN)/python -m tests.browser.pictures

check: $(STAMP)  ## format, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases benchmarks

INPUTS ?= 1000000
fuzz: $(STAMP)  ## the compiled loops beside their twins in Python: INPUTS of each, damaged ones too
	$(BIN)/python -m tests.fuzz --n $(INPUTS) --seed $(SEED)

# In a copy of the project, so that nothing else runs what is built here. Leaks are counted by a test:
# Python itself leaves too much for a tool to tell them.
SANITIZED := build/sanitized
sanitize: INPUTS := 100000
sanitize: $(STAMP)  ## the loops under gcc's address and undefined-behaviour sanitizers: tests, and INPUTS of each
	@rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	@git ls-files -z --cached --others --exclude-standard | tar c --null -T - | tar x -C $(SANITIZED)
	gcc -std=c11 -O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all \
	  -fno-omit-frame-pointer -DPy_LIMITED_API=0x030B0000 -fPIC -shared hot/*.c -o $(SANITIZED)/hot/loops.abi3.so \
	  -I"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["include"])')"
	cd $(SANITIZED) && export PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 && \
	  export LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" && \
	  $(CURDIR)/$(BIN)/python -m pytest -q -p no:cacheprovider tests/unit/hot tests/unit/protocol/kite \
	    tests/unit/actors/ticker tests/unit/client/test_view.py tests/unit/client/test_tick.py \
	    tests/property/test_twins.py tests/property/test_kite_ticks.py tests/property/test_tick_bodies.py && \
	  $(CURDIR)/$(BIN)/python -m tests.fuzz --n $(INPUTS) --seed $(SEED)

# The wheel is built from the source distribution. It is for machines like this one: for PyPI it has to
# be built in a manylinux container.
WHEELS := build/wheels
wheels: $(STAMP)  ## one wheel for every Python since 3.11, tried on each that is here, or on PYTHONS="PATH PATH"
	@rm -rf $(WHEELS) && mkdir -p $(WHEELS)
	$(BIN)/python -m build --outdir $(WHEELS) . >$(WHEELS)/build.log 2>&1 || { cat $(WHEELS)/build.log; exit 1; }
	@for each in $(PYTHONS); do \
	  version=$$($$each -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || \
	    { echo "left out: $$each does not start"; continue; }; \
	  $$each -m venv $(WHEELS)/$$version && \
	  $(WHEELS)/$$version/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt $(WHEELS)/*-cp311-abi3-*.whl && \
	  $(WHEELS)/$$version/bin/python tests/fuzz.py --n 20000 --seed $(SEED) && \
	  echo "Python $$version: compiled" || exit 1; \
	done; ls $(WHEELS)/*.whl

REPS ?= 3
bench: $(STAMP)  ## beside the official clients, 20 minutes; BENCH="decode e2e" a part; ARGS=--help
	$(BIN)/python -m benchmarks --reps $(REPS) $(BENCH) $(ARGS)

# The rows at full rate have the host to themselves: what they compare is latencies.
faults: $(STAMP)  ## every row of the fault table on real processes: under half an hour
	$(BIN)/python -m pytest -m "faults and not full_rate" -n 3 --dist worksteal $(ARGS); rows=$$?; \
	  $(BIN)/python -m pytest -m full_rate $(ARGS) && exit $$rows

MINUTES ?= 10
SEED ?= 1
INSTRUMENTS ?= 3000
soak: $(STAMP)  ## full rate under random faults for MINUTES; reports leaks
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --seed $(SEED) --instruments $(INSTRUMENTS)

DAYS ?= 1000
simulate-days: $(STAMP)  ## simulated days against all promises, on all cores; a failing seed is printed
	$(BIN)/python -m tests.simulation.days --days $(DAYS) --seed $(SEED)

# In a copy of the project for each core; half a minute of a core for each mutant.
N ?= 200
mutants: $(STAMP)  ## random one-line changes of what decides; prints those that no test finds
	$(BIN)/python -m tests.mutants --n $(N) --seed $(SEED) $(ARGS)

# Child processes report by themselves (`patch`, in pyproject.toml), and their figures are combined.
coverage: export COVERAGE_ROOT := $(CURDIR)
coverage: export COVERAGE_FILE := $(CURDIR)/.coverage
coverage: $(VENV)/.coverage  ## the suite with line and branch coverage, child processes included
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS); \
	  $(BIN)/coverage combine -q && $(BIN)/coverage report --skip-covered --sort=cover

format: $(STAMP)  ## rewrite files the way `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove everything the targets above made
	rm -rf $(VENV) .venv-* hot/*.so build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

FOR_DAEMON := -e '.[daemon,alerts]'
FOR_TESTS := -e '.[daemon,alerts,nats,record]' --group dev
FOR_BROWSER := $(FOR_TESTS) --group browser
# compat: a path, and no finder, which costs 20 ms at the start of each of hundreds of processes.
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
  --config-settings editable_mode=compat $(1) >$(VENV)/install.log 2>&1 || { cat $(VENV)/install.log; exit 1; }

# What the extension is built of. `pip` builds it again with everything else; one that is left from
# before must not outlive a compiler.
HOT := $(wildcard hot/*.c hot/*.h)

$(DAEMON): pyproject.toml constraints.txt $(HOT)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kitefeed needs Python 3.11 or newer; $(PYTHON) is older. Name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once; under a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@rm -f hot/loops*.so
	@$(call install,$(FOR_DAEMON))
	@touch $@

$(STAMP): $(DAEMON)
	@echo "Adding what the tests need (once; about a minute) ..."
	@$(call install,pip) # Python 3.11 brings one that does not know groups
	@$(call install,$(FOR_TESTS))
	@touch $@

$(VENV)/.browser: $(STAMP)
	@$(call install,$(FOR_BROWSER))
	@touch $@

$(VENV)/.coverage: $(STAMP)
	@$(call install,coverage)
	@touch $@
