#!/usr/bin/env bash
# Compares sizes with other methods, which it installs from PyPI into tests/interop/.venv (torch, which ZipNN needs, is a large download).
#
#   bash pkg-scripts/compare.sh [--quality N,N…] [BASE.safetensors:FINETUNE.safetensors…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=pkg-scripts/setup.sh
. pkg-scripts/setup.sh build
node pkg-scripts/build.mjs
# shellcheck source=tests/interop/venv.sh
. tests/interop/venv.sh torch
"$python" -c 'import zipnn, zstandard' 2>/dev/null || install zipnn==0.5.4 zstandard==0.25.0
"$python" benches/compare.py "$@"
