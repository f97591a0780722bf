# daskd: make help lists every target.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BROWSER_VENV := build/browser-venv
PYTEST := $(BIN)/python -m pytest
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
DOCDIR ?= $(PREFIX)/share/doc/daskd
SYSCONFDIR ?= /etc
# systemd looks in /usr/local/lib for units, and for what makes users and directories, too
UNITDIR ?= $(PREFIX)/lib/systemd
# two processes: the suite is meant for two cores
PARALLEL ?= -n 2 --dist worksteal
# what Debian calls the programs of test-systems
SYSTEMS := openssh-server iproute2 slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge \
    slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-unit test-real test-releases test-systemd test-browser test-systems test-faults install install-program install-units verify-units lint types proto proto-check proto-baseline docs format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.ready ## .venv with everything for use and development

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) lacks venv; installing it"; apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; } || \
	    { echo "install your system's python3-venv, then run make venv again" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: venv ## the main job, end to end, on this machine
	$(BIN)/python docs/demo/demo.py

test: lint types proto-check test-unit test-real ## all but older releases, systemd, browser, systems and random faults

test-unit: venv ## what needs no daemon
	$(PYTEST) $(PARALLEL) -m "not real and not systemd and not browser and not systems and not faults" tests

test-real: venv ## real daemons, clusters, clients; processes killed for real
	$(PYTEST) $(PARALLEL) -m "real and not systemd and not browser and not systems and not faults" tests

test-releases: venv ## the client and the runtime on the oldest, a middle, and the newest releases; the wheel
	$(BIN)/python -m tests.releases

test-systemd: venv ## a real systemd in a container: units, restarts, watchdog; as root
	$(PYTEST) -m systemd tests/systemd

test-browser: $(BROWSER_VENV)/.ready ## JupyterLab and Dask's panel in Chromium; DASKD_SCREENSHOTS=docs/images makes the pages' pictures
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver; }
	$(BROWSER_VENV)/bin/python -m pytest -m browser tests/browser

$(BROWSER_VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(BROWSER_VENV)
	$(BROWSER_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	@touch $@

test-systems: venv ## hosts in network namespaces with real sshds, a real Slurm, a real SGE, a real HTCondor; as root
	@PATH="$$PATH:/usr/sbin"; for program in sshd ip slurmctld slurmd sbatch munged slurmdbd mariadbd; do command -v $$program >/dev/null || missing=1; done; \
	    test -z "$$missing" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(SYSTEMS); }
	@test -x /usr/lib/gridengine/sge_qmaster -a -x /usr/lib/gridengine/sge_execd || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gridengine-master gridengine-exec gridengine-client; }
	@command -v debootstrap >/dev/null && command -v patchelf >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap patchelf; }
	@test -d build/condor/bin || { echo "installing HTCondor in build/condor"; $(BIN)/python -m tests.drivers.batch.condor_root >build/condor.log 2>&1 || { tail -n 20 build/condor.log >&2; exit 1; }; }
	$(PYTEST) $(PARALLEL) -m systems -k "not condor" tests
	@# jobs of other users run this interpreter
	$(BIN)/python -m tests.users.accounts $(PYTEST) $(PARALLEL) -m systems -k condor tests/drivers

test-faults: venv ## the daemon and its clusters under random faults, in simulated time and for real
	$(PYTEST) $(PARALLEL) -m faults tests

install: install-program install-units ## as root: the daemon in $(PREFIX)/lib/daskd, its commands, systemd's files
	@echo "installed. Next: systemctl daemon-reload && systemctl enable --now daskd"

install-program: ## the daemon and its commands alone
	$(PYTHON) -m venv $(DESTDIR)$(PREFIX)/lib/daskd
	$(DESTDIR)$(PREFIX)/lib/daskd/bin/python -m pip install --quiet --disable-pip-version-check --upgrade '.[daemon,cli,metrics]'
	install -d $(DESTDIR)$(BINDIR)
	for name in daskd daskctl; do ln -sfn $(PREFIX)/lib/daskd/bin/$$name $(DESTDIR)$(BINDIR)/$$name; done

install-units: ## systemd's files and the example configuration alone; DESTDIR, PREFIX, BINDIR, UNITDIR, SYSCONFDIR
	install -d $(DESTDIR)$(UNITDIR)/system $(DESTDIR)$(UNITDIR)/user $(DESTDIR)$(DOCDIR) $(DESTDIR)$(SYSCONFDIR)/daskd
	install -d $(DESTDIR)$(dir $(UNITDIR))sysusers.d $(DESTDIR)$(dir $(UNITDIR))tmpfiles.d $(DESTDIR)$(SYSCONFDIR)/pam.d
	sed -e 's|@BINDIR@|$(BINDIR)|g' -e 's|@DOCDIR@|$(DOCDIR)|g' systemd/daskd.service.in > $(DESTDIR)$(UNITDIR)/system/daskd.service
	sed -e 's|@BINDIR@|$(BINDIR)|g' -e 's|@DOCDIR@|$(DOCDIR)|g' systemd/user/daskd.service.in > $(DESTDIR)$(UNITDIR)/user/daskd.service
	chmod 644 $(DESTDIR)$(UNITDIR)/system/daskd.service $(DESTDIR)$(UNITDIR)/user/daskd.service
	install -m 644 systemd/daskd.slice $(DESTDIR)$(UNITDIR)/system/
	install -m 644 systemd/sysusers.d/daskd.conf $(DESTDIR)$(dir $(UNITDIR))sysusers.d/
	install -m 644 systemd/tmpfiles.d/daskd.conf $(DESTDIR)$(dir $(UNITDIR))tmpfiles.d/
	install -m 644 docs/administration.md docs/configuration.md systemd/daskd.toml.example $(DESTDIR)$(DOCDIR)/
	install -m 644 systemd/daskd.toml.example $(DESTDIR)$(SYSCONFDIR)/daskd/
	test -e $(DESTDIR)$(SYSCONFDIR)/pam.d/daskd || install -m 644 systemd/pam.d/daskd $(DESTDIR)$(SYSCONFDIR)/pam.d/
	test -e $(DESTDIR)$(SYSCONFDIR)/daskd/daskd.toml || install -m 644 systemd/daskd.toml.example $(DESTDIR)$(SYSCONFDIR)/daskd/daskd.toml

verify-units: venv ## systemd-analyze has nothing to say against the units
	@command -v systemd-analyze >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends systemd; }
	rm -rf build/units
	$(MAKE) --no-print-directory install-units DESTDIR=$(CURDIR)/build/units BINDIR=$(CURDIR)/$(BIN) >/dev/null
	systemd-analyze verify --man=no build/units$(UNITDIR)/system/daskd.service build/units$(UNITDIR)/system/daskd.slice
	XDG_RUNTIME_DIR=$(CURDIR)/build systemd-analyze verify --man=no --user build/units$(UNITDIR)/user/daskd.service
	systemd-analyze security --no-pager --offline=yes --threshold=80 build/units$(UNITDIR)/system/daskd.service > build/exposure \
	    || { cat build/exposure; exit 1; }
	tail -1 build/exposure

lint: venv ## ruff, and the arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: venv ## mypy, strict
	$(BIN)/mypy

proto: ## renew the generated code
	./proto/generate

proto-check: venv ## the generated code is fresh, the protos are well-formed and break no client
	tests/proto/check

proto-baseline: venv ## on a release: keep the API of today as the one that later ones must not break
	cd proto && ../$(BIN)/buf build --exclude-source-info -o baseline.binpb

docs: venv ## build the documentation, warnings are errors
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs

format: venv ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what was made
	rm -rf $(VENV) .venv-proto build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
