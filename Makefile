# Every check is a step of .ci/run, so that nobody's machine checks less than CI.
.DEFAULT_GOAL := help
E2E_COMMANDS ?= 20000
E2E_TIMEOUT ?= 60m
SEEDS ?= 1000
SEED ?= 1
ENTRIES ?= 2000000
KEYS ?= 1000000
INPUTS ?= 1000000
KILLS ?= 20
REPLAY_EVENTS ?= 1000000
REBUILD_EVENTS ?= 1000000
REBUILD_READS ?= 1000
REBUILD_WRITES ?= 50
REBUILD_RATE ?= 2000
REBUILD_SECONDS ?= 30
REBUILD_P99 ?= 25ms
BENCH ?= .
CELL ?= 3s
REPEAT ?= 3
DATA ?= ./drivetribe-data

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: check
check: ## all that CI checks
	.ci/run

.PHONY: format
format: ## gofmt
	.ci/run format

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, go.mod
	.ci/run format vet lint modules

.PHONY: test
test: ## the tests
	.ci/run test

.PHONY: race
race: ## the tests of the core with the race detector
	.ci/run race

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (5s)
	.ci/run fuzz

.PHONY: start
start: ## the example compiled from nothing, and README's quick start against it
	.ci/run start

.PHONY: layers
layers: ## the directions of imports, and how the source reads
	go test -count=1 ./tests/layers

.PHONY: docs
docs: ## links, code and targets in the documentation
	go test -count=1 ./tests/docs

.PHONY: e2e
e2e: ## the built program over HTTP, killed half-way, then audited: E2E_COMMANDS (20000) commands
	E2E_COMMANDS=$(E2E_COMMANDS) go test -count=1 -v -timeout $(E2E_TIMEOUT) ./tests/e2e/...

.PHONY: brokers
brokers: ## each node of a Kafka cluster killed and restarted under load, then audited: E2E_COMMANDS (20000)
	E2E_COMMANDS=$(E2E_COMMANDS) .ci/run brokers

.PHONY: rebuild
rebuild: ## three views rebuilt beside servers under REBUILD_READS (1000) reads and REBUILD_WRITES (50) commands a second, processes killed, of REBUILD_EVENTS (1000000)
	REBUILD_EVENTS=$(REBUILD_EVENTS) REBUILD_READS=$(REBUILD_READS) REBUILD_WRITES=$(REBUILD_WRITES) REBUILD_RATE=$(REBUILD_RATE) \
		REBUILD_SECONDS=$(REBUILD_SECONDS) REBUILD_P99=$(REBUILD_P99) .ci/run rebuild

.PHONY: crash
crash: ## a topology in four processes on the broker in KAFKA_BROKERS, INPUTS (1000000) inputs, KILLS (20) SIGKILLs, against an oracle
	CRASH_INPUTS=$(INPUTS) CRASH_KILLS=$(KILLS) go test -count=1 -v -timeout 60m ./tests/crash

.PHONY: replay
replay: ## REPLAY_EVENTS (1000000) events of a data folder replayed to a file by the built tool, against a tally
	REPLAY_EVENTS=$(REPLAY_EVENTS) go test -count=1 -v -timeout 30m -run TestManyEventsAreReplayed ./cmd/drivetrain

.PHONY: sim
sim: ## owners and topologies under seeded faults: SEEDS (1000) seeds from SEED (1) on, against independent oracles
	@bin=$$(mktemp) && trap 'rm -f "$$bin"' EXIT && for package in cluster stream; do \
		go test -c -o "$$bin" ./framework/$$package && echo "framework/$$package" && (cd framework/$$package && \
		SIM_SEEDS=$(SEEDS) SIM_SEED=$(SEED) "$$bin" -test.run '^TestSimulation$$' -test.timeout 60m) || exit 1; done

.PHONY: model
model: ## the ownership protocol explored further: some minutes, some GiB
	MODEL=large go test -count=1 -v -run TestPresets -timeout 60m ./tests/model

.PHONY: bench
bench: ## tables beside floors, CELL (3s) a cell, REPEAT (3) rounds, ENTRIES (2000000) of the ledger and of replays, on the broker in KAFKA_BROKERS, if any; then the benchmarks that match BENCH (.)
	BENCH_CELL=$(CELL) BENCH_REPEAT=$(REPEAT) go test -count=1 -v -timeout 60m -run TestBesideFloors ./tests/bench
	BENCH_KEYS=$(KEYS) go test -count=1 -v -run 'ManyKeys|LittleMore' ./framework/stream
	BENCH_LEDGER=$(ENTRIES) BENCH_REPEAT=$(REPEAT) go test -count=1 -v -timeout 60m ./tests/bench/ledger
	BENCH_REPLAY=$(ENTRIES) BENCH_REPEAT=$(REPEAT) go test -count=1 -v -timeout 60m ./tests/bench/replay
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./framework/... ./aggregates ./commands ./projections ./api

.PHONY: run
run: ## Drivetribe on http://127.0.0.1:8080, its data under DATA (./drivetribe-data)
	go run ./examples/drivetribe --data $(DATA)

.PHONY: build
build: ## bin/drivetrain and bin/drivetribe
	go build -o bin/ ./cmd/drivetrain ./examples/drivetribe
