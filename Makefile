# The few commands for daily work; `make help` lists them. Each sets up what is missing first (cmake/setup.sh).
PRESET ?= release
TEST_JOBS ?= 2
LINT ?= src|sharding|data_pipeline|launcher|tools|tests
BUILD := build/$(PRESET)
BIN := $(BUILD)/bin

# Open MPI: allow root (containers), more ranks than cores, ranks that use all cores they may, and no lines of mpirun's own
# beside an exit code. From version 5 on mpirun is PRRTE's, with names of its own (and no -q).
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export OMPI_MCA_rmaps_base_oversubscribe := 1
export OMPI_MCA_hwloc_base_binding_policy := none
export OMPI_MCA_orte_execute_quiet := 1
export PRTE_MCA_rmaps_default_mapping_policy := :oversubscribe
export PRTE_MCA_hwloc_default_binding_policy := none

CTEST := ctest --test-dir $(BUILD) --output-on-failure --no-tests=error --parallel $(TEST_JOBS)
SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.cpp' '*.hpp')

.PHONY: build bundle gpu-bundle setup setup-gpu setup-tests setup-lint with-tests programs demo pictures test test-long test-asan test-python test-slurm test-distributions bench format format-check lint lint-folder lint-changed clean help

build: with-tests  ## build all programs and tests (the default)
	cmake --build $(BUILD)

setup:  ## install system packages, LibTorch and the GPT-2 vocabulary
	@cmake/setup.sh

setup-gpu: setup  ## fetch the libraries that training on GPUs loads (CUDA 13, cuDNN, NCCL; 2 GB)
	@cmake/setup.sh gpu

setup-tests:
	@cmake/setup.sh tests

$(BUILD)/build.ninja: | setup
	cmake --preset $(PRESET) -DBUILD_TESTING=OFF

# Adds the tests to a build folder that was made for the programs alone.
with-tests: setup-tests
	@{ [ -f $(BUILD)/build.ninja ] && grep -qx 'BUILD_TESTING:BOOL=ON' $(BUILD)/CMakeCache.txt; } || \
	  cmake --preset $(PRESET) -DBUILD_TESTING=ON

programs: $(BUILD)/build.ninja  ## build the programs alone
	cmake --build $(BUILD) --target programs

# Everything of the demonstration lies in data/demo and runs/demo and is made anew each time.
demo: programs  ## build, make up stories, train on them with two ranks on the CPU, generate one
	rm -rf data/demo runs/demo
	mkdir -p data/demo
	$(BIN)/kangpt_stories --bytes 4000000 --seed 1 --output data/demo/stories.txt
	$(BIN)/kangpt_stories --bytes 100000 --seed 2 --output data/demo/validation.txt
	$(BIN)/kangpt_preprocess --input data/demo/stories.txt --validation data/demo/validation.txt --train-vocabulary 900 --output data/demo/shards
	mpirun -np 2 $(BIN)/kangpt_dist --config configs/tiny_cpu.textproto --set data.directory=data/demo/shards --set run.directory=runs/demo
	$(BIN)/kangpt_generate --checkpoint runs/demo --prompt "Once upon a time" --tokens 200 --temperature 0.5 --seed 1

bundle: programs  ## pack all that runs on another machine into build/release/kangpt-*.tar.zst; BUNDLE=bundle-gpu: for GPUs
	cmake --build $(BUILD) --target $(or $(BUNDLE),bundle)

gpu-bundle: programs  ## pack the programs, Open MPI and all else but LibTorch for one bare machine with GPUs, which has that
	cmake --build $(BUILD) --target gpu-bundle

pictures: programs  ## draw the README's pictures of a run anew, from the demonstration (needs Chromium, takes minutes)
	docs/pictures/terminal.py
	docs/pictures/report.sh $(BIN)

test: build  ## run all tests but the long ones
	$(CTEST) --label-exclude long
	@tests/report_skipped.sh $(BUILD)

test-long: build  ## run the long tests
	$(CTEST) --label-regex long

test-asan: setup-tests  ## check what needs no LibTorch with the address and undefined-behaviour sanitizers
	cmake --preset asan
	cmake --build build/asan --target without_libtorch
	ctest --test-dir build/asan --output-on-failure --parallel $(TEST_JOBS) --label-exclude 'libtorch|end_to_end|long'

test-python: with-tests  ## load exported folders with Hugging Face's transformers (downloads 3 GB from PyPI once)
	cmake --build $(BUILD) --target kangpt_checkpoint kangpt_dist kangpt_generate print_logits
	@python3 -B tests/tools/checkpoint/huggingface_test.py $(BUILD)

test-slurm:  ## run the batch scripts of slurm/ on a private two-node cluster; as root
	@[ "$$(id -u)" = 0 ] || { echo "slurmctld and slurmd have to be started by root. Try: sudo make test-slurm" >&2; exit 66; }
	@cmake/setup.sh slurm
	@$(MAKE) --no-print-directory programs
	@tests/slurm/run.sh $(BIN)

test-distributions:  ## build, install and test on fresh Debian 12 and 13, and Ubuntu 24.04 if reachable; as root, an hour
	@tests/distributions/run.sh $(SUITES)

bench: with-tests  ## build and run the benchmarks, against PyTorch, JAX and tiktoken (downloads 3 GB from PyPI)
	cmake --build $(BUILD) --target benchmarks programs
	python3 tests/benchmark/compare.py --build $(BUILD)
	python3 tests/benchmark/plot.py $(BUILD)/bench/results.json $(BUILD)/bench/training_speed.svg
	@for program in $(BUILD)/bench/*_benchmark; do echo "== $$program"; $$program || exit; done
	@tests/data_pipeline/benchmark.py $(BUILD)

setup-lint:
	@cmake/setup.sh lint

format: setup-lint  ## lay out all sources with clang-format
	@clang-format-14 -i $(SOURCES)

format-check: setup-lint  ## fail where `make format` would change something
	@clang-format-14 --dry-run -Werror $(SOURCES)

# clang-tidy can't read GCC's precompiled header, hence a build folder without one, in which only headers are generated.
lint-folder: setup-tests setup-lint
	@cmake --preset release -B build/lint -DBUILD_TESTING=ON -DKANGPT_CUDA=OFF -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >/dev/null
	@ninja -C build/lint $$(ninja -C build/lint -t targets all | sed -n 's/^\(.*\.pb\.h\): .*/\1/p') >/dev/null

lint: lint-folder  ## clang-tidy; `make lint LINT=src/base` for a part of the tree
	run-clang-tidy-16 -p build/lint -quiet -j 2 -extra-arg=-Wno-unknown-warning-option '$(CURDIR)/($(LINT))/.*\.cpp$$'

lint-changed: lint-folder  ## clang-tidy on changed files that are free of LibTorch, for three minutes at the most
	@python3 -B tests/lint_changed.py build/lint

clean:  ## remove the build folders (data, runs and the cache stay)
	rm -rf build

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1 - \2/p' Makefile
