# Thin: CMake and tools/ do the work. `make build` and `make test` work on a fresh machine.
PRESET ?= release
BUILD := build/$(PRESET)
export TORCH_DIR
MAKEFLAGS += --no-print-directory

.PHONY: all help setup build test asan clean
all: help

help:
	@echo "make test    set up, build, run every test"
	@echo "make build   set up, build $(BUILD)/linformer and $(BUILD)/liblinformer_ops.so"
	@echo "make asan    the tests under AddressSanitizer and UndefinedBehaviorSanitizer"

setup:
	@tools/setup.sh

build: setup
	@cmake --preset $(PRESET) --log-level=WARNING
	@cmake --build --preset $(PRESET)

test: build
	@ctest --preset $(PRESET)

# Python loads the sanitizer's run-time late and leaks by design, so this runs the C++ tests; the others need `make test`.
asan: setup
	@cmake --preset asan --log-level=WARNING
	@cmake --build --preset asan
	@ASAN_OPTIONS=detect_leaks=0 ctest --preset asan -E "^test_"

clean:
	rm -rf build
