# Every step of the continuous integration is a target here; nothing works only there.

MEMBERS := common web-server worker-server psg clients/python local testing
# Each is checked on its own: several have a conftest.py, and a module name stands for one file.
SUITES := docs/tests common/tests web-server/tests worker-server/tests psg/tests clients/python/tests local/tests testing/tests bench/tests chaos/tests deploy/tests \
	deploy/staging deploy/supply e2e containers jmeter
TEST_HELPERS := worker-server/tools:containers
PYTHON ?= python3
# A PYTHON that the caller gives replaces an environment of another version.
PYTHON_GIVEN := $(if $(filter command environment,$(firstword $(origin PYTHON))),given)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
BYTECODE := $(VENV)/.compiled
PROJECTS := $(MEMBERS:%=%/pyproject.toml)
NO_MEMBERS := --no-emit-package idrl-common --no-emit-package web-server --no-emit-package worker-server \
	--no-emit-package idrl-psg --no-emit-package idrl-client --no-emit-package idrl-local --no-emit-package idrl-testing
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --fork-strategy fewest --no-annotate --no-header \
	$(if $(UPGRADE),--upgrade) $(NO_MEMBERS)

.DEFAULT_GOAL := help
LOCAL := $(BIN)/python -m idrl_local
NEWMAN := .cache/newman/node_modules/.bin/newman
.PHONY: help setup demo up user down reload restart status logs client-models state-machine lint format types test test-faults test-browser test-e2e test-postman test-pythons lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BYTECODE) ## install everything into .venv, from the lock

ifdef PYTHON_GIVEN
ifneq ($(shell $(PYTHON) -c 'import sys; print(sys.version_info[:2])' 2>&1),$(shell $(BIN)/python -c 'import sys; print(sys.version_info[:2])' 2>&1))
.PHONY: $(STAMP)
endif
endif
# Behind a proxy with a certificate of its own, only the system's store knows that certificate.
export UV_SYSTEM_CERTS ?= 1
SYSTEM_CERTS := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem))
export PIP_CERT ?= $(or $(REQUESTS_CA_BUNDLE),$(SYSTEM_CERTS))
# Users of services and of containers often have a home that is missing or not theirs.
ifndef UV_CACHE_DIR
ifneq ($(shell local/can_cache.sh),yes)
export UV_CACHE_DIR := $(CURDIR)/.cache/uv
endif
endif

# Without a network pip says only that there is no such version.
NO_PACKAGES := make setup downloads packages from the Python Package Index, and pip, above, could not: is there a connection to it, or behind a proxy HTTPS_PROXY?

$(STAMP): locks/all.txt locks/uv.txt $(PROJECTS)
	@local/make_venv.sh "$(PYTHON)" $(VENV) $(PYTHON_GIVEN)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/uv.txt || { echo "$(NO_PACKAGES)" >&2; exit 1; }
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes locks/all.txt $(if $(wildcard $(BENCH_STAMP)),locks/bench.txt)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	@touch $@

# Services that root starts, and children in the sandbox, cannot write bytecode here: each start
# would compile all that it imports again.
$(BYTECODE): $(STAMP) common/src/idrl_common/bytecode.py $(wildcard worker-server/src/worker_server/media/*/*.py)
	@$(BIN)/python -m idrl_common.bytecode web_server worker_server
	@touch $@

demo: $(BYTECODE) ## make clips of a sample, of VIDEO=path or of URL=link, with a temporary system (or the one at AT=address)
	@$(LOCAL) demo $(if $(VIDEO),--video "$(VIDEO)") $(if $(URL),--url "$(URL)") $(if $(AT),--at "$(AT)")

test-pythons: $(STAMP) ## make demo on each supported Python that this machine has, beside that of .venv
	local/demo_on_each_python.sh

up: $(BYTECODE) ## start the system in the background (PORT=5050, HOST=127.0.0.1, IDRL_HOME=.idrl, START_TIMEOUT_S=180)
	@$(LOCAL) up

user: $(STAMP) ## manage accounts of the running system (ARGS="add NAME EMAIL --operator", list, invite, disable, set-role, set-quota, reset-password)
	@$(LOCAL) users $(ARGS)

down: $(STAMP) ## stop it, keep its data
	@$(LOCAL) down

reload: $(STAMP) ## start new processes of a service without refusing a call (SERVICE=web or tasks), as after a change of code; SERVICE=nginx reads a renewed certificate
	@$(LOCAL) reload $(SERVICE)

restart: $(STAMP) ## stop and start a service (SERVICE=web or tasks) while its callers wait
	@$(LOCAL) restart $(SERVICE)

status: $(STAMP) ## show its address, readiness, work, disk and processes
	@$(LOCAL) status || [ $$? = 3 ]

logs: $(STAMP) ## follow its logs (SERVICE=render, TASK=id, LEVEL=warning, JSON=1 for the lines as they are, FOLLOW=0 to end)
	@$(LOCAL) logs $(if $(SERVICE),--service "$(SERVICE)") $(if $(TASK),--task "$(TASK)") $(if $(LEVEL),--level "$(LEVEL)") \
		$(if $(JSON),--json) $(if $(filter 0,$(FOLLOW)),--no-follow)

lock: ## resolve the locks again (UPGRADE=1 for newer versions)
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet -r locks/uv.in; }
	$(COMPILE) locks/uv.in -o locks/uv.txt
	$(COMPILE) $(PROJECTS) --group pyproject.toml:dev -o locks/all.txt
	$(COMPILE) --group pyproject.toml:bench -c locks/all.txt -o locks/bench.txt
	$(COMPILE) web-server/pyproject.toml -c locks/all.txt -o locks/web-server.txt
	$(COMPILE) worker-server/pyproject.toml -c locks/all.txt -o locks/worker-server.txt
	$(COMPILE) psg/pyproject.toml -c locks/all.txt -o locks/psg.txt
	$(COMPILE) locks/terraform-offline.in -o locks/terraform-offline.txt
	$(COMPILE) --no-deps locks/google-bindings.in -o locks/google-bindings.txt
	$(COMPILE) --no-deps locks/google-bindings-next.in -o locks/google-bindings-next.txt
	$(COMPILE) locks/checkov.in -o locks/checkov.txt
	$(COMPILE) locks/clients.in -o locks/clients.txt
	$(COMPILE) locks/page.in -o locks/page.txt
	$(COMPILE) locks/certbot.in -o locks/certbot.txt
	$(COMPILE) locks/schemathesis.in -o locks/schemathesis.txt
	$(COMPILE) locks/supply.in -o locks/supply.txt

client-models: $(STAMP) ## write the Python client's models from docs/openapi.yaml
	$(BIN)/python clients/python/tools/generate_models.py > clients/python/.models.py
	@mv clients/python/.models.py clients/python/src/idrl_client/models.py

state-machine: $(STAMP) ## write docs/state-machine.md from the statuses
	$(BIN)/python worker-server/tools/state_machine.py > docs/state-machine.md

lint: $(STAMP) ## ruff, the import rules of packages, shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	{ git ls-files '*.sh'; git grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh'; } | sort -u | xargs -r $(BIN)/shellcheck

format: $(STAMP) ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy strict, over the sources and every test suite
	$(BIN)/mypy
	@for suite in $(SUITES); do printf '%s: ' "$$suite"; MYPYPATH="$$suite:$(TEST_HELPERS)" $(BIN)/mypy "$$suite" || exit; done

test: $(BYTECODE) ## the fast suite, on a real PostgreSQL and a real Redis (ARGS="-k login"; COV=1 for the lines it runs)
	$(BIN)/pytest $(if $(COV),--cov --cov-report=term) -m "not slow and not browser" $(ARGS)

test-faults: $(STAMP) ## the slow suite: workers, encoders, Redis and PostgreSQL die at work; many kinds of sources (ARGS="-k redis")
	$(BIN)/pytest -m slow $(ARGS)

test-browser: $(STAMP) ## stream-copied clips, played and seeked in Chromium (root installs Debian's package)
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
	$(BIN)/pytest worker-server/tests/media -m browser $(ARGS)

test-e2e: $(STAMP) .cache/client/.installed ## the black-box tests, against a system of their own (ARGS="-k delete")
	IDRL_PROGRAM="$(CURDIR)/.cache/client/bin/idrl" $(LOCAL) with-system $(BIN)/pytest e2e $(ARGS)

test-postman: $(STAMP) $(NEWMAN) ## the Postman collection, against a system of its own
	$(LOCAL) with-system sh -c '$(NEWMAN) run postman_collection.json --env-var base_url=$$BASE_URL --env-var video_url=$$VIDEO_URL'

$(NEWMAN): local/newman/package.json local/newman/package-lock.json
	@mkdir -p .cache/newman
	@cp $^ .cache/newman
	@cd .cache/newman && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

clean: ## remove generated files (not the data in .idrl)
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .coverage

include bench/bench.mk
include chaos/chaos.mk
include containers/containers.mk
include e2e/generated/generated.mk
include e2e/schemas/schemas.mk
include jmeter/jmeter.mk
include web-server/page/page.mk
include deploy/deploy.mk
include deploy/supply/supply.mk
include deploy/staging/staging.mk
