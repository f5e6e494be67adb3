#!/usr/bin/env bash
# Builds tests/embed against an installed cnnx and runs it on a model that Python trained; so do README.md's program and
# the examples of docs/cpp.md.
#
#   tests/embed/run.sh PYTHON [PREFIX]
#
# PYTHON has cnnx installed. Without PREFIX the files inside its wheel serve find_package; with it, those that
# `cmake --install` put under PREFIX.
set -euo pipefail
python=$1
here=$(cd "$(dirname "$0")" && pwd)
prefix=${2:+$(realpath "$2")}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

if [ -n "$prefix" ]; then
  location=(-DCMAKE_PREFIX_PATH="$prefix")
else
  location=(-Dcnnx_DIR="$("$python" -m cnnx --cmake-dir)")
fi
mkdir build
awk '/^```/ { inside = /^```cpp/; next } inside' "$here/../../README.md" >build/readme.cpp
cmake -S "$here" -B build -DCMAKE_BUILD_TYPE=Release "${location[@]}" >configure.log || { cat configure.log; exit 1; }
cmake --build build >build.log || { cat build.log; exit 1; }
"$python" "$here/make_samples.py" model.safetensors samples.safetensors
build/embed model.safetensors samples.safetensors
build/guide model.safetensors
cp model.safetensors digits.safetensors && build/readme
