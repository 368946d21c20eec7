# make            everything: the modules, as an osbuild libdir in build/libdir; the tool, its manual and completions in build
# make install    copies that; it needs nothing but what make has built
# make help       all targets
#
# Needs Go, make and git. Tools are built at pinned versions into build/tools.

GO      ?= go
DESTDIR ?=
LIBDIR  ?= /usr/lib/osbuild
PREFIX  ?= /usr
SOURCE := $(shell packaging/version)
ifndef VERSION
VERSION := $(word 1,$(SOURCE))
endif
COMMIT := $(word 2,$(SOURCE))
DATE   := $(word 3,$(SOURCE))
export SOURCE_DATE_EPOCH ?= $(word 4,$(SOURCE))

GOLANGCI_VERSION = v2.15.0
REGISTRY_VERSION = $(shell cat test/registry/VERSION)

TAGS    = containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_zfs containers_image_docker_daemon_stub
PROCESS = osbuild-containers/internal/process
LDFLAGS = -s -w -X $(PROCESS).Version=$(VERSION) -X $(PROCESS).Commit=$(COMMIT) -X $(PROCESS).Date=$(DATE)
BUILD   = -trimpath -buildvcs=false -tags "$(TAGS)" -ldflags "$(LDFLAGS)"

LIB     = build/libdir
TOOLS   = build/tools
LINT    = $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)
MODULES = $(wildcard sources/org.osbuild.* stages/org.osbuild.*)
TOOL    = osbuild-containers

export CGO_ENABLED = 0

.DELETE_ON_ERROR:
.PHONY: all modules tool man install uninstall release packages test test-packages test-pages race check vet lint format tidy generated check-reproducible \
	demo bench test-osbuild fuzz clean help

all: modules tool man ## build the modules into build/libdir, the tool, its manual and completions into build

tool:
	@echo "$(GO) build ./cmd/$(TOOL)"
	@$(GO) build $(BUILD) -o build/$(TOOL) ./cmd/$(TOOL)

man:
	@echo "$(GO) run ./docs/man"
	@env -u GOOS -u GOARCH $(GO) run -tags "$(TAGS)" ./docs/man build

# The sources are one executable under their names, and the stages another: hard links in build/libdir.
modules:
	@mkdir -p $(LIB)/sources $(LIB)/stages
	@for f in $(LIB)/sources/* $(LIB)/stages/*; do \
		m=$${f#$(LIB)/}; m=$${m%.meta.json}; \
		case " $(MODULES) " in *" $$m "*) ;; *) rm -rf "$$f" ;; esac; \
	done
	@set -e; for kind in sources stages; do \
		echo "$(GO) build ./$$kind/all"; \
		$(GO) build $(BUILD) -o build/$$kind ./$$kind/all; \
	done; \
	for m in $(MODULES); do \
		ln -f build/$${m%%/*} $(LIB)/$$m; \
		install -m 644 schemas/$$m.meta.json $(LIB)/$$m.meta.json; \
	done; \
	rm build/sources build/stages

install: ## copy what make has built into DESTDIR/PREFIX (PREFIX=/usr), and enable the modules in DESTDIR/LIBDIR (LIBDIR=/usr/lib/osbuild)
	@packaging/install build "$(DESTDIR)" "$(PREFIX)" "$(LIBDIR)"

uninstall: ## remove what make install has put there, and put osbuild's modules back
	@packaging/uninstall "$(DESTDIR)" "$(PREFIX)" "$(LIBDIR)"

export GO TAGS VERSION COMMIT DATE ARCHS MAINTAINER
release: ## make tarballs for all architectures, an image of the tool and checksums in build/release: VERSION=1.0.0
	@packaging/release build/release

packages: release ## make a release with packages, rpm and deb: VERSION=1.0.0
	@packaging/packages build/release

test-packages: ## make packages for this machine, and install, update and remove them in a Debian of their own (root)
	ARCHS=$$($(GO) env GOHOSTARCH) $(MAKE) --no-print-directory packages VERSION=0.0.0 MAINTAINER='test <test@example.com>'
	test/install/packages.sh build/release

test-pages: all $(TOOLS)/registry ## run README and getting-started word for word in a Debian of their own: OSBUILD=<checkout> (root)
	ARCHS=$$($(GO) env GOHOSTARCH) $(MAKE) --no-print-directory packages VERSION=0.0.0 MAINTAINER='test <test@example.com>'
	test/install/pages.sh build/release "$(OSBUILD)"

# Tests expect that files they make are readable by all, as with the usual umask.
test: all $(TOOLS)/registry ## run all tests
	umask 022; $(GO) test -tags "$(TAGS)" -timeout 30m ./...
	$(GO) test -tags "$(TAGS) checked" -timeout 30m -skip 'TestNoInputTakesLong|FuzzTime' ./internal/layer/gunzip

# The packages in which goroutines share data. Left out are a test of how much memory is used, which is more with the
# detector, and those that close a storage's layer half way, where the library's decompressor races with itself.
RACE = ./internal/cache ./internal/deploy ./internal/fetch ./internal/gc ./internal/layer ./internal/mirror ./internal/verify

race: $(TOOLS)/registry ## run the tests of packages with shared data under the race detector (needs a C compiler)
	umask 022; CGO_ENABLED=1 $(GO) test -race -tags "$(TAGS)" -timeout 40m -skip '^(TestMemory|TestDamagedStorage|TestDamagedRecordInStorage)$$' $(RACE)

check: vet lint tidy generated ## vet, lint, format, go.mod and generated files

vet:
	$(GO) vet -tags "$(TAGS)" ./...

lint: $(LINT)
	$(LINT) run --build-tags "$(TAGS)" ./...

format: $(LINT) ## rewrite the code as gofumpt has it
	$(LINT) fmt ./...

tidy:
	$(GO) mod tidy -diff

generated:
	@set -e; state() { git diff --no-ext-diff; git ls-files --others --exclude-standard; }; \
	before=$$(state | sha256sum); \
	$(GO) generate ./...; \
	[ "$$before" = "$$(state | sha256sum)" ] || { \
		echo "go generate changes files: run it and commit what it makes" >&2; git status --short >&2; exit 1; }

check-reproducible: ## build two copies in two directories, one from nothing, and compare
	@set -e; top=$$(mktemp -d); trap 'rm -rf "$$top"' EXIT; \
	one="$$top/one"; other="$$top/some/other directory"; mkdir -p "$$one" "$$top/some"; \
	git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null | \
		tar -cf - -T - | tar -xf - -C "$$one"; \
	cp -a "$$one" "$$other"; \
	$(MAKE) --no-print-directory -C "$$one" all VERSION="$(VERSION)"; \
	GOCACHE="$$top/cache" $(MAKE) --no-print-directory -C "$$other" all VERSION="$(VERSION)"; \
	for f in $(MODULES:%=libdir/%) $(TOOL); do cmp "$$one/build/$$f" "$$other/build/$$f"; done; \
	echo "identical: $(MODULES) $(TOOL)"

demo: ## see it work: a registry, an image, the tool, sources and a stage
	@echo "demo: first make builds everything: the first time it downloads about 65 modules and takes minutes"
	@$(MAKE) --no-print-directory all
	@echo "demo: build the demo itself, and run it"
	@$(GO) run -tags "$(TAGS)" ./test/demo

bench: all ## measure beside skopeo, crane, oras and regctl, those that are installed
	$(GO) run -tags "$(TAGS)" ./bench $(BENCHFLAGS)

test-osbuild: all $(TOOLS)/registry ## run real osbuild: OSBUILD=<checkout or prefix>
	@[ -n "$(OSBUILD)" ] || { echo "test-osbuild: say where osbuild is: make test-osbuild OSBUILD=<checkout or installed prefix>" >&2; exit 1; }
	OSBUILD="$(OSBUILD)" $(GO) test -tags "$(TAGS)" -count=1 -timeout 15m -v ./test/osbuild

FUZZTIME ?= 10s
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' internal sources stages schemas 2>/dev/null | \
	while read -r file; do \
		for f in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "fuzz $$f in $$(dirname "$$file")"; \
			$(GO) test -tags "$(TAGS) checked" -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")" </dev/null; \
		done; \
	done

clean: ## remove everything that was built
	rm -rf build

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "make %-19s %s\n", $$1, $$2}'

$(LINT):
	GOBIN="$(CURDIR)/$(TOOLS)" GOFLAGS= $(GO) install -trimpath github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/golangci-lint $@

$(TOOLS)/registry: test/registry/VERSION
	GOBIN="$(CURDIR)/$(TOOLS)" GOFLAGS= $(GO) install -trimpath github.com/distribution/distribution/v3/cmd/registry@$(REGISTRY_VERSION)
	@touch $@
