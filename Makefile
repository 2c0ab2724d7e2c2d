# make build   the program, static, as bin/fsenc
# make demo    encrypt a directory of a sample image, before and after
# make test    everything; installs Debian packages that tests need, if it may
# The rest is for those who work on fsenc.

GO ?= go
export CGO_ENABLED ?= 0

STATICCHECK = $(GO) tool -modfile=tools/go.mod staticcheck

# What has goroutines, and is quick enough for the race detector.
RACE = ./cmd/... ./internal/audit/... ./internal/convert/... ./internal/crypt ./internal/extract/... ./internal/fsck ./internal/keystore/... \
	./internal/secret/... ./internal/store/... ./internal/tree/... ./internal/txn/...

# Cutting the power at every write takes long, and has a target of its own.
CRASH = PowerLoss|ErrorsOfTheHost|OlderCopies$$

# The packages with assembly.
ASSEMBLY = ./internal/crypt/...

.PHONY: build demo test test-unit test-arm64 test-kernel test-crash fuzz bench lint generate clean deps

build:
	$(GO) build -trimpath -ldflags='-s -w' -o bin/fsenc .

demo: build
	test/demo/run bin/fsenc

test: deps test-unit test-arm64 test-kernel test-crash fuzz

# The packages by themselves; some need root, since they mount what they made.
test-unit:
	$(GO) test -timeout 20m -skip '$(CRASH)' $$($(GO) list ./... | grep -v /test/)
	$(GO) test -tags purego $(ASSEMBLY)
	CGO_ENABLED=1 $(GO) test -timeout 20m -race -skip '$(CRASH)' $(RACE)
	GOARCH=arm64 $(GO) vet ./...

# The vectors on arm64, emulated.
test-arm64:
	test/arm64

# The kernel as judge: loop mounts, a virtual machine, Debian's fscrypt.
test-kernel:
	$(GO) test -timeout 40m $$($(GO) list ./test/... | grep -v /test/crash)

# Cuts the power at every write of a conversion and recovers.
test-crash:
	test/power-cut

# Each fuzz target for a few seconds.
fuzz:
	test/fuzz 3s

# Beside cp -a into an encrypted directory, openssl and cryptsetup; as root.
bench: build
	$(GO) run ./test/bench -fsenc bin/fsenc

lint:
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not formatted: $$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags purego ./...
	$(STATICCHECK) ./...

generate:
	$(GO) generate ./...

deps:
	test/install-deps

clean:
	rm -rf bin .cache
