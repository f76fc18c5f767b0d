# make demo    everything from nothing: environment, native library, a trained classifier
# make test    the same set-up, then linters and all tests
# make help    the rest

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE_BUILD := build/native
SANITIZED_TESTS := build/sanitized-tests
FUZZ_SECONDS ?= 300
NAME ?= lstm
# With a GPU: a Python that has PyTorch and pytest. No environment of ours and no network is needed.
GPU_PYTHON ?= python3
TEST_PROCESSES ?= 2
# GPUs to build for, such as "80;90", where there is an nvcc: those that are here, or one to see that
# it builds. All take minutes: an install by pip has them, and make cuda-usage.
GPUS_HERE = $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | \
  tr -d . | grep -x '[0-9]*' | sort -nu | paste -sd ';')
CUDA_TARGETS ?= $(or $(GPUS_HERE),90)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-native test-sanitized fuzz lint format benchmark tensorboard clean check \
  sanitized-tests cuda-library cuda-usage test-gpu classify-lines

help:
	@echo "make demo            train the default classifier on the review set in the package"
	@echo "make test            linters and all tests"
	@echo "make test-slow       tests of several minutes"
	@echo "make test-native     the C++ tests of the kernels (part of make test)"
	@echo "make test-sanitized  the same under the address and undefined-behaviour sanitizers"
	@echo "make fuzz            random input under the sanitizers, FUZZ_SECONDS=300 a target"
	@echo "make lint, format    ruff and clang-format: check, or rewrite"
	@echo "make test-gpu        the GPU kernels on this machine's GPU, by GPU_PYTHON=python3 with PyTorch"
	@echo "make cuda-usage      registers, shared memory and spills of the GPU kernels"
	@echo "make benchmark       python -m benchmarks NAME, lstm by default"
	@echo "make classify-lines  build/classify_lines, which serves an exported model without Python"
	@echo "make tensorboard     open the last run's logs"
	@echo "make clean           remove the environment and everything built"

# One sentence for what a fresh machine may lack.
check:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: kerasllm needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo missing). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || { \
	  echo "error: no C++ compiler was found; install g++ 11 or later (Debian, Ubuntu: apt install g++)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) has no venv module (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; }

$(BIN)/python: | check
	$(PYTHON) -m venv $(VENV)

# What the build itself needs; the build is not isolated, so that it sees the TensorFlow it is for.
$(VENV)/.build-requirements: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "scikit-build-core>=0.11" cmake ninja "tensorflow>=2.20"
	@touch $@

# An editable install knows each Python file by name, so a new or a moved one needs a new install.
build/python-files: FORCE
	@mkdir -p build
	@find kerasllm custom_ops -name '*.py' | sort >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
FORCE:

NATIVE_SOURCES := $(shell find tf_kernels -type f -not -name '*.pyc')
$(VENV)/.installed: $(VENV)/.build-requirements $(NATIVE_SOURCES) build/python-files pyproject.toml
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[test,lint]" \
	  -C build-dir=$(NATIVE_BUILD) -C cmake.define.KERASLLM_WERROR=ON \
	  -C 'cmake.define.KERASLLM_CUDA_TARGETS=$(CUDA_TARGETS)'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/python recipes/chinese_text_classification.py --output-dir runs/demo --resume

test: lint test-native
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

CMAKE := PATH="$(CURDIR)/$(BIN):$$PATH" cmake
test-native: $(VENV)/.installed
	$(CMAKE) --build $(NATIVE_BUILD) --target native_tests
	@for test in $(NATIVE_BUILD)/*_test; do $$test || exit 1; done

sanitized-tests: $(VENV)/.installed
	@$(CMAKE) -S tf_kernels -B $(SANITIZED_TESTS) -G Ninja -DKERASLLM_TESTS_ONLY=ON \
	  -DKERASLLM_SANITIZE=address,undefined >/dev/null
	$(CMAKE) --build $(SANITIZED_TESTS) --target native_tests

test-sanitized: sanitized-tests
	@for test in $(SANITIZED_TESTS)/*_test; do $$test || exit 1; done

fuzz: sanitized-tests
	@cd $(SANITIZED_TESTS) && for target in *_fuzz; do ./$$target $(FUZZ_SECONDS) || exit 1; done

# The GPU kernels alone, for the GPU that is here, else for all targets.
GENERATOR := $(shell command -v ninja >/dev/null 2>&1 && echo "-G Ninja")
NATIVE_GPU := $(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo "-DCMAKE_CUDA_ARCHITECTURES=native")
cuda-library:
	@cmake -S tf_kernels -B build/cuda $(GENERATOR) $(NATIVE_GPU) -DKERASLLM_CUDA_ONLY=ON >/dev/null
	cmake --build build/cuda --target kerasllm_cuda --parallel

cuda-usage:
	$(GPU_PYTHON) tf_kernels/cuda_usage.py --target sm_75 sm_80 sm_86 sm_89 sm_90

# Whichever PyTorch there is may warn of what it likes.
TEST_GPU := $(GPU_PYTHON) -m pytest tests/cuda --confcutdir tests/cuda -k gpu -p no:cacheprovider \
  -W default --durations 10
test-gpu: cuda-library
	$(TEST_GPU)
	@for tool in memcheck racecheck; do \
	  if command -v compute-sanitizer >/dev/null 2>&1; then \
	    echo "compute-sanitizer $$tool"; \
	    KERASLLM_CUDA_SMALL=1 PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $$tool \
	      --kernel-regex kns=kerasllm --error-exitcode 1 $(TEST_GPU) -q || exit 1; \
	  else echo "compute-sanitizer is not installed: $$tool is left out"; fi; done

# A program in C that classifies lines with a SavedModel of ours.
classify-lines: build/classify_lines
build/classify_lines: recipes/classify_lines.c | $(BIN)/python
	@mkdir -p build
	tensorflow="$$($(BIN)/python tf_kernels/find_tensorflow.py | cut -d ';' -f 1)" && \
	  $(CC) -std=c11 -O2 -Wall -Wextra $< -o $@ -isystem "$$tensorflow/include" -L"$$tensorflow" \
	  -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 -Wl,-rpath,"$$tensorflow"

CXX_FILES = $(shell find tf_kernels recipes -name '*.cc' -o -name '*.h' -o -name '*.c' -o -name '*.cu')
lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

benchmark: $(VENV)/.installed
	$(BIN)/python -m benchmarks $(NAME)

tensorboard: $(VENV)/.installed
	$(BIN)/tensorboard --logdir "$$(ls -td runs/*/tensorboard | head -n 1)"

clean:
	rm -rf $(VENV) build
