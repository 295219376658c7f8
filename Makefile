SHELL := /bin/bash
.DEFAULT_GOAL := help
export CGO_ENABLED := 0

BUF           := go run github.com/bufbuild/buf/cmd/buf@v1.75.0
GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

DATA ?= ./caudal-data
HTTP ?= 127.0.0.1:8080
SEED ?= 1
BROKERS ?= 1
KAFKA_BROKERS ?=
KAFKA_DATA ?= ./kafka-data
PAYMENTS ?= 50000
FAULTS ?= 30
KAFKA := go run ./streams/streamtest/kafkad/run
BANK := ../shared/data/czech-bank-1993/transactions.csv

.PHONY: help build run test race lint gen bench bench-engine verify kill-test chaos soak demo-lifecycle kafka-up kafka-down test-kafka clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: ## build bin/caudal and bin/railsim, the simulator of the outside world (static, no cgo)
	@go build -trimpath -o bin/caudal ./cmd/caudal
	@go build -trimpath -o bin/railsim ./cmd/railsim

run: build ## start everything, load a sample day, show that the books balance (Ctrl-C stops all of it)
	@bin/caudal up --data $(DATA) --http $(HTTP) --sample --seed $(SEED)

test: build ## every test, with the real broker protocol, a real Postgres and the real ClickHouse engine
	@bin/caudal fetch
	@test -f $(BANK) || echo "ATTENTION: $(BANK) is not there, so 38,168 real bank movements go unproven" >&2
	@go test -timeout 14m -p 2 ./...

race: build ## every part's tests under Go's race detector, but those that count allocations (needs a C compiler)
	@bin/caudal fetch
	@CGO_ENABLED=1 go test -race -timeout 30m -p 2 -skip 'Alloc' ./processors/... ./schemas/... ./streams/... ./ingest/... ./sinks/...

lint: ## golangci-lint
	@$(GOLANGCI_LINT) run --timeout 15m ./...

gen: ## generate code from schemas/
	@$(BUF) generate

bench: build ## measure against the targets, in pairs; writes docs/bench/
	@bin/caudal bench --report docs/bench

bench-engine: build ## measure the engine against franz-go and stock Goka; with KAFKA_BROKERS=1 or 3 on Apache Kafka, Kafka Streams too
	@bin/caudal bench engine $(if $(KAFKA_BROKERS),--kafka $(KAFKA_BROKERS)) --report docs/bench --profile bin/profiles

soak: build ## PAYMENTS, quotes, disputes and cards against failing rails, SEED, the house killed whole and in parts; all books compared
	@bin/caudal soak --payments $(PAYMENTS) --seed $(SEED)

demo-lifecycle: build ## show the life of payments against simulated rails, and that the books balance afterwards
	@bin/caudal demo

verify: build ## prove the books of DATA: every balance recomputed from the log, both stores equal to it
	@bin/caudal verify --data $(DATA)

kill-test: build ## kill -9 `caudal up` twenty times in mid-load, then verify
	@go test -count=1 -timeout 30m -v -run TestKillUp ./cmd/caudal -args -kills 20

chaos: build ## attack the engine under load, PAYMENTS, FAULTS, SEED; then show that stock Goka and every mutant of the engine are caught
	@bin/caudal chaos --payments $(PAYMENTS) --faults $(FAULTS) --members 3 --seed $(SEED)
	@go test -count=1 -tags mutants -timeout 15m -v -run '^Test(Mutants|StockGoka)' ./cmd/caudal

kafka-up: ## start Apache Kafka 4.3.1 in KAFKA_DATA, BROKERS=1 or 3, and print its addresses (needs Java 17 and Maven)
	@$(KAFKA) up -data $(KAFKA_DATA) -brokers $(BROKERS)

kafka-down: ## end the Apache Kafka of KAFKA_DATA; what it holds stays
	@$(KAFKA) down -data $(KAFKA_DATA)

test-kafka: build ## the engine's tests, killed workers, brokers and houses, an attack, and the sample day on Apache Kafka, BROKERS=1 or 3
	@bin/caudal fetch
	@CAUDAL_TEST_KAFKA=$(BROKERS) go test -count=1 -p 1 -v -timeout 25m ./streams/...
	@CAUDAL_TEST_KAFKA=$(BROKERS) go test -count=1 -v -timeout 10m -run '^(TestKillUp|TestSampleDayCloses|TestSampleDayWithThreeWorkers|TestChaos)$$' ./cmd/caudal -args -kills 2 -day-seed 1

clean: ## remove what was built and the sample data
	@rm -rf bin $(DATA)
