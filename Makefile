# One place for what the README's commands, .ci/run and a developer share. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Debian's and Ubuntu's own interpreter: a shim in front of it (pyenv's) takes longer to start than all the rest.
PYTHON ?= $(or $(wildcard /usr/bin/python3),$(shell command -v python3),/usr/bin/python3)
CACHE  ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cni-chain
VENV   := .venv
PY     := $(VENV)/bin/python
FROZEN := out/frozen/bin/cni-chain
# Suites whose tests share nothing run on all cores. Those with daemons, and with counts that a busy core changes, don't.
PARALLEL := tests/plugin tests/cli
# Their agents' sockets and ports have the same names in two tests at once.
ALONE    := tests/cli/test_doctor_here.py tests/cli/test_rules.py
SERIAL   := tests/release tests/system
ALL_CORES := -n auto $(addprefix --ignore=,$(ALONE))
BOTH      = --program source --program $(FROZEN)
export CACHE
# Each file that says which shell runs it.
LIST_SCRIPTS := grep -rlIE '^\#!.*[/ ](ba)?sh$$|^\# shellcheck shell=' --exclude='*.py' --exclude='*.md' \
    --exclude-dir={.git,.venv,out} .

.PHONY: help demo demo-war test lint scripts unit docs frozen dist bench bench-full tools multus runtimes agents cluster clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: frozen tools ## freeze the program and show it at work in a private sandbox (root)
	$(PY) -m tests.lab.demo $(FROZEN)

demo-war: frozen tools ## Cilium's and Istio's own writers in one directory, then each in its own (root; builds them once)
	tests/support/agents/build cilium-1.20 istio
	$(PY) -m tests.lab.war --program $(FROZEN) --seconds 60 --seed 7

test: plan lint frozen tools multus runtimes agents unit ## every test, against the source and against the frozen program (root for all of them)
	$(PY) -m pytest $(BOTH) $(ALL_CORES) $(PARALLEL)
	$(PY) -m pytest $(BOTH) $(ALONE) $(SERIAL)

.PHONY: plan quick
plan: ## what `make test` runs, in which order, and what has to be built before
	@tests/plan

lint: $(VENV)/ready ## ruff, mypy, shellcheck, and vale for the prose (vale is built once, two minutes)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH; command -v shellcheck >/dev/null || build/packages shellcheck; \
	    $(LIST_SCRIPTS) | xargs shellcheck --check-sourced
	$$(build/vale/build)/vale *.md conf docs

scripts: # what shellcheck reads
	@$(LIST_SCRIPTS)

unit: $(VENV)/ready ## the tests of modules, with their coverage: a few seconds
	$(PY) -m coverage run -m pytest tests/unit
	$(PY) -m coverage report

quick: $(VENV)/ready ## the tests of modules, plugin and commands, against the source, on all cores: a few minutes
	$(PY) -m pytest $(ALL_CORES) tests/unit $(PARALLEL)

docs: $(VENV)/docs ## the documentation as a site in out/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

frozen: $(FROZEN) ## the frozen program in out/frozen, as it is laid out in /opt/cni

$(FROZEN): $(VENV)/ready $(shell find cni_chain build -type f -not -name '*.pyc' 2>/dev/null)
	build/freeze $(PY) out/frozen

dist: frozen ## out/dist/cni-chain-<version>-linux-<arch>.tar.gz, to unpack into /opt/cni
	build/package out/frozen out/dist

bench: frozen ## what one call costs, against a bare interpreter in the same run
	$(PY) -m tests.lab.bench $(FROZEN)

bench-full: frozen tools multus runtimes ## much more, side by side with multus and a plain conflist (root, half an hour)
	$(PY) -m tests.lab.bench $(FROZEN) --full --save out/bench.json --plot out/bench.svg

tools: $(VENV)/ready ## cnitool and the reference plugins, pinned, from the cache or built into it
	tests/support/tools/build

multus: $(VENV)/ready ## multus, pinned, from the cache or built into it (some minutes, once)
	tests/support/agents/multus/build

runtimes: $(VENV)/ready ## containerd and CRI-O, pinned, from the cache or built into it (some minutes, once)
	tests/support/runtimes/packages
	tests/support/runtimes/build

cluster: frozen tools ## Kubernetes with Cilium's own agent behind cni-chain (root; half an hour of building, once)
	tests/lab/cluster/packages
	tests/support/runtimes/build containerd
	tests/lab/cluster/build
	$(PY) -m tests.lab.cluster $(FROZEN)

agents: $(VENV)/ready ## Cilium's and Istio's own plugins and writers, pinned, from the cache or built into it (minutes, once)
	tests/support/agents/build

# System packages: asked for only where one is missing, so that a second run needs neither root nor a network.
$(VENV)/ready: pyproject.toml build/packages
	build/packages
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(VENV)/docs: $(VENV)/ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

clean: ## remove what the targets above made here (the cache stays)
	rm -rf out $(VENV)
