# Thin: CMake and tools/ do the work. `make demo` and `make test` work on a fresh machine.
PRESET ?= release
BUILD := build/$(PRESET)
export TORCH_DIR
MAKEFLAGS += --no-print-directory

.PHONY: all help setup build test asan demo bench clean
all: help

help:
	@echo "make demo    set up, build, train a Linformer and a Transformer on six novels, compare them"
	@echo "make test    set up, build, run every test"
	@echo "make build   set up, build $(BUILD)/linformer and $(BUILD)/liblinformer_ops.so"
	@echo "make asan    the tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make bench   micro-benchmarks of the operators"

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
	@ASAN_OPTIONS=detect_leaks=0 ctest --preset asan -LE python

demo: build
	@PYTHONDONTWRITEBYTECODE=1 .venv/bin/python tools/demo.py --program $(BUILD)/linformer

bench: build
	@$(BUILD)/bench/attention_bench

clean:
	rm -rf build demo
