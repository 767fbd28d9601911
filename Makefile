# Every target sets up what it needs; the stamps in .venv make the second time free.
#
#   PYTHON=…   the interpreter to build .venv with (3.11 or newer)
#   ARGS=…     passed on: make serve ARGS="--port 8080 --data /srv/partwise --workers 4"

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
ARGS ?=

# A second environment or a downloaded interpreter would surprise: all happens in .venv.
export UV_PYTHON := $(CURDIR)/$(BIN)/python
export UV_PYTHON_DOWNLOADS := never
export VIRTUAL_ENV :=
# Trust whom the machine trusts, as pip does: a company's mirror may have a certificate of its own.
export UV_SYSTEM_CERTS ?= true
export PYTHON
# Tests start hundreds of servers, each of which would compile all modules again without a cache of their bytecode.
export PYTHONDONTWRITEBYTECODE :=

# Where pytest has its folders, if there is 1 GB of memory for them: the many small tests sync a lot, which is free there.
IN_MEMORY = $(shell [ -w /dev/shm ] && [ $$(df -Pk /dev/shm | awk 'NR == 2 {print $$4}') -gt 1000000 ] \
	&& echo PYTEST_DEBUG_TEMPROOT=/dev/shm)

# Without host names, so that the locks serve behind any mirror.
COMPILE := $(UV) compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help mutation docs man setup serve check test-fast test web web-check bench crash-test soak format coverage release lock lint clean distclean

help: ## this list
	@printf 'partwise: large files in parallel chunks, one verified artifact\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nFor example: make serve ARGS="--port 24817 --data ./partwise-data --workers 2"\n'

setup: $(VENV)/.dev ## make .venv with all that development needs

serve: $(VENV)/.runtime ## run the server (ARGS="--port … --data … --workers …")
	@exec $(BIN)/partwise serve $(ARGS)

check: lint ## formatting, types, layers and fast tests: about a minute on two cores
	$(IN_MEMORY) $(BIN)/pytest -n 4 --dist worksteal -o tmp_path_retention_policy=failed tests/unit tests/contract \
		-m "not engines" $(ARGS)

test-fast: lint ## what check does, and all tests but those of browsers, other clients, engines and crashes: 3 minutes
	$(BIN)/pytest -n 4 --dist worksteal tests/unit tests/contract tests/protocol tests/hostile -m "not engines and not slow" $(ARGS)

test: lint web-check $(VENV)/.programs ## what check does, and the whole test suite: some 12 minutes on two cores
	$(BIN)/pytest -n 4 --dist worksteal --durations=40 $(ARGS)

web: web/node_modules/.installed ## build the upload page from web/ (brings its own Node.js; commit what it builds)
	@scripts/web $(VENV) build

# Types and tests of the page's code, and that the committed page is what it builds. Where its build tools cannot be had
# all else is tested, but not in CI.
web-check: $(VENV)/.base
	@if $(MAKE) --silent web/node_modules/.installed; then scripts/web $(VENV) check; \
	elif [ -n "$$CI" ]; then exit 1; \
	else echo 'web-check is skipped: what builds the upload page cannot be installed (Node.js from PyPI, packages from npm)'; fi

docs: $(VENV)/.dev ## build the documentation's site in build/site
	$(BIN)/sphinx-build -q -W --keep-going -d build/site-cache -c docs . build/site
	@echo 'open build/site/index.html'

man: $(VENV)/.dev ## make the manual page build/man/partwise.1 from the help
	@mkdir -p build/man
	$(BIN)/python -m partwise.cli.man > build/man/partwise.1

bench: $(VENV)/.dev ## measure side by side and write docs/performance.md
	$(BIN)/python -m bench $(ARGS)

crash-test: $(VENV)/.dev ## kill servers at any point (ARGS="--points 10000")
	$(BIN)/python -m tests.crash $(ARGS)

soak: $(VENV)/.dev ## 200 clients that cut, retry and abort, for minutes (ARGS="--minutes …")
	$(BIN)/python -m tests.load $(ARGS)

format: $(VENV)/.dev ## put the code into its standard shape
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format

coverage: $(VENV)/.dev ## run the tests and show the branch coverage of src/ (ARGS="tests/unit …")
	@$(BIN)/coverage erase
	COVERAGE_PROCESS_START="$(CURDIR)/pyproject.toml" $(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutation: $(VENV)/.dev ## change the safety modules and tell what no test notices (ARGS="core/ranges.py")
	@$(BIN)/python -m tests.mutation $(ARGS)

release: $(VENV)/.dev ## build dist/ and tag it (VERSION=X.Y.Z; DRY_RUN=1 makes no tag)
	@scripts/release $(if $(DRY_RUN),--dry-run) $(VERSION)

lock: $(VENV)/.base ## remake the lock files (ARGS=--upgrade for newer versions)
	$(COMPILE) $(ARGS) --extra server pyproject.toml -o requirements.lock
	$(COMPILE) $(ARGS) --constraints requirements.lock --all-extras --group dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) $(ARGS) --group web -o requirements-web.lock
	$(COMPILE) $(ARGS) tests/clients/clients.in -o tests/clients/clients.lock
	$(COMPILE) $(ARGS) tests/clients/boxsdk.in -o tests/clients/boxsdk.lock

clean: ## remove what builds and tests left behind
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis build dist
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## also remove .venv and what the page and the tests of clients installed
	rm -rf $(VENV) .venv-clients .npm-clients web/node_modules

# The parts of check that run no test.
lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	@scripts/check-commits

# One environment, three stamps: serve stops at the second, so that a first start is quick.
$(VENV)/.base: scripts/make-venv
	@scripts/make-venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.base requirements.lock requirements-dev.lock pyproject.toml
	@$(UV) install --quiet --compile-bytecode --require-hashes -r requirements.lock
	@$(UV) install --quiet --no-deps --build-constraints requirements-dev.lock --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@$(UV) install --quiet --compile-bytecode --require-hashes -r requirements-dev.lock
	@touch $@

# Node.js as a wheel, for those who change the page or run the whole test suite.
$(VENV)/.node: $(VENV)/.base requirements-web.lock
	@$(UV) install --quiet --require-hashes -r requirements-web.lock
	@touch $@

web/node_modules/.installed: $(VENV)/.node web/package-lock.json
	@scripts/web $(VENV) install
	@touch $@

# Programs that tests run beside the server; where one cannot be had its tests are skipped, and say so.
$(VENV)/.programs: $(VENV)/.base
	@command -v chromium >/dev/null || scripts/apt-install chromium || true
	@command -v firefox-esr >/dev/null || scripts/apt-install firefox-esr || true
	@command -v WebKitWebDriver >/dev/null && command -v Xvfb >/dev/null || scripts/apt-install webkit2gtk-driver xvfb || true
	@PATH="$$PATH:/usr/sbin"; command -v nginx >/dev/null || scripts/apt-install nginx || true
	@command -v ruby >/dev/null || scripts/apt-install ruby ruby-faraday || true
	@command -v java >/dev/null || scripts/apt-install default-jre-headless || true
	@command -v curl >/dev/null || scripts/apt-install curl || true
	@touch $@
