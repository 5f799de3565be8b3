# What can be made here; `make help` lists it. Nothing has to be done before.

SHELL  := /bin/sh
BIN    := bin
GO     ?= go
JOBS   ?= 2
PKGS   ?= ./...

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
SETVER  := -X github.com/kilnbuild/kiln/internal/cli.Version=$(VERSION)
# The same sources give the same bytes: no paths of this machine, no stamps.
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false

.DEFAULT_GOAL := build
.PHONY: run build tools doctor can-build test lint bench reference clean help FORCE

run: doctor build tools ## build kiln and all it needs into ./bin, then build ./build.hcl with it
	./$(BIN)/kiln build

build: $(BIN)/kiln ## build ./bin/kiln, one static file with the engine in it

tools: $(BIN)/release/kiln ## put runc, busybox and the stripped kiln into ./bin
	@sh scripts/runtime.sh $(BIN)
	@sh scripts/busybox.sh $(BIN)

# Go knows best what is out of date.
$(BIN)/kiln: FORCE | can-build
	$(BUILD) -ldflags '$(SETVER)' -o $@ ./cmd/kiln

$(BIN)/release/kiln: FORCE | can-build
	$(BUILD) -ldflags '-s -w $(SETVER)' -o $@ ./cmd/kiln

doctor: ## say what this machine lacks, and how to get it
	@GO='$(GO)' sh scripts/doctor.sh

can-build:
	@GO='$(GO)' sh scripts/doctor.sh build

test: doctor build tools ## run every test: unit, script, race, integration, examples (PKGS=./config for some)
	@sh scripts/python.sh .cache/python
	@sh scripts/chromium.sh .cache/chromium
	@sh scripts/docker.sh .cache/docker
	@sh scripts/tmux.sh .cache/tmux
	@sh scripts/containers.sh .cache/containers
	$(GO) run ./internal/testcount -skips testdata/skips.txt -- -race -p $(JOBS) -timeout 90m $(PKGS)

lint: can-build ## check format, go vet, staticcheck, go.mod
	@sh scripts/lint.sh

bench: doctor build tools ## measure kiln, and buildx bake beside it; prints tables (PARTS=build,export for some)
	$(GO) run ./internal/bench -kiln $(BIN)/kiln $(if $(PARTS),-only $(PARTS))

reference: ## write docs/reference from the tables of attributes, functions and flags
	$(GO) run ./internal/reference/generate

clean: ## remove ./bin and ./.cache
	rm -rf $(BIN) .cache

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

FORCE:
