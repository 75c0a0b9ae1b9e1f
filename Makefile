# Every command here does its own set-up, into this checkout only: nats/.bin, tests/.bin, .venv and target, all ignored by
# git.
# Written for GNU make 3.81 too, which is what macOS has.

.DEFAULT_GOAL := help
.PHONY: help run demo check test simulate mutants security fuzz observe-test ci bench bench-list bench-plots bench-page
.PHONY: drill drill-cluster release reproducible advisories release-tools nats-server nats-server-floor prometheus
.PHONY: valgrind .venv browser

# The pinned broker, where it had to be fetched, stands before an older one of the machine.
# The tools of a release stand before those of the machine for the same reason.
export PATH := $(CURDIR)/nats/.bin:$(CURDIR)/target/tools/bin:$(PATH)

# One set of features for everything that checks, so that nothing is compiled twice.
features := --features fail-points

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Who names a broker of their own needs none from here.
run: $(if $(ROCKETS_NATS__URL),,nats-server) ## Start everything: all roles in one process, and a broker unless ROCKETS_NATS__URL names one.
	cargo run --locked --release -- up

demo: nats-server ## Start everything with 20 rockets that fly slowly, to be looked at: gaps, an explosion, a dead letter.
	cargo build --locked --release
	deploy/demo target/release/rockets

# A failure in one test binary says nothing about the next: one run shows all of them.
test: nats-server nats-server-floor prometheus valgrind .venv browser ## Run all tests.
	cargo test --locked $(features) --no-fail-fast

# Under two minutes where it was built before: for every commit.
check: nats-server ## Check format, lints and the tests without processes.
	cargo fmt --all --check
	cargo clippy --locked --all-targets $(features) -- -D warnings
	SIMULATION_SCHEDULES=200 cargo test --locked $(features) --lib --test tidy

# How long to look; seeds are those of the day, or from SIMULATION_FIRST_SEED on.
simulate: ## Run the tracker through simulated schedules in which everything goes wrong, for SIMULATION_SECONDS (60).
	SIMULATION_SECONDS="$${SIMULATION_SECONDS:-60}" cargo test --locked $(features) --lib simulation::no_schedule -- --nocapture

mutants: ## Prove that the simulation finds mistakes: all of tests/mutants, or those that MUTANTS names.
	@tests/mutants/run $(MUTANTS)

# A part of `make test`, for who works on these: the names are those of the test files.
observe-test: nats-server prometheus ## Test metrics, alerts and dashboard, with promtool and a real Prometheus.
	cargo test --locked $(features) --lib metrics::
	cargo test --locked $(features) --test e2e -- metrics:: observe::

# The second clippy sees what users run, which is without the features; it compiles only this crate again.
# The last step comes without make's own lines, so that the output ends in those of the test runner.
ci: ## Check format, lints and documentation, then run all tests.
	cargo fmt --all --check
	cargo clippy --locked --all-targets $(features) -- -D warnings
	cargo clippy --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked $(features) --no-deps --document-private-items
	bash -o pipefail -c '$(MAKE) --no-print-directory test | tee target/test.log'
	tests/security/run target/test.log

bench: nats-server ## Measure everything beside what it is compared with, in about an hour, or some rows: make bench ONLY=P1,P2b
	cargo bench --locked --bench pipeline -- $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

bench-list: ## Say what rows `make bench` has.
	cargo bench --locked --bench pipeline -- --list

bench-plots: ## Draw what `make bench` measured last into docs/benchmarks.
	cargo bench --locked --bench pipeline -- --plots

bench-page: nats-server .venv browser ## Measure the page with 100,000 rockets.
	cargo build --locked --release
	.venv/bin/python -B tests/browser/bench.py target/release/rockets

drill: nats-server ## Do faults to real processes under load: make drill SEED=7 FAULTS=1000
	DRILL_SEED=$(SEED) DRILL_FAULTS=$(FAULTS) cargo test --locked $(features) --test drill one_broker_and

drill-cluster: nats-server nats-server-floor ## The same with three brokers: make drill-cluster SEED=7 FAULTS=300
	DRILL_SEED=$(SEED) DRILL_FAULTS=$(FAULTS) cargo test --locked $(features) --test drill three_brokers_that

security: nats-server .venv browser ## Try what a security reviewer would, a line for each of 15 checks.
	@tests/security/run

fuzz: ## Have libFuzzer look for input that breaks a promise: make fuzz TARGETS="record table" FUZZ_SECONDS=600
	tests/fuzz/run $(TARGETS)

# Too long for `ci`: two builds of everything as it is shipped. CONTRIBUTING.md has what is done before a release.
release: release-tools ## Make what is shipped, into target/dist: the program, what is in it (SBOM), their digests.
	deploy/release

reproducible: release-tools ## Make it twice, in two places, compare it byte for byte, and leave it in target/dist.
	deploy/reproducible

# Rules first, which need nothing; then what is known to be broken, for which a database has to be fetched.
advisories: ## Check what others wrote with cargo-deny: the rules, and the advisories where their database can be had.
	cargo install --locked --quiet --root target/tools cargo-deny@0.20.2
	cargo deny --locked check --hide-inclusion-graph bans licenses sources
	@cargo deny --locked fetch db || { \
	    echo "ADVISORIES WERE NOT CHECKED: their database cannot be fetched here. Run this where it can." >&2; exit 1; }
	cargo deny --locked check advisories

release-tools: ## Get what makes a release: cargo-auditable, cargo-cyclonedx.
	@cargo install --locked --quiet --root target/tools cargo-auditable@0.7.7 cargo-cyclonedx@0.5.9

nats-server: ## Get the broker, unless a fit one is there.
	@nats/get-nats-server

nats-server-floor: ## Get the oldest broker that the service takes, for the drill that upgrades it.
	@tests/drill/get-nats-server-floor

prometheus: ## Get Prometheus and promtool for their tests, where Debian's package is to be had.
	@tests/e2e/get-prometheus

valgrind: ## Get valgrind for the test of what a message costs, where Debian's package is to be had.
	@tests/get-valgrind

.venv: ## Get the Python clients for their tests: nats-py, schemathesis.
	@tests/e2e/get-nats-py

browser: .venv ## Get chromium and what drives it, for the test of the page.
	@tests/browser/get-browser
