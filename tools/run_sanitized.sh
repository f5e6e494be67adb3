#!/usr/bin/env bash
# Builds with the address and undefined-behaviour sanitizers and runs the C++ tests and most Python tests under them.
#
#   tools/run_sanitized.sh BUILD_FOLDER
#
# Needs the packages of cnnx[dev], cmake, ninja, nlohmann-json and pybind11 in the active Python environment, and the compiler's libasan.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
cmake --preset debug-asan -B "$folder" -DCMAKE_BUILD_RPATH="$(python -c 'import scipy_openblas32 as b; print(b.get_lib_dir())')" >"$folder.log"
cmake --build "$folder" >>"$folder.log" || { tail -50 "$folder.log"; exit 1; }

export CNNX_CACHE=0  # every buffer comes from and returns to the sanitizer's allocator
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
"$folder/tests/cpp/cnnx_tests"
"$folder/tests/cuda_host/cuda_host_tests"
"$folder/tests/cuda_host/cuda_host_wgmma_tests"

# The package as it lies in the source tree, with the sanitized extension module.
rm -rf "$folder/package"
mkdir -p "$folder/package"
cp -r python/cnnx "$folder/package/"
cp "$folder"/cpp/bindings/_core*.so "$folder/package/cnnx/"
export PYTHONPATH="$folder/package" HYPOTHESIS_PROFILE=sanitizer PYTHONMALLOC=malloc
LD_PRELOAD="$(${CXX:-g++} -print-file-name=libasan.so) $(${CXX:-g++} -print-file-name=libstdc++.so)" \
  python -m pytest tests/python -x -p no:cacheprovider --ignore=tests/python/test_training.py --ignore=tests/python/test_threads.py \
  --ignore=tests/python/test_viz.py --ignore=tests/python/test_conv_demo.py \
  -k "not torch and not import and not allocated and not memory and not docs"
