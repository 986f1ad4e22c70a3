# The verbs of this project. `make help` lists them.
# Everything that a verb installs goes into the project: target/, local/fauxqs/, load-tests/.

.DEFAULT_GOAL := help
SHELL := /bin/bash

PROFILE ?= load
API_URL ?=
PORT ?= 3000
# One target folder, inside the project, because template.yaml names it.
TARGET := $(CURDIR)/target
export CARGO_TARGET_DIR := $(TARGET)
export ARTILLERY_DISABLE_TELEMETRY := true
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1 # Artillery can drive browsers; this suite does not

FUNCTIONS := $(patsubst functions/%/src/main.rs,%,$(wildcard functions/*/src/main.rs))

# Artillery and fauxqs need Node 22.18 or later: the machine's own, or else one from npm.
NODE_VERSION := 26.10.0
NODE_PACKAGE := node-$(if $(findstring arm64 Darwin,$(shell uname -m) $(shell uname -s)),bin-)$(shell uname -s | tr A-Z a-z)-$(shell uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
OWN_NODE := $(TARGET)/tools/node_modules/$(NODE_PACKAGE)/bin/node
NODE := $(shell node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a == 22 && b >= 18) ? 0 : 1)' 2>/dev/null && command -v node || echo $(OWN_NODE))
# Tests start the host too.
export LOCAL_NODE := $(NODE)

# Stops with one line if something is missing that this project cannot install into its own folder.
REQUIRE = $(foreach tool,$(1),$(if $(shell command -v $(tool)),,$(error $(tool) is missing; the README says what you need)))

.PHONY: help
help: ## List the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'
	@echo
	@echo "  make load-test PROFILE=smoke|load|spike|stress|soak   another load"
	@echo "  make load-test API_URL=https://...                    against a deployed stack"
	@echo "  make run PORT=3001                                    another port"

.PHONY: install
install: local/fauxqs/node_modules/.installed load-tests/node_modules/.installed ## Install the pinned tools into the project

$(OWN_NODE):
	$(call REQUIRE,npm)
	@echo "Installing Node $(NODE_VERSION) into the project (this machine's is older than 22.18, or missing)"
	@npm install --no-save --no-audit --no-fund --loglevel=error --prefix $(TARGET)/tools $(NODE_PACKAGE)@$(NODE_VERSION)

# Node comes first on the path, so that npm's scripts see it too.
%/node_modules/.installed: %/package-lock.json | $(NODE)
	$(call REQUIRE,npm)
	@echo "Installing $*"
	@cd $* && PATH="$(dir $(NODE)):$$PATH" npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: build
build: ## Build the functions in release, for this machine, where template.yaml looks for them
	$(call REQUIRE,cargo cc)
	cargo build --release --locked $(addprefix -p ,$(FUNCTIONS))
	@for function in $(FUNCTIONS); do \
	  mkdir -p $(TARGET)/lambda/$$function && cp -f $(TARGET)/release/$$function $(TARGET)/lambda/$$function/bootstrap || exit 1; \
	done

.PHONY: host
host: local/fauxqs/node_modules/.installed
	cargo build --profile host --locked -p local

LOCAL := $(TARGET)/host/local

.PHONY: run
run: build host ## Run the shop on http://127.0.0.1:3000 until Ctrl-C
	@echo 'Once it is up, in another terminal:'
	@echo "  curl -X PUT http://127.0.0.1:$(PORT)/products/lamp -H 'content-type: application/json' -d '{\"name\": \"Desk lamp\", \"category\": \"lighting\", \"price_cents\": 2499, \"stock\": 7}'"
	@echo "  curl 'http://127.0.0.1:$(PORT)/products?category=lighting'"
	@echo "  curl -i http://127.0.0.1:$(PORT)/orders -H 'content-type: application/json' -d '{\"lines\": [{\"product_id\": \"lamp\", \"quantity\": 2}]}'"
	@exec $(LOCAL) --node $(NODE) --port $(PORT)

.PHONY: load-test
ifeq ($(API_URL),)
load-test: build host
endif
load-test: load-tests/node_modules/.installed ## Run the shop under Artillery and check every gate
	@$(NODE) load-tests/run.mjs --profile $(PROFILE) \
	  $(if $(API_URL),--api-url $(API_URL),--local $(LOCAL) --node $(NODE))

.PHONY: test
test: lint test-rust test-load-tests ## Formatting, lints, unit, contract and end-to-end tests

.PHONY: lint
lint:
	$(call REQUIRE,cargo cc)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: test-rust
test-rust: local/fauxqs/node_modules/.installed
	cargo build --workspace --all-targets --locked
	cargo test --workspace --locked

.PHONY: chaos
chaos: local/fauxqs/node_modules/.installed ## Place 2,000 orders while everything breaks, twenty times (SEED=7, SEEDS=3, ORDERS=300)
	cargo build --workspace --bins --locked
	cargo test -p shop-tests --test chaos --locked -- --ignored --nocapture

VENV := $(TARGET)/tools/venv

$(VENV)/.installed: tests/openapi/requirements.txt
	$(call REQUIRE,python3)
	@echo "Installing schemathesis into the project"
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.PHONY: openapi-test
openapi-test: local/fauxqs/node_modules/.installed $(VENV)/.installed ## Hold the running shop against openapi.yaml (needs Python 3.10 or later)
	cargo build --workspace --bins --locked
	$(VENV)/bin/python tests/openapi/run.py

.PHONY: test-load-tests
test-load-tests: load-tests/node_modules/.installed
	cd load-tests && $(NODE) --test "test/*.test.mjs"

# Latency in hundredths of a millisecond, which Artillery has not.
OHA := $(TARGET)/tools/bin/oha

$(OHA):
	cargo install oha@1.16.0 --locked --quiet --root $(TARGET)/tools --target-dir $(TARGET)/tools/oha
	@rm -rf $(TARGET)/tools/oha

.PHONY: bench
bench: build host load-tests/node_modules/.installed $(OHA) ## Measure cold starts and warm requests beside other languages
	@PATH="$(dir $(NODE)):$$PATH" $(NODE) benchmarks/bench.mjs --local $(LOCAL) --oha $(OHA)

.PHONY: bench-ladder
bench-ladder: host load-tests/node_modules/.installed ## Measure each choice for a quick cold start by itself
	@PATH="$(dir $(NODE)):$$PATH" $(NODE) benchmarks/bench.mjs --ladder --local $(LOCAL)

# Advisories come from GitHub; `make deny CHECKS="bans licenses sources"` needs no network.
CHECKS ?= all
CARGO_DENY := $(TARGET)/tools/bin/cargo-deny

$(CARGO_DENY):
	cargo install cargo-deny@0.20.2 --locked --quiet --root $(TARGET)/tools --target-dir $(TARGET)/tools/build
	@rm -rf $(TARGET)/tools/build

.PHONY: deny
deny: $(CARGO_DENY) ## Check licences, sources, banned crates and advisories of all dependencies
	$(CARGO_DENY) check $(CHECKS)

.PHONY: clean
clean: ## Remove everything that was built or installed
	cargo clean
	rm -rf local/fauxqs/node_modules load-tests/node_modules
