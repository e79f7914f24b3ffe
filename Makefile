# Targets that a person would guess; `make test` needs Go only and brings the rest.
# staticcheck v0.8.2 is the release 2026.2.2.

GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PLATFORMS   := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
TESTFLAGS   ?= -race -shuffle=on -count=1 -timeout=9m
RUN         ?= .

# Some tests need a browser, those of the docs curl, those of the examples what they run.
DEBIAN := $(if $(shell command -v dockerd),,docker.io) $(if $(shell command -v crun),,crun) $(if $(shell command -v runc),,runc) $(if $(shell command -v iptables),,iptables) $(if $(shell command -v nft),,nftables) $(if $(shell command -v mkfs.ext4),,e2fsprogs) $(if $(shell command -v ip),,iproute2) $(if $(shell command -v jupyter-notebook),,jupyter-notebook) $(if $(shell command -v python3),,python3) $(if $(shell command -v chromium),,chromium) $(if $(shell command -v curl),,curl)

# All but the race detector does without C, so that little is compiled twice.
export CGO_ENABLED := 0

# No binary holds paths of the machine that built it; and as what is released,
# what is tested and what is checked are built alike, each is compiled once.
export GOFLAGS := $(strip $(shell go env GOFLAGS) -trimpath)

VERSION ?= $(shell sed -n 's/^[[:space:]]*version *= "\(.*\)"$$/\1/p' cmd/plane/version.go)

.PHONY: build test check fmt soak bench dist clean test-needs js
.SILENT:

build: ## bin/plane, bin/echo and bin/whiteboard, static
	go build -o bin/ ./cmd/plane ./examples/echo ./examples/whiteboard/cmd/whiteboard

test: test-needs ## every test; RUN=Name for some
	CGO_ENABLED=1 go test $(TESTFLAGS) -run '$(RUN)' ./...

# What is missing and can't be installed is told; the tests that need it skip
# themselves, or fail where CI is set.
test-needs: js/node_modules/.package-lock.json examples/node-ws/node_modules/.package-lock.json
ifneq ($(strip $(DEBIAN)),)
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		log=$$(mktemp); \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(DEBIAN); } \
			>"$$log" 2>&1 || cat "$$log"; rm -f "$$log"; \
	else echo "make test: $(strip $(DEBIAN)) missing; tests that need it are skipped" >&2; fi
endif

# What the tests of JavaScript and of the pages use, pinned by js/package-lock.json.
%/node_modules/.package-lock.json: %/package-lock.json %/.npmrc
	if command -v npm >/dev/null; then \
		log=$$(mktemp); npm ci --prefix $* >"$$log" 2>&1 && touch $@ || cat "$$log" >&2; rm -f "$$log"; \
	else echo "make test: Node 20 or newer with npm is missing; tests that need it are skipped" >&2; fi

js: js/node_modules/.package-lock.json ## js/dist: the package plane-client, type-checked, with checksums and its tarball
	npm run --silent --prefix js check
	npm run --silent --prefix js build

check: bin/gofumpt bin/staticcheck ## format, vet, staticcheck, go.mod, all four platforms
	unformatted=$$(bin/gofumpt -l .); [ -z "$$unformatted" ] || { echo "not gofumpt-formatted (make fmt):"; echo "$$unformatted"; exit 1; }
	go mod tidy -diff
	bin/staticcheck ./...
	for p in $(PLATFORMS); do \
		export GOOS=$${p%/*} GOARCH=$${p#*/}; \
		go build -o /dev/null ./... && go vet ./... || { echo "failed on $$p"; exit 1; }; \
	done

fmt: bin/gofumpt
	bin/gofumpt -w .

soak: ## long runs: chaos, lease simulation, fuzzing
	CGO_ENABLED=1 PLANE_SOAK=1 go test -race -count=1 -timeout=60m ./internal/clustertest
	PLANE_SOAK=1 go test -count=1 -timeout=40m -run RandomDeaths ./internal/runtime/docker
	PLANE_SOAK=1 go test -count=1 -timeout=20m -run CutShort ./internal/runtime/oci
	go test -count=1 -timeout=60m ./internal/clustertest/leasesim -seeds 4000
	for f in FuzzNames FuzzParseExecutable; do go test . -run '^$$' -fuzz "^$$f\$$" -fuzztime 60s || exit 1; done
	go test ./internal/wire -run '^$$' -fuzz '^FuzzDecode$$' -fuzztime 60s
	go test ./internal/image -run '^$$' -fuzz '^FuzzParseRef$$' -fuzztime 60s

bench: ## side by side with raw fork/exec; writes bench/RESULTS.md
	go run ./bench -write

dist: ## dist/: static binaries of four platforms, checksums, install script, the image's context
	go run ./packaging/pack -version '$(VERSION)' -out dist $(PLATFORMS)

clean:
	rm -rf bin dist .data js/dist

# Pinned; the stamp is what asks for a new one when the version changes.
bin/gofumpt: Makefile
	GOBIN=$(CURDIR)/bin go install $(GOFUMPT) && touch $@
bin/staticcheck: Makefile
	GOBIN=$(CURDIR)/bin go install $(STATICCHECK) && touch $@
