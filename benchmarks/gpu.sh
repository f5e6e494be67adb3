#!/usr/bin/env bash
# Builds for the GPU of this machine, tests and measures, and says at the end which step failed: one that fails does not
# keep the rest from running. Needs nvcc, a driver, and the packages of cnnx[test] with those that build it; PyTorch for
# CUDA is compared with where it is installed. Uses no network.
#
#   benchmarks/gpu.sh [FOLDER [NAME]]     builds in FOLDER; writes benchmarks/results/NAME.json
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/gpu}
failed=()
step() {
  local name=$1 start=$SECONDS
  shift
  printf '\n==== %s\n' "$name"
  "$@" || failed+=("$name (exit code $?)")
  printf '(%s s)\n' $((SECONDS - start))
}

# cnnx's own kernels alone, on some of the tests: under the sanitizer each takes many times as long.
sanitize() {
  CNNX_CUDNN=0 CNNX_CUBLAS_LIBRARY=none timeout 100 compute-sanitizer --tool "$1" --report-api-errors no --error-exitcode 1 \
    python -m pytest tests/python/test_cuda.py -x -k "float32 and not training"
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
python -m pip install --no-build-isolation --no-deps --force-reinstall -q -C build-dir="$folder" \
  -C cmake.define.CNNX_CUDA=ON -C cmake.define.CMAKE_CUDA_ARCHITECTURES=native . || exit 1
step "tests" python -m pytest tests/python/test_cuda*.py
step "tests of convolutions without cuDNN" env CNNX_CUDNN=0 python -m pytest tests/python/test_cuda*.py -k conv
step "instructions of tensor cores" python -c 'import cnnx; print(cnnx.cuda.tensor_cores())'
for wgmma in 1 0; do
  step "tests of cnnx's products on tensor cores, CNNX_WGMMA=$wgmma" env CNNX_WGMMA=$wgmma CNNX_CUDNN=0 CNNX_CUBLAS_LIBRARY=none \
    python -m pytest tests/python/test_cuda_precision.py
done
step "comparisons with PyTorch" python -m pytest tests/python --device cuda -k torch
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do step "$tool" sanitize "$tool"; done
fi
step "measurements" python -m benchmarks.gpu ${2:+--save "$2"}
printf '\n%s s; failed: %s\n' "$SECONDS" "${failed[*]:-nothing}"
[ ${#failed[@]} -eq 0 ]
