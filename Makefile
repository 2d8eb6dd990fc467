# Thin: CMake and tools/ do the work. `make build` and `make test` work on a fresh machine.
PRESET ?= release
BUILD := build/$(PRESET)
export TORCH_DIR
JOBS := $(shell nproc)
MAKEFLAGS += --no-print-directory

.PHONY: all help setup configure build demo report test test-perf portable asan fuzz clang tidy format check-format bench peers clean
all: help

help:
	@echo "make demo    set up, build, train on six novels, generate, compare with the Transformer (results in build/demo)"
	@echo "make test    set up, build, run every test (ONLY=Decoder: those whose name holds it) but those that a clock decides: make test-perf"
	@echo "make build   set up, build $(BUILD)/linformer and $(BUILD)/liblinformer_ops.so"
	@echo "make report  train, audit, inspect and time small models, and put all into build/report/report.html"
	@echo "make bench   time every form of attention by path and dtype, beside its bare matrix products (ten minutes)"
	@echo "make format  lay out every C++ file as .clang-format says; make check-format only looks"
	@echo "make tidy    clang-tidy over every C++ file (ONLY=linformer_nn: over one layer)"
	@echo "make asan    the C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make clang   build everything with clang, run the tests of the layers"
	@echo "make portable  the tests of what has kernels, with the kernels for any processor"
	@echo "make fuzz    bad files and requests against every reader, FUZZ_SECONDS=60 each (needs clang++-19)"
	@echo "make peers   measure side by side with what a user would run instead, write docs/performance.md (PEERS=--quick: ten minutes)"

setup:
	@tools/setup.sh $(SETUP)

configure: setup
	@cmake --preset $(PRESET) --log-level=WARNING

# What users run; the tests, examples and benchmarks take as long again.
build: configure
	@cmake --build --preset $(PRESET) --target linformer_program linformer_ops_library

# DEMO_FLAGS=--update-readme puts the tables into the README; `tools/demo.py --help` lists the others.
demo: build
	@python3 tools/demo.py --program $(BUILD)/linformer $(DEMO_FLAGS)

# A run that was killed goes on where it stopped. REPORT holds options: --new, --grid FILE, --lengths N,N.
report: build
	@python3 tools/report.py --program $(BUILD)/linformer $(REPORT)

test: SETUP := --tests
test: configure
	@cmake --build --preset $(PRESET)
	@ctest --preset $(PRESET) --no-tests=error -j $(JOBS) -LE perf $(if $(ONLY),-R '$(ONLY)')

# On a machine that does nothing else; printed, since the figures are what one wants to see.
test-perf: SETUP := --tests
test-perf: configure
	@cmake --build --preset $(PRESET)
	@ctest --preset $(PRESET) --no-tests=error -L perf --verbose

# The kernels that every processor runs, where a test takes the best ones that this processor has.
portable: configure
	@cmake --build --preset $(PRESET) --target unit_tests
	@LINFORMER_ISA=portable ctest --preset $(PRESET) --no-tests=error -j $(JOBS) -L '^(kernels|ops|nn|infer)$$'

# Python loads the sanitizer's run-time late and leaks by design, so this runs the tests of the layers; the others need `make test`.
asan: SETUP := --checks
asan: setup
	@cmake --preset asan --log-level=WARNING
	@cmake --build --preset asan --target unit_tests
	@ASAN_OPTIONS=detect_leaks=0 ctest --preset asan --no-tests=error -j $(JOBS) -LE 'python|install|examples'

clang: SETUP := --checks
clang: setup
	@cmake --preset clang --log-level=WARNING
	@cmake --build --preset clang
	@ctest --preset clang --no-tests=error -j $(JOBS) -LE 'python|install'

# ONLY: targets of the build, such as linformer_nn or tests_.
tidy: SETUP := --checks
tidy: setup
	@cmake --preset tidy --log-level=WARNING
	@run-clang-tidy-19 -quiet -p build/tidy -j $(JOBS) '$(ONLY)'

# A table of Unicode is generated, and laid out by what generates it.
FORMATTED = git ls-files '*.cpp' '*.hpp'
format: SETUP := --format
format: setup
	@$(FORMATTED) | xargs .venv/bin/clang-format -i

check-format: SETUP := --format
check-format: setup
	@$(FORMATTED) | xargs .venv/bin/clang-format --dry-run -Werror || { echo 'run `make format`' >&2; exit 1; }
	@echo 'every C++ file is laid out as .clang-format says'

FUZZ_SECONDS ?= 60
fuzz: SETUP := --checks
fuzz: setup
	@cmake --preset asan --log-level=WARNING
	@cmake --build --preset asan --target fuzzers
	@tools/fuzz.py --seconds $(FUZZ_SECONDS) --jobs $(JOBS)

# A run that was killed goes on where it stopped. PEERS holds options: --quick, --only PATTERN, --rounds N, --budget SECONDS.
peers: build
	@cmake --build --preset $(PRESET) --target peers_entrant
	@python3 bench/peers/run.py $(PEERS)

# BENCH holds options, such as --benchmark_filter=window_running. What a whole run leaves, `bench/peers/run.py --report` puts into docs/performance.md.
OPERATORS := build/peers/operators.json
BENCH_FLAGS := --benchmark_repetitions=5 --benchmark_enable_random_interleaving=true --benchmark_min_time=0.15 \
               --benchmark_display_aggregates_only=true
bench: build
	@cmake --build --preset $(PRESET) --target attention_bench
	@mkdir -p $(dir $(OPERATORS))
ifneq ($(findstring filter,$(BENCH)),)
	@$(BUILD)/bench/attention_bench $(BENCH_FLAGS) $(BENCH)
else
	@$(BUILD)/bench/attention_bench $(BENCH_FLAGS) --benchmark_out=$(OPERATORS).part --benchmark_out_format=json $(BENCH)
	@mv $(OPERATORS).part $(OPERATORS)
endif

clean:
	rm -rf build
