#!/usr/bin/env bash
# Builds for the GPU of this machine, tests and measures. Needs nvcc, a driver, and the packages of cnnx[test] with those
# that build it; PyTorch for CUDA is compared with where it is installed. Uses no network.
#
#   benchmarks/gpu.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/gpu}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
pip install --no-build-isolation --no-deps --force-reinstall -q -C build-dir="$folder" \
  -C cmake.define.CNNX_CUDA=ON -C cmake.define.CNNX_CUDA_ARCHITECTURES=native .
python -m pytest tests/python/test_cuda*.py
CNNX_CUDNN=0 python -m pytest tests/python/test_cuda*.py -k conv
python -m pytest tests/python --device cuda -k torch
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 1 python -m pytest tests/python/test_cuda*.py -x -k "float32 and not training"
  done
fi
python -m benchmarks.gpu
