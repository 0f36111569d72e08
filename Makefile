# Everything that people and CI run. Each target does the set-up that it needs
# on a Debian machine with Go, npm and root; where it may not install, it says
# what is missing. `make help` lists the targets.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules
.NOTPARALLEL:
.DEFAULT_GOAL := build

# The version of a build is the tag below the commit, or counts commits where
# there is no tag; semver, so that it orders and packages can use it.
VERSION ?= $(shell testenv/version.sh)
# Packages carry the commit's time, not the clock's, so that they repeat.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

LDFLAGS := -s -w -X main.version=$(VERSION)
# One set of flags for build, vet and staticcheck: they share what the compiler
# made. cgo is off because the agent must run on any libc, and the rest need not differ.
GO := CGO_ENABLED=0 GOFLAGS=-trimpath go

# ROOT_JSON=FILE builds agents and a collector that trust the updates signed under this
# root; without it agents take none, which what leaves this machine must not hide. The
# file takes the place of the empty one without touching the tree.
OVERLAID := {"Replace":{"%s":"%s"}}
overlay = $(if $(ROOT_JSON),test -s '$(ROOT_JSON)' && printf '$(OVERLAID)' '$(CURDIR)/proto/manifest/root.json' '$(abspath $(ROOT_JSON))' >bin/root-overlay.json,true)
rootless = $(if $(ROOT_JSON),true,[ -s proto/manifest/root.json ] || echo "NOTE: $(1) built without ROOT_JSON=FILE: its agent takes no updates")
OVERLAY := $(if $(ROOT_JSON),-overlay bin/root-overlay.json)

# SQLite's translated C under the race detector is 38 times slower and is not our
# code. Everything else stays instrumented, the driver around it too: it uses
# sync.Map, and an uninstrumented copy of that would serve the whole program, see
# TestRaceDetectorSeesSyncMap.
RACE := -race -gcflags='modernc.org/sqlite/lib=-race=false' -gcflags='modernc.org/libc/...=-race=false'

# What takes minutes under the race detector: there it is left out or runs
# smaller (testenv/need), and it runs whole without it.
PLAIN      := TestAttack13_ClockSetRightAfterTheOffer TestAttack13_ClockSetWhilePostponed TestAttack23_KillMatrix TestAttack23_KilledWhilePreparing TestAttack23_RealLibraryCutAnywhere TestAttack38_LauncherFetched TestAttack40_NewerCopyUnread TestAttack41_BackOnAFullDiskCut TestAttack41_KillMatrix TestAttack41_LauncherNotTaken TestAttack43BadForOneModelOnly TestAttack45CollectorRestartsInARollout TestAttack48_BadPolicy TestAway TestChooseByKeyboard TestColumnsInTheBrowser TestDayNoticesFaults TestEscapeLeadsToTheList TestEveryPageLooksRight TestFaultsWhileSqueezing TestGiveBack TestHealthyDevices TestListIsReadableWithManyColumns TestLongestWordsHold TestMutations TestNoLinkLeadsNowhere TestOutcomeTable TestPlans TestRatesOfFailure TestRolloutByKeyboard TestSignedMutations TestStatesWithoutColour TestStories TestSuite TestTicketsStopTheRing TestWishIsNotLost
PLAIN_PKGS := ./collector/web ./testenv/rollsim ./proto/manifest ./agent/launcher ./agent/spool ./agent/update ./agent/update/train ./collector/rollout/gate ./platform/memory ./platform/swap ./testenv/netsim ./testenv/past
# The longest first, so that at the end no core waits for one of them. The
# linker need not write what only a debugger reads.
TESTFLAGS  := -trimpath -ldflags=-w -vet=off -count=1
# Scenarios wait more than they work: a third package runs beside two.
WAITING    := -p 3
FIRST      := ./testenv/scenario ./testenv/netsim ./collector/web ./collector/rollout ./installer/release

PORT    ?= 8443
DEVICES ?= 50
DIR     ?= $(shell echo "$${TMPDIR:-/tmp}/hausmeister-demo")
FUZZTIME ?= 2s
# For subst; make has no other word for it.
empty :=
space := $(empty) $(empty)
CROSS    ?= windows/amd64 windows/arm64 darwin/amd64 darwin/arm64 linux/amd64 linux/arm64
GOPKGS   := $(wildcard agent collector installer platform proto testenv)

.PHONY: help build demo pictures test lint proto cross package bench test-long fuzz web setup-build setup-test setup-bench

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: setup-build web ## the programs, in bin/
	@mkdir -p bin
	@$(call overlay)
	$(GO) build $(OVERLAY) -ldflags '$(LDFLAGS)' -o bin/ $(wildcard ./*/cmd/*)

demo: build ## collector, pages, this machine's agent and simulated devices; PORT=8443 DEVICES=50 DIR=... TOUR=1
	@exec bin/hausmeister-demo -port '$(PORT)' -devices '$(DEVICES)' -dir '$(DIR)' $(if $(TOUR),-tour)

# go test comes last: its lines are what a reader of the log looks for.
test: setup-test build lint ## everything that must hold before a change lands
	@$(MAKE) --no-print-directory cross CROSS='windows/amd64 darwin/arm64'
	@$(MAKE) --no-print-directory fuzz
	@CGO_ENABLED=0 testenv/gotest.sh $(TESTFLAGS) -timeout 25m -run '^($(subst $(space),|,$(PLAIN)))$$' $(PLAIN_PKGS)
	@testenv/gotest.sh $(RACE) $(TESTFLAGS) $(WAITING) -timeout 25m $(FIRST) ./...

lint: setup-build ## gofmt, vet, staticcheck
	@bad=$$(gofmt -l $(GOPKGS)); [ -z "$$bad" ] || { echo "run gofmt -w on:"; echo "$$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

proto: ## Go code from the .proto files
	go -C testenv/tools run ./protogen ../../proto/hmpb

cross: ## agent and launcher for every system that it is made for
	@mkdir -p dist bin
	@$(call overlay)
	@for t in $(CROSS); do \
		os=$${t%/*}; arch=$${t#*/}; exe=; [ $$os != windows ] || exe=.exe; \
		echo "agent for $$t"; \
		GOOS=$$os GOARCH=$$arch $(GO) vet ./agent/... ./platform/... ./proto/...; \
		for p in agent launcher; do \
			GOOS=$$os GOARCH=$$arch $(GO) build $(OVERLAY) -ldflags '$(LDFLAGS)' \
				-o dist/hausmeister-$${p}_$${os}_$$arch$$exe ./agent/cmd/hausmeister-$$p; \
		done; \
	done

pictures: setup-test build ## the README's pictures, from a demo of their own
	bin/hausmeister-pictures -bin bin -out testenv/demo/pictures

package: build ## the agent's Debian package, in dist/; ROOT_JSON=FILE
	@mkdir -p dist
	@$(call rootless,package)
	bin/hausmeister-bundle -agent bin/hausmeister-agent -launcher bin/hausmeister-launcher -version '$(VERSION)' -out dist

fuzz: ## every fuzz target for FUZZTIME=2s
	@testenv/fuzz.sh $(FUZZTIME)

bench: setup-bench build ## the budgets of the design, measured here
	go test -run '^$$' -bench . -benchtime 1x -timeout 90m ./testenv/scenario/...
	go test -run '^$$' -bench . -benchmem -timeout 60m $$(go list ./... | grep -v /testenv/)

test-long: setup-test build ## as test, but with all cuts, seeds and devices, and each fuzz target for ten minutes
	@$(MAKE) --no-print-directory fuzz FUZZTIME=10m
	@CGO_ENABLED=0 HAUSMEISTER_LONG=1 testenv/gotest.sh $(TESTFLAGS) -timeout 120m -run '^($(subst $(space),|,$(PLAIN)))$$' $(PLAIN_PKGS)
	@HAUSMEISTER_LONG=1 testenv/gotest.sh $(RACE) $(TESTFLAGS) -timeout 120m $(FIRST) ./...

# The pages' scripts come from npm by lock file and are embedded into the collector.
web: collector/web/node_modules/.hausmeister-built

# What was built may be gone while its marker is there, as in a copied tree; without it
# a collector would be built that has no scripts.
BUILT_PAGES = collector/web/static/app.js collector/web/static/chart.js

.PHONY: unbuilt-pages
unbuilt-pages:

collector/web/node_modules/.hausmeister-built: $(if $(filter-out $(wildcard $(BUILT_PAGES)),$(BUILT_PAGES)),unbuilt-pages) $(wildcard collector/web/package.json collector/web/package-lock.json collector/web/*.mjs collector/web/assets/*)
	@command -v npm >/dev/null || { echo "missing: npm (Debian packages nodejs and npm)"; exit 1; }
	cd collector/web && npm ci --no-audit --no-fund && npm run build
	@touch $@

setup-build:
	@testenv/setup.sh build

setup-test:
	@testenv/setup.sh test

setup-bench:
	@testenv/setup.sh bench
