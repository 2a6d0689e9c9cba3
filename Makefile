# Everything a person types. `make help` lists it. Runs on Debian 12 with Rust, as root.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

CARGO ?= cargo
# The shim and tare are static: no dynamic linker to wait for, no shared libraries in a process that outlives everything.
TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
STATIC := --config 'target.$(TARGET).rustflags=["-C","target-feature=+crt-static","-C","relocation-model=static"]'
BIN := target/release

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: deps
deps: ## what building and a first container need, from Debian
	@scripts/install-packages gcc libc6-dev busybox-static mmdebstrap docker-registry gzip tar curl ca-certificates

.PHONY: test-deps
test-deps: deps ## the peers that the tests compare with, from Debian, and nextest
	@scripts/install-packages runc crun containerd docker.io podman skopeo umoci strace nftables iproute2 jq procps \
		python3 netcat-openbsd zstd apache2-utils libseccomp-dev
	@command -v cargo-nextest >/dev/null || $(CARGO) install --locked cargo-nextest

.PHONY: build
build: deps ## all release binaries in target/release
	$(CARGO) build --locked --profile daemon -p tare-daemon
	$(CARGO) build --locked --profile small -p tare-shim --target $(TARGET) $(STATIC)
	$(CARGO) build --locked --profile small -p tare-cli --target $(TARGET) $(STATIC)
	$(CARGO) build --locked --profile small -p tare-oci --features standalone
	@install -d $(BIN)
	@install -m 0755 $(addprefix target/$(TARGET)/small/,containerd-shim-tare-v2 tare) target/small/tare-oci \
		target/daemon/tared $(BIN)/
	@ls -l $(BIN)/tared $(BIN)/tare $(BIN)/tare-oci $(BIN)/containerd-shim-tare-v2 | awk '{print $$5, $$9}'

.PHONY: run
run: build ## a daemon, a registry and a first container
	@scripts/first-container $(BIN)

.PHONY: lint
lint: ## formatting, lints, documentation, layers, file budgets
	$(CARGO) fmt --all --check
	$(CARGO) xtask layers
	$(CARGO) xtask tidy
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

.PHONY: test
test: test-deps lint test-binaries ## what every change must pass; ends with the tests that cannot run here, and why
	@scripts/run-tests $(CARGO) nextest run --locked --workspace --no-fail-fast

# The programs that tests start as processes: quick to build, not stripped of checks.
.PHONY: test-binaries
test-binaries:
	$(CARGO) build --locked -p tare-daemon -p tare-cli -p tare-shim --bins
	$(CARGO) build --locked --profile small -p tare-oci --features standalone

# Where the machine has version 1 of cgroups: a virtual one with version 2 alone, and one with systemd.
.PHONY: test-vm
test-vm: test-deps ## the runtime's tests in virtual machines with version 2 of cgroups; VM_TESTS chooses
	scripts/test-vm '$(VM_TESTS)'
	scripts/test-vm --systemd '$(VM_TESTS)'
VM_TESTS ?= binary(it)

.PHONY: bench
bench: build test-deps ## Tare beside its peers and the floor, in one run, with ratios; `make bench ROUNDS=20 PARTS=oci` is short
	@ROUNDS=$(ROUNDS) scripts/bench $(BIN) $(PARTS)

# Sizes of the long forms; `make soak SOAK_KILLS=100` changes one.
SOAK_ENV = TARE_SOAK_CONTAINERS=$(SOAK_CONTAINERS) TARE_SOAK_KILLS=$(SOAK_KILLS) TARE_SOAK_ROUNDS=$(SOAK_ROUNDS) \
	TARE_SOAK_LIVES=$(SOAK_LIVES) TARE_SOAK_EXECS=$(SOAK_EXECS) TARE_SOAK_STARTS=$(SOAK_STARTS) \
	TARE_SOAK_CYCLES=$(SOAK_CYCLES) TARE_SOAK_FUZZ=$(SOAK_FUZZ) TARE_SOAK_SEED=$(SOAK_SEED)
SOAK_CONTAINERS ?= 20
SOAK_KILLS ?= 10
SOAK_ROUNDS ?= 100
SOAK_LIVES ?= 100
SOAK_EXECS ?= 1000
# Starts of tare-oci under a storm of renames and mounts, and lives of which each step is killed: an hour together.
SOAK_STARTS ?= 100000
SOAK_CYCLES ?= 10000
# Documents that somebody has tampered with: configurations, filters, states, archives.
SOAK_FUZZ ?= 200000
# Another seed is another order of events.
SOAK_SEED ?= 1
SOAK_TESTS ?= test(under_load) + test(storm) + test(die_while) + test(crash) + test(death) + test(parallel) + test(killed) + test(/^fuzz::/)

.PHONY: soak
soak: test-deps test-binaries ## the long forms of the crash and storm tests, and what they leave on the host
	@scripts/host-state > target/host-before
	$(CARGO) nextest run --locked -p tare-oci --run-ignored only
	$(SOAK_ENV) scripts/run-tests $(CARGO) nextest run --locked --profile soak --no-capture -E '$(SOAK_TESTS)' \
		-p tare-daemon -p tare-shim -p tare-store -p tare-net -p tare-engine -p tare-oci -p tare-runtime
	@scripts/host-state > target/host-after
	@diff target/host-before target/host-after && echo "nothing is left on the host"

.PHONY: clean
clean: ## everything that was built
	$(CARGO) clean
