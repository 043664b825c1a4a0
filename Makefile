# `make demo` and `make test` work as the first command in a fresh clone on
# Debian 12 with git, make and python3. HACKING.md says what is where.

# The device side runs on Debian's own Python and its packages, so the tests do
# too, whatever other python3 comes first on PATH.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV := .venv
RUN := $(VENV)/bin/python
# What pytest is given, for example: make test ARGS='tests/unit -x'
ARGS ?=
# Processes that run tests beside each other; most of them wait for a disk half the time.
JOBS ?= $(shell expr $$(nproc) + 1)
# Seconds that make fuzz and make soak go on.
BUDGET ?= 600

# python3-venv (with its setuptools) and python3-wheel put rootman into .venv; what Debian
# lacks (tuf, securesystemslib, bsdiff4) comes from PyPI.
RUNTIME_PACKAGES := python3 python3-venv python3-wheel python3-click python3-cryptography \
	python3-psutil python3-pyfuse3 python3-requests python3-urllib3 python3-xattr \
	python3-zstandard
DEMO_PACKAGES := e2fsprogs mount rsync util-linux
TEST_PACKAGES := acl attr bsdutils btrfs-progs busybox-static dash e2fsprogs groff-base \
	grub-common grub-emu grub-pc-bin libarchive-tools libcap2-bin mmdebstrap mount \
	qemu-system-common qemu-system-x86 rsync \
	shellcheck systemd util-linux xfsprogs $(MODEL_PACKAGES)
MODEL_PACKAGES := gcc libc6-dev spin
BENCH_PACKAGES := apache2-bin casync curl e2fsprogs fuse-overlayfs git grub-common grub-pc-bin \
	mergerfs mmdebstrap mount ostree qemu-system-x86 rsync strace unionfs-fuse util-linux

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test soak soak-boot soak-guard lint fuzz model bench venv clean
.PHONY: packages packages-demo packages-test packages-model packages-bench

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages-demo $(VENV)/runtime ## build two Debian trees, install, upgrade, roll back
	@$(RUN) -m tests.demo

test: packages-test lint ## run the linters, then every test (ARGS='tests/unit -x' for some)
	$(RUN) -m pytest --numprocesses $(JOBS) --dist worksteal $(ARGS)

soak: packages-test $(VENV)/tools ## power cuts by new seeds, to the first violation (BUDGET=seconds)
	@$(RUN) -m tests.crash soak $(BUDGET)

soak-boot: packages-test $(VENV)/tools ## power cuts of a machine in QEMU that boots for real (BUDGET=seconds)
	@$(RUN) -m tests.boot $(BUDGET)

soak-guard: packages-test $(VENV)/tools ## writers, upgrades and remounts of the guard (BUDGET=seconds)
	@$(RUN) -m tests.cow $(BUDGET)

lint: $(VENV)/tools ## run ruff and mypy
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy rootman cow cli tests

fuzz: packages-test $(VENV)/tools ## look for what breaks with random input (BUDGET=seconds)
	@$(RUN) -m tests.fuzz --budget $(BUDGET)

model: packages-model $(VENV)/runtime ## check the model of spec/ in every state
	@$(RUN) -m tests.model

bench: packages-bench $(VENV)/tools ## compare speed and blocks written with other tools
	@$(RUN) -m tests.bench

venv: $(VENV)/tools ## make .venv with rootman and the tools of a developer

clean: ## remove .venv and everything else that was made here
	rm -rf $(VENV) build dist *.egg-info .fuzz .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find rootman cow cli tests -type d -name __pycache__ -prune -exec rm -rf {} +

packages:
	@.ci/packages $(RUNTIME_PACKAGES)
packages-demo:
	@.ci/packages $(RUNTIME_PACKAGES) $(DEMO_PACKAGES)
	@.ci/packages mmdebstrap || echo "no mmdebstrap: the demo makes its trees from this machine's /usr"
packages-test:
	@.ci/packages $(RUNTIME_PACKAGES) $(TEST_PACKAGES)
packages-model:
	@.ci/packages $(RUNTIME_PACKAGES) $(MODEL_PACKAGES)
packages-bench:
	@.ci/packages $(RUNTIME_PACKAGES) $(BENCH_PACKAGES)

# Editable through one line in a .pth file (compat): the import hook that is the
# default otherwise would cost every start of the command.
$(VENV)/runtime: setup.cfg pyproject.toml | packages
	@echo "making $(VENV) from $(PYTHON)"
	@$(PYTHON) -m venv --system-site-packages $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-build-isolation \
		--config-settings editable_mode=compat --editable '.[publish]'
	@touch $@

$(VENV)/tools: $(VENV)/runtime
	@echo "installing the developer's tools into $(VENV)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check \
		--no-build-isolation --config-settings editable_mode=compat --editable '.[dev]'
	@touch $@
