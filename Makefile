# What a newcomer runs: `make demo`, `make test`. Both install or build what they need, or say in one line what is missing.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: demo test test-unit test-servers test-e2e bench bench-growth bench-chain bench-s3 bench-huge bench-control bench-peers crds lint cluster-up cluster-down scale prerequisites

demo: prerequisites
	@tests/run demo

test: prerequisites
	@tests/run all

test-unit: prerequisites
	@tests/run unit

test-servers: prerequisites
	@tests/run servers

test-e2e: prerequisites
	@tests/run e2e

# 100,000 files backed up, restored and compared byte by byte.
scale: prerequisites
	@tests/run scale

# Beside restic, rustic, borg and bupstash (whichever `make bench-peers` could install): SETS=src TOOLS=holdfast,rustic RUNS=2 selects.
bench: prerequisites
	@bench/run compare

bench-growth: prerequisites
	@bench/run growth

bench-chain: prerequisites
	@bench/run chain

bench-s3: prerequisites
	@bench/run s3

# Ten million names in one directory: long, by hand.
bench-huge: prerequisites
	@bench/run huge

# The control plane under load: 2,000 configurations, 100 simulated agents. CONFIGURATIONS=200 shows how it grows.
bench-control: prerequisites
	@bench/run control $(if $(CONFIGURATIONS),--configurations $(CONFIGURATIONS))

bench-peers:
	@bench/install-peers

crds:
	$(CARGO) run -q -p holdfast-api --example crdgen

lint:
	$(CARGO) clippy --workspace --all-targets

cluster-up:
	tests/cluster/up

cluster-down:
	tests/cluster/down

prerequisites:
	@tests/prerequisites
