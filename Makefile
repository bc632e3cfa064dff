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
ARM64  := out/frozen-arm64/bin/cni-chain
# What the image and a release hold. PROGRAMS=out/frozen leaves out what this machine can't make.
PROGRAMS ?= out/frozen out/frozen-arm64
# What the image is called, without a tag.
IMAGE  ?= localhost/cni-chain
# Several tests at a time; tests/support/lanes.py says which never. Many of the second wait for a daemon: one more than cores.
# `doctor` looks at the sockets of every network namespace, so its tests and nodes with agents don't run together.
ON_FILES := tests/plugin tests/cli
REST     := tests/release tests/system
WORKERS  := $(shell echo $$(($$(nproc) + 1)))
# What runs under qemu as well, where each call takes some ten times as long; `make test-arm64` runs more.
EMULATED := tests/plugin/test_add.py tests/plugin/test_program.py tests/cli/test_program.py
# qemu has signals of its own, and does not pass on which ones its caller ignores. The system calls that test_faults makes
# fail are the machine's, and so qemu's. It carries vfork out as fork, so nobody learns that a program wasn't there to run.
NOT_EMULATED := --ignore=tests/plugin/test_faults.py \
    --deselect=tests/plugin/test_stranded.py::test_a_binary_that_vanishes_amid_the_add_leaves_nothing_behind \
    $(addprefix --deselect=tests/plugin/test_environment.py::test_a_,\
    delegate_has_the_callers_directory_umask_and_signals signal_that_the_runtime_ignores_stays_ignored)
BOTH     = --program source --program $(FROZEN)
# What runs the tests of `make test`. .ci/run has tests/again here.
PYTEST    = $(PY) -m pytest
export CACHE
# Each file that says which shell runs it.
LIST_SCRIPTS := grep -rlIE '^\#!.*[/ ](ba)?sh$$|^\# shellcheck shell=' --exclude='*.py' --exclude='*.md' \
    --exclude-dir={.git,.venv,out} .

.PHONY: help demo demo-war test lint scripts unit docs frozen frozen-arm64 shim test-arm64 dist image release version next bench bench-full tools multus runtimes agents roots helm cluster clean

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: frozen tools ## freeze the program and show it at work in a private sandbox (root)
	$(PY) -m tests.lab.demo $(FROZEN)

demo-war: frozen tools ## Cilium's and Istio's own writers in one directory, then each in its own (root; builds them once)
	tests/support/agents/build cilium-1.20 istio
	$(PY) -m tests.lab.war --program $(FROZEN) --seconds 60 --seed 7

test: plan lint frozen frozen-arm64 tools multus runtimes agents roots helm unit ## every test, against the source and against the frozen program (root for all of them)
	$(PYTEST) --program $(ARM64) -n auto $(EMULATED)
	$(PYTEST) $(BOTH) -n auto $(ON_FILES)
	$(PYTEST) $(BOTH) -n $(WORKERS) $(REST)

.PHONY: plan quick
plan: ## what `make test` runs, in which order, and what has to be built before
	@tests/plan

lint: $(VENV)/ready ## ruff, mypy, shellcheck, actionlint, and vale for the prose (both are built once, two minutes)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH; command -v shellcheck >/dev/null || build/packages shellcheck; \
	    $(LIST_SCRIPTS) | xargs shellcheck --check-sourced
	PATH=$(CURDIR)/$(VENV)/bin:$$PATH; $$(build/actionlint/build)/actionlint
	$$(build/vale/build)/vale *.md conf docs

scripts: # what shellcheck reads
	@$(LIST_SCRIPTS)

test-arm64: frozen-arm64 ## every test of the plugin against the program for arm64, under qemu (half an hour)
	$(PY) -m pytest --program $(ARM64) -n auto tests/plugin $(NOT_EMULATED)

unit: $(VENV)/ready ## the tests of modules, with their coverage: a few seconds
	$(PY) -m coverage run -m pytest tests/unit
	$(PY) -m coverage report

quick: $(VENV)/ready ## the tests of modules, plugin and commands, against the source, on all cores: a few minutes
	$(PY) -m pytest -n auto tests/unit $(ON_FILES)

docs: $(VENV)/docs ## the documentation as a site in out/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

frozen: $(FROZEN) ## the frozen program in out/frozen, as it is laid out in /opt/cni

frozen-arm64: $(ARM64) ## the same for arm64 in out/frozen-arm64, on an amd64 machine

shim: ## the BPF programs of `mesh shim`, from their source (with clang 19); a test compares both
	build/packages clang-19
	build/shim

FREEZES := $(VENV)/ready $(shell find cni_chain build -type f -not -name '*.pyc' 2>/dev/null)
$(FROZEN): $(FREEZES)
	build/freeze $(PY) out/frozen

$(ARM64): $(FREEZES)
	build/cross build/freeze $(PY) out/frozen-arm64

dist: frozen ## out/dist/cni-chain-<version>-linux-<arch>.tar.gz, to unpack into /opt/cni
	$(PY) -m build.release archive out/dist out/frozen

image: $(PROGRAMS:=/bin/cni-chain) ## out/dist/cni-chain-<version>-image.tar, an OCI image to load or push, and its bill of materials
	$(PY) -m build.release image --name $(IMAGE) out/dist $(PROGRAMS)

.PHONY: chart manifests cluster-chart cluster-thousand conformance rounds
chart: $(VENV)/ready ## out/dist/cni-chain-<version>.tgz, the Helm chart: IMAGE=NAME [DIGEST=sha256:…]
	$(PY) -m build.release chart --name $(IMAGE) --digest "$(DIGEST)" out/dist

manifests: helm ## deploy/kustomize/base, which is the chart as Helm renders it, and the chart's presets
	$(PY) build/presets.py
	build/manifests

release: $(PROGRAMS:=/bin/cni-chain) ## out/release, all that is published: REPOSITORY=https://… [KEY=FILE] [IMAGE=NAME] (docs/develop/releasing.md)
	$(PY) -m build.release release --repository "$(REPOSITORY)" --name $(IMAGE) --tag "$(TAG)" --builder "$(BUILDER)" \
	    $(if $(KEY),--key "$(KEY)") out/release $(PROGRAMS)

version: $(VENV)/ready ## NEW=1.2.3: set the version, and date its section of the CHANGELOG
	$(PY) -m build.release version "$(NEW)"

next: $(VENV)/ready ## NEW=1.3.0: begin the CHANGELOG's section of the version after a release
	$(PY) -m build.release next "$(NEW)"

bench: frozen ## what one call costs, against a bare interpreter in the same run
	$(PY) -m tests.lab.bench $(FROZEN)

bench-full: frozen tools multus runtimes ## much more, side by side with multus and a plain conflist (root, half an hour)
	$(PY) -m tests.lab.bench $(FROZEN) --full --save out/bench.json --plot out/bench.svg

tools: $(VENV)/ready ## cnitool, the reference plugins and Ansible, pinned, from the cache or built into it; promtool
	tests/support/tools/build
	tests/support/ansible/build
	tests/support/promtool/build

multus: $(VENV)/ready ## multus, pinned, from the cache or built into it (some minutes, once)
	tests/support/agents/multus/build

runtimes: $(VENV)/ready ## containerd and CRI-O, pinned, from the cache or built into it (some minutes, once)
	tests/support/runtimes/packages
	tests/support/runtimes/build

roots: $(VENV)/ready ## other distributions' root directories, in which the program must start (a minute each, once)
	build/packages strace musl-tools valgrind
	tests/support/roots/build

helm: $(VENV)/ready ## helm and kustomize, pinned, from the cache or built into it (some minutes, once)
	tests/support/helm/build

cluster: frozen tools helm ## Kubernetes with Cilium's own agent behind cni-chain (root; half an hour of building, once)
	tests/lab/cluster/packages
	tests/support/runtimes/build containerd
	tests/lab/cluster/build
	tests/support/agents/build istio
	tests/support/capture/rules/build istio
	$(PY) -m tests.lab.cluster $(FROZEN)
	$(PY) -m tests.lab.cluster $(FROZEN) --modes

cluster-chart: frozen tools helm ## the Helm chart on a real kubelet, install to uninstall (root; half an hour of building, once)
	tests/lab/cluster/packages
	tests/support/runtimes/build containerd
	tests/lab/cluster/build etcd kube
	$(PY) -m tests.lab.cluster.chart $(FROZEN)

.PHONY: cluster-nodes
cluster-nodes: frozen tools helm runtimes ## the chart on three real nodes, containerd and CRI-O: migration, faults, upgrades (root; half an hour)
	tests/lab/cluster/packages
	tests/lab/cluster/build etcd kube
	$(PY) -m tests.lab.rollout $(FROZEN)

.PHONY: cluster-agents
cluster-agents: frozen tools helm runtimes agents ## the live guide on three real nodes with Cilium's and Istio's DaemonSets (root; an hour of building, once)
	tests/lab/cluster/packages
	tests/lab/cluster/build
	tests/lab/rollout/agents/build
	$(PY) -m tests.lab.rollout $(FROZEN) daemonsets real

cluster-thousand: frozen helm ## a roll-out over 1,000 nodes that kwok plays, and what cni-chain cluster costs there (half an hour of building, once)
	tests/lab/cluster/build etcd kube
	tests/lab/cluster/thousand/build
	$(PY) -m tests.lab.cluster.thousand $(FROZEN)
	$(PY) -m tests.lab.cluster.thousand.answers $(FROZEN)

conformance: frozen tools helm ## Kubernetes' conformance tests of the network, without cni-chain and with it (root; an hour of building, once)
	tests/lab/conformance/packages
	tests/support/runtimes/build containerd
	tests/lab/cluster/build etcd kube
	tests/lab/conformance/build
	$(PY) -m tests.lab.conformance $(FROZEN) --procs=6

rounds: frozen tools helm ## a new node with 200 pods pending, 20 times, without cni-chain and with it (root; an hour and a half)
	tests/lab/cluster/packages
	tests/support/runtimes/build containerd
	tests/lab/cluster/build etcd kube
	tests/support/agents/build cilium-1.20 istio
	tests/lab/rollout/agents/build
	$(PY) -m tests.lab.rollout.rounds $(FROZEN)

agents: $(VENV)/ready ## Cilium's and Istio's own plugins, writers and rules, pinned, from the cache or built into it (minutes, once)
	tests/support/agents/build
	tests/support/capture/rules/build

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
